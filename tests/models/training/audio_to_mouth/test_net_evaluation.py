import json

import numpy as np
import pytest

from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES
from splatface.models.training.audio_to_mouth.net_evaluation import (
    EvaluationTrial,
    NonSpeechTrial,
    evaluate_predictor,
    held_out_trials,
    markdown_table,
    nonspeech_trials,
    plot_openings,
    score_mouth,
    write_evaluation,
)
from splatface.models.training.audio_to_mouth.predictors import loudness_baseline
from splatface.models.training.speech_corpus.augmentation import NONSPEECH_KINDS, nonspeech_sound
from splatface.models.training.speech_corpus.coarticulation import modes_from_phones
from splatface.models.training.speech_corpus.corpus import write_sentence
from splatface.models.training.speech_corpus.phonemes import LabeledSpeech, Phone

OPEN = MOUTH_MODES.index("open")


@pytest.fixture(scope="module")
def target():
    rng = np.random.default_rng(0)
    sounds = rng.choice(list("pbmtdskaeiouʃf"), 60)
    phones = [Phone(ipa, 0.1 * i, 0.1 * (i + 1)) for i, ipa in enumerate(sounds)]
    return modes_from_phones(phones, np.arange(0, 6, 0.02))


def test_the_target_itself_scores_fully(target):
    result = score_mouth(target, target)
    assert result.open_r == pytest.approx(1)
    assert result.open_amplitude == pytest.approx(1)
    assert result.open_lag_ms == pytest.approx(0, abs=1)
    assert result.closure_recall == result.closure_precision == 1
    assert result.jitter == pytest.approx(1)


def test_the_lag_of_a_delayed_mouth_is_measured(target):
    assert score_mouth(np.roll(target, 3, axis=0), target).open_lag_ms == pytest.approx(60, abs=6)
    assert score_mouth(np.roll(target, -2, axis=0), target).open_lag_ms == pytest.approx(-40, abs=6)


def test_the_amplitude_of_a_muted_mouth_is_measured(target):
    assert score_mouth(0.5 * target, target).open_amplitude == pytest.approx(0.5)


def test_missed_closures_cost_recall_and_false_ones_precision(target):
    never = target.copy()
    never[:, OPEN] = np.maximum(target[:, OPEN], 0.2)
    always = target.copy()
    always[np.arange(len(target)) % 10 == 0, OPEN] = 0.0
    assert score_mouth(never, target).closure_recall == 0
    assert score_mouth(always, target).closure_recall == 1
    assert score_mouth(always, target).closure_precision < 0.8


def test_unknown_target_modes_are_not_scored(target):
    only_opening = np.full_like(target, np.nan)
    only_opening[:, 0] = target[:, 0]
    result = score_mouth(target, only_opening)
    assert result.open_r == pytest.approx(1)
    assert result.modes_r == pytest.approx(1)
    assert result.closure_recall == 1  # output by the opening
    assert np.isnan(result.as_dict()["mode_r"]["wide"])


def test_a_still_mouth_has_correlation_zero(target):
    result = score_mouth(np.zeros_like(target), target)
    assert result.open_r == 0
    assert np.isfinite(result.open_lag_ms)


TIMES = np.arange(0, 3, 0.02)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Two held-out sentences: bursts of tone, called a, with closures between."""
    folder = tmp_path_factory.mktemp("corpus")
    t = np.arange(32000) / 16000
    sound = (0.4 * np.sin(2 * np.pi * 220 * t) * (t % 0.4 < 0.25)).astype(np.float32)
    phones = [
        p
        for i in range(5)
        for p in (Phone("a", 0.4 * i, 0.4 * i + 0.25), Phone("p", 0.4 * i + 0.25, 0.4 * i + 0.4))
    ]
    for number in range(2):
        write_sentence(folder, f"flite_{number}", LabeledSpeech(sound, tuple(phones), "flite/awb", "en"))
    write_sentence(folder, "flite_9", LabeledSpeech(sound, tuple(phones), "flite/slt", "en"))
    return folder


def test_trials_are_of_held_out_sentences(corpus):
    trials = held_out_trials(corpus)
    assert [trial.condition for trial in trials] == ["clean", "recorded"] * 2
    assert {trial.source for trial in trials} == {"flite"}
    assert len(held_out_trials(corpus, each=1)) == 2


def test_every_predictor_gets_the_same_recordings(corpus):
    one, other = held_out_trials(corpus), held_out_trials(corpus)
    assert all(np.array_equal(a.samples, b.samples) for a, b in zip(one, other, strict=True))


def test_the_target_is_at_rest_before_the_first_phone(corpus):
    trial = held_out_trials(corpus)[0]
    assert np.abs(trial.target_modes(np.array([0.1]))).max() < 0.05
    assert trial.target_modes(np.array([0.5]))[0, MOUTH_MODES.index("open")] > 0.4


def test_an_oracle_scores_fully_and_the_loudness_baseline_does_not(corpus):
    trials, resting = held_out_trials(corpus), [NonSpeechTrial("silence", np.zeros(32000, np.float32))]

    def oracle(samples):
        trial = next((x for x in trials if x.samples is samples), None)
        times_s = np.arange(0.01, len(samples) / 16000, 0.02)
        return (trial.target_modes(times_s) if trial else np.zeros((len(times_s), 8), np.float32)), times_s

    best, level = (
        evaluate_predictor(oracle, trials, resting),
        evaluate_predictor(loudness_baseline, trials, resting),
    )
    assert best.means("clean")["open_r"] == pytest.approx(1)
    assert best.shut == {"silence": 1.0}
    assert best.means("clean")["closure_recall"] == 1
    assert level.means("clean")["open_r"] < 0.9
    assert "| oracle | flite en clean | 1.00" in markdown_table({"oracle": best, "level": level})


def test_a_report_is_written(corpus, tmp_path):
    pytest.importorskip("matplotlib")
    trials = held_out_trials(corpus, each=1)
    lips = np.full((150, 8), np.nan, np.float32)
    lips[:, 0] = 0.02 * np.sin(TIMES * 9)
    trials.append(EvaluationTrial("film", "en", "tracked", np.zeros(48000, np.float32) + 1e-3, TIMES, lips))
    found = {
        "level": evaluate_predictor(loudness_baseline, trials, nonspeech_trials(corpus, each=1, seconds=1))
    }
    write_evaluation(tmp_path, found, {"delay": "0 ms"})
    known = json.loads((tmp_path / "report.json").read_text())
    assert known["listeners"]["level"]["groups"]["film en tracked"]["mode_r"]["wide"] is None
    assert set(known["listeners"]["level"]["shut"]) == set(NONSPEECH_KINDS)
    assert "* delay: 0 ms" in (tmp_path / "report.md").read_text()
    pictures = plot_openings(tmp_path, {"level": loudness_baseline}, trials)
    assert len(pictures) == 3
    assert all(path.stat().st_size > 5000 for path in pictures)


@pytest.mark.parametrize("kind", NONSPEECH_KINDS)
def test_nonspeech_sounds_are_finite_and_of_the_requested_length(kind):
    rng = np.random.default_rng(0)
    voices = [LabeledSpeech(np.ones(8000, np.float32), (), "x/y", "en")]
    for _ in range(5):
        sound = nonspeech_sound(kind, 16000, voices, rng)
        assert sound.shape == (16000,)
        assert sound.dtype == np.float32
        assert np.isfinite(sound).all()
        assert (np.abs(sound).max() > 0) == (kind != "silence")
