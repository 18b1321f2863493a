import numpy as np
import pytest

from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES
from splatface.models.training.audio_to_mouth.score import plain, score
from splatface.models.training.speech_corpus.coarticulation import mode_track
from splatface.models.training.speech_corpus.phonemes import Phone

OPEN = MOUTH_MODES.index("open")


@pytest.fixture(scope="module")
def true():
    rng = np.random.default_rng(0)
    sounds = rng.choice(list("pbmtdskaeiouʃf"), 60)
    phones = [Phone(ipa, 0.1 * i, 0.1 * (i + 1)) for i, ipa in enumerate(sounds)]
    return mode_track(phones, np.arange(0, 6, 0.02))


def test_the_truth_scores_fully(true):
    result = score(true, true)
    assert result.open_r == pytest.approx(1)
    assert result.open_amplitude == pytest.approx(1)
    assert result.open_lag_ms == pytest.approx(0, abs=1)
    assert result.closure_recall == result.closure_precision == 1
    assert result.jitter == pytest.approx(1)


def test_a_late_mouth_is_called_late(true):
    assert score(np.roll(true, 3, axis=0), true).open_lag_ms == pytest.approx(60, abs=6)
    assert score(np.roll(true, -2, axis=0), true).open_lag_ms == pytest.approx(-40, abs=6)


def test_a_muted_mouth_is_called_muted(true):
    assert score(0.5 * true, true).open_amplitude == pytest.approx(0.5)


def test_missed_and_invented_closures_are_told_apart(true):
    never = true.copy()
    never[:, OPEN] = np.maximum(true[:, OPEN], 0.2)
    always = true.copy()
    always[np.arange(len(true)) % 10 == 0, OPEN] = 0.0
    assert score(never, true).closure_recall == 0
    assert score(always, true).closure_recall == 1
    assert score(always, true).closure_precision < 0.8


def test_what_the_truth_does_not_tell_is_not_judged(true):
    only_opening = np.full_like(true, np.nan)
    only_opening[:, 0] = true[:, 0]
    result = score(true, only_opening)
    assert result.open_r == pytest.approx(1)
    assert result.modes_r == pytest.approx(1)
    assert result.closure_recall == 1  # told by the opening
    assert np.isnan(plain(result)["mode_r"]["wide"])


def test_a_still_mouth_has_no_correlation_and_breaks_nothing(true):
    result = score(np.zeros_like(true), true)
    assert result.open_r == 0
    assert np.isfinite(result.open_lag_ms)
