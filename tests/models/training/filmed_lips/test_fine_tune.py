"""Nets and the coarticulation rule, learned from filmed lips."""

from dataclasses import replace

import numpy as np
import pytest
from lips_scene import filmed

from splatface.models.audio2motion.audio_to_mouth import zero_net
from splatface.models.errors import TrainingError
from splatface.models.training.audio_to_mouth.encoded_clips import delay_modes
from splatface.models.training.audio_to_mouth.net_postprocessing import ridge_net
from splatface.models.training.audio_to_mouth.predictors import predict_frames
from splatface.models.training.filmed_lips.filmed_mouth import (
    amplitude_gain,
    load_filmed_mouth,
    save_filmed_mouth,
)
from splatface.models.training.filmed_lips.fine_tune import (
    FineTuningConfig,
    encode_filmed_clips,
    fine_tune,
)
from splatface.models.training.filmed_lips.fit_coarticulation import (
    CoarticulationFitConfig,
    fit_coarticulation,
)
from splatface.models.training.filmed_lips.lip_score import ridge_leave_one_out
from splatface.models.training.speech_corpus.coarticulation import (
    initial_coarticulation,
    load_coarticulation,
    modes_from_phones,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    for seed in range(4):
        save_filmed_mouth(folder / f"clip{seed}.npz", filmed(seed))
    return sorted(folder.glob("*.npz"))


@pytest.fixture(scope="module")
def clips(paths):
    return encode_filmed_clips(
        [load_filmed_mouth(path) for path in paths], "logmel", copies=1, cache=paths[0].parent / "features"
    )


def test_clips_have_the_filmed_mouth_of_every_copy(paths, clips):
    assert len(clips.starts) - 1 == 2 * len(paths)
    plain = slice(clips.starts[0], clips.starts[1])
    assert clips.known[plain].mean() > 0.9
    assert clips.closed[plain].any()
    # An encoder's frame of loud sound is one of an open mouth: what was filmed is at its place.
    film = filmed(0)
    opening = clips.modes[plain][clips.known[plain], 0]
    assert opening.std() == pytest.approx(film.modes[:, 0].std(), rel=0.2)
    again = slice(clips.starts[1], clips.starts[2])
    assert 0.4 < clips.known[again].mean() < 1.0  # silence was put around it


def test_features_are_cached(paths, clips):
    def not_called(encoder, samples):
        raise AssertionError("encoded again")

    films = [load_filmed_mouth(path) for path in paths]
    again = encode_filmed_clips(
        films, "logmel", copies=1, cache=paths[0].parent / "features", extractor=not_called
    )
    np.testing.assert_array_equal(again.values, clips.values)


def test_speakers_are_scaled_to_a_common_amplitude():
    film = filmed(0)
    timid = replace(film, modes=0.5 * film.modes)
    common_std = float(film.modes[:, 0].std())
    assert amplitude_gain(timid, 0.8 * common_std) == pytest.approx(1.6)
    assert amplitude_gain(film, common_std) == pytest.approx(1)
    assert amplitude_gain(replace(film, modes=0.0 * film.modes), common_std) == 1.7  # within limits


def test_delayed_modes_keep_their_closures(clips):
    later = delay_modes(clips, 2)
    at = int(np.flatnonzero(clips.closed & clips.known)[3])
    assert later.closed[at + 2]
    np.testing.assert_array_equal(later.modes[at + 2], clips.modes[at])


def test_fine_tuning_learns_filmed_lips(paths, clips):
    import torch

    torch.set_num_threads(1)
    start = ridge_net(clips, 2)
    start = replace(start, w2=0.0 * start.w2)  # knows nothing
    net = fine_tune(
        start,
        clips,
        clips,
        FineTuningConfig(steps=120, batch_size=8, corpus_batch_size=4, learning_rate=1e-2),
    )
    spoken = slice(clips.starts[0], clips.starts[1])
    predicted = predict_frames(net, clips.values[spoken].astype(np.float32))[2:, 0]
    true = clips.modes[spoken][:-2, 0]
    known = clips.known[spoken][:-2]
    assert np.corrcoef(predicted[known], true[known])[0, 1] > 0.7


def test_fine_tuning_is_deterministic_for_a_seed(clips):
    start = zero_net("logmel", clips.values.shape[1], window=16, lookahead_ms=40)
    one, other = (fine_tune(start, clips, None, FineTuningConfig(steps=3, batch_size=4)) for _ in range(2))
    np.testing.assert_array_equal(one.w2, other.w2)


def test_ridge_excludes_the_speaker_it_predicts():
    films = [filmed(seed) for seed in range(3)]
    predicted = ridge_leave_one_out(films, "logmel", 0.04)
    changed = [replace(films[0], modes=films[0].modes[::-1].copy()), *films[1:]]
    again = ridge_leave_one_out(changed, "logmel", 0.04)[0]
    np.testing.assert_allclose(again, predicted[0], atol=1e-6)
    assert 0.3 < predicted[0][:, 0].std() / films[0].modes[:, 0].std() < 1.2  # in the modes' own units, muted
    assert np.corrcoef(predicted[0][:, 0], films[0].modes[:, 0])[0, 1] > 0.5


def test_the_fit_follows_speakers_with_other_targets():
    """People who round wider than phonetics says: the fit must find it in other sentences, too."""
    first = initial_coarticulation(load_coarticulation().closed)
    own = replace(first, targets=first.targets * np.array([1, 1, 2.0, 1, 1, 1, 0.3, 1], np.float32))
    films = [filmed(seed, rule=own, seconds=20) for seed in range(4)]
    fitted = fit_coarticulation(films[:3], CoarticulationFitConfig(steps=80))
    kept = films[3]
    truth = kept.modes[:, [2, 6]]

    def error(rule):
        return np.abs(modes_from_phones(kept.phones, kept.times_s, rule)[:, [2, 6]] - truth).mean()

    assert error(fitted) < 0.6 * error(first)


def test_a_fit_needs_clips_with_phones():
    with pytest.raises(TrainingError, match="hear films --words"):
        fit_coarticulation([filmed().with_phones(())])


def test_a_muted_net_is_scaled_to_the_filmed_amplitude(clips):
    from splatface.models.training.audio_to_mouth.net_postprocessing import scale_outputs
    from splatface.models.training.audio_to_mouth.predictors import net_predictor
    from splatface.models.training.filmed_lips.fine_tune import match_filmed_amplitude
    from splatface.models.training.filmed_lips.lip_score import score_predictor

    others = [filmed(10), filmed(11)]
    net = ridge_net(clips, 2)
    muted = scale_outputs(net, 0.8 * score_predictor(net_predictor(net), others[0]).amplitude ** -1)
    wide = match_filmed_amplitude(muted, others)
    score = score_predictor(net_predictor(wide), others[0])
    assert score.amplitude == pytest.approx(1, abs=0.15)
    deaf = replace(net, w2=0.0 * net.w2)
    with pytest.raises(TrainingError, match="that the net follows"):
        match_filmed_amplitude(deaf, others)


def test_averaged_nets_have_mean_weights(clips):
    from splatface.models.training.filmed_lips.fine_tune import average_nets, fine_tune_soup

    start = ridge_net(clips, 2)
    one, other = (replace(start, w2=gain * start.w2, b2=gain * start.b2) for gain in (1.0, 3.0))
    window = clips.values[:16].astype(np.float32)
    mean = average_nets([one, other])
    np.testing.assert_allclose(mean(window[-mean.window :]), 2.0 * start(window[-start.window :]), rtol=1e-4)
    taught = fine_tune_soup(start, clips, clips, FineTuningConfig(steps=4, batch_size=4, corpus_batch_size=4))
    assert not np.array_equal(taught.w2, start.w2)
