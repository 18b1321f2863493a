"""Setting the shared nets to a person: judged on film that was left out."""

from dataclasses import replace

import numpy as np
import pytest

from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES, zero_net
from splatface.models.training.audio_to_mouth.speaker_calibration import (
    METHODS,
    calibrate_net,
    calibration_as_dict,
    hidden_features_net,
    predict_modes,
    refit_last_layer,
)
from splatface.models.training.dataset.types import MotionTrack

OPEN = MOUTH_MODES.index("open")
STEP_NS = 40_000_000
UNITS = 24


def syllables(moments, seed=0):
    """Features [T, UNITS] that move at the pace of syllables."""
    rng = np.random.default_rng(seed)
    times_s = np.arange(moments)[:, None] * STEP_NS / 1e9
    rates, phases = rng.uniform(1.0, 5.0, (2, 3, UNITS))
    waves = [np.sin(2 * np.pi * rate * times_s + phase) for rate, phase in zip(rates, phases, strict=True)]
    return (0.5 + 0.2 * sum(waves)).astype(np.float32)


def linear_net(seed=1):
    """A net whose hidden units are its features, one frame each, mixed to eight modes."""
    zeros = zero_net("logmel", UNITS, window=1)
    mix = np.random.default_rng(seed).normal(size=(UNITS, 8)).astype(np.float32) * 0.15
    # gelu(x + 6) = x + 6 for these features: the hidden layer is the identity.
    return replace(
        zeros,
        project=np.eye(UNITS, dtype=np.float32),
        w1=np.eye(UNITS, dtype=np.float32),
        b1=np.full(UNITS, 6.0, np.float32),
        w2=mix,
        b2=-6.0 * mix.sum(axis=0),
    )


def filmed(tiny, values, mouth):
    """A data set with the mouth [T, 8] and the audio features [T, D] of a person."""
    times_ns = np.arange(len(mouth), dtype=np.int64) * STEP_NS
    unit = np.tile(np.eye(4), (len(mouth), 1, 1))
    motion = MotionTrack(
        times_ns, mouth.astype(np.float32), np.zeros((len(mouth), 8), np.float32), unit, unit
    )
    frames = replace(tiny.frames, time_ns=tiny.frames.time_ns + 10**13)
    return replace(tiny, motion=motion, frames=frames), (values, times_ns)


def correlation(a, b):
    return np.corrcoef(a, b)[0, 1]


def test_a_wider_opening_is_calibrated_by_a_gain(tiny):
    net, values = linear_net(), syllables(500)
    shared = predict_modes(net, values, np.arange(500) * STEP_NS, np.arange(500) * STEP_NS)
    dataset, features = filmed(tiny, values, 1.6 * shared)
    calibrated, calibration = calibrate_net(net, dataset, *features)
    assert calibration.method == "gain"
    assert calibration.gain[OPEN] == pytest.approx(0.95 * 1.6, rel=0.05)
    assert calibration.amplitude == pytest.approx(0.95, abs=0.08)
    assert predict_modes(calibrated, *features, features[1])[:, OPEN].std() > 1.4 * shared[:, OPEN].std()


def test_a_person_who_matches_the_net_keeps_it(tiny):
    net, values = linear_net(), syllables(500)
    shared = predict_modes(net, values, np.arange(500) * STEP_NS, np.arange(500) * STEP_NS)
    dataset, features = filmed(tiny, values, shared / 0.95)
    calibrated, calibration = calibrate_net(net, dataset, *features)
    assert calibration.method in ("shared", "gain")
    assert correlation(predict_modes(calibrated, *features, features[1])[:, OPEN], shared[:, OPEN]) > 0.999


def test_coupled_modes_are_calibrated_by_a_mix(tiny):
    net, values = linear_net(), syllables(750)
    shared = predict_modes(net, values, np.arange(750) * STEP_NS, np.arange(750) * STEP_NS)
    own = np.eye(8)
    own[2, 2], own[2, 6] = 0.2, 1.2
    rng = np.random.default_rng(2)
    modes = shared @ own + 0.02 * rng.normal(size=shared.shape)
    dataset, features = filmed(tiny, values, modes)
    calibrated, calibration = calibrate_net(net, dataset, *features)
    assert calibration.method in ("mix", "layer")
    after = predict_modes(calibrated, *features, features[1])
    assert correlation(after[:, 6], modes[:, 6]) > correlation(shared[:, 6], modes[:, 6]) + 0.1


@pytest.mark.parametrize("seed", range(4))
def test_uncorrelated_motion_never_lowers_the_held_out_correlation(tiny, seed):
    """Seconds of someone else's motion: a fit of many parameters follows them, and left-out blocks tell."""
    net, values = linear_net(), syllables(200, seed)
    unheard = syllables(200, seed + 50)[:, :8]
    dataset, features = filmed(tiny, values, unheard)
    _, calibration = calibrate_net(net, dataset, *features)
    assert calibration.after[OPEN] >= calibration.before[OPEN] - 1e-3


def test_an_outlier_passage_is_excluded_and_reported(tiny):
    net, values = linear_net(), syllables(750)
    shared = predict_modes(net, values, np.arange(750) * STEP_NS, np.arange(750) * STEP_NS)
    modes = 1.5 * shared
    modes[300:350] += 3.0 * syllables(50, 7)[:, :8]  # a hand before the mouth, two seconds
    dataset, features = filmed(tiny, values, modes)
    _calibrated, calibration = calibrate_net(net, dataset, *features)
    assert calibration.method != "shared"
    assert calibration.gain[OPEN] == pytest.approx(0.95 * 1.5, rel=0.1)
    assert any(begin < 14.0 and end > 12.0 for begin, end in calibration.outlier_spans_s)
    assert calibration_as_dict(calibration)["odd_passages_s"]


def test_tracker_drift_does_not_change_the_calibration(tiny):
    net, values = linear_net(), syllables(750)
    shared = predict_modes(net, values, np.arange(750) * STEP_NS, np.arange(750) * STEP_NS)
    drift = np.linspace(-0.6, 0.6, 750)[:, None]
    with_drift, features = filmed(tiny, values, 1.5 * shared + drift)
    without, _ = filmed(tiny, values, 1.5 * shared)
    one, other = (calibrate_net(net, dataset, *features)[1] for dataset in (with_drift, without))
    assert one.method == other.method
    np.testing.assert_allclose(one.gain, other.gain, rtol=0.1)


def test_too_little_video_changes_nothing(tiny):
    net, values = linear_net(), syllables(60)
    dataset, features = filmed(tiny, values, syllables(60, 3)[:, :8])
    calibrated, calibration = calibrate_net(net, dataset, *features)
    assert calibration.method == "shared"
    assert "too little film" in calibration.reason
    np.testing.assert_array_equal(calibrated.w2, net.w2)


def test_a_calibration_as_dict_is_plain_data(tiny):
    net, values = linear_net(), syllables(500)
    dataset, features = filmed(tiny, values, syllables(500, 3)[:, :8])
    output = calibration_as_dict(calibrate_net(net, dataset, *features)[1])
    assert output["method"] in METHODS
    assert set(MOUTH_MODES) < set(output)
    assert all(isinstance(value, float) for value in output["open"].values())


HIDDEN = 64


def hidden_features(moments, seed=0):
    rng = np.random.default_rng(seed)
    return np.abs(np.cumsum(rng.normal(size=(moments, HIDDEN)) * 0.3, axis=0) % 2 - 1).astype(np.float32)


@pytest.fixture
def net():
    w2 = np.random.default_rng(1).normal(size=(HIDDEN, 8)).astype(np.float32) * 0.1
    return replace(zero_net("logmel", 3), w2=w2, b2=np.full(8, 0.1, np.float32))


def apply_last_layer(net, units):
    return units @ net.w2 + net.b2


def correlations(a, b):
    return np.array([np.corrcoef(a[:, k], b[:, k])[0, 1] for k in range(8)])


def test_refitting_improves_correlation_on_unseen_frames(net):
    rng = np.random.default_rng(2)
    own = replace(net, w2=net.w2 + rng.normal(size=net.w2.shape).astype(np.float32) * 0.1)
    units = hidden_features(1000)
    modes = (apply_last_layer(own, units) + 0.05 * rng.normal(size=(1000, 8))).astype(np.float32)
    fitted = refit_last_layer(net, units[:600], modes[:600])
    before = correlations(apply_last_layer(net, units[600:]), modes[600:])
    after = correlations(apply_last_layer(fitted, units[600:]), modes[600:])
    assert (after > before).all()
    assert after.mean() > before.mean() + 0.1


def test_refitting_keeps_means_and_standard_deviations(net):
    units = hidden_features(500)
    modes = np.random.default_rng(3).normal(size=(500, 8)).astype(np.float32)
    fitted = refit_last_layer(net, units, modes)
    np.testing.assert_allclose(
        apply_last_layer(fitted, units).mean(axis=0), apply_last_layer(net, units).mean(axis=0), atol=1e-4
    )
    np.testing.assert_allclose(
        apply_last_layer(fitted, units).std(axis=0), apply_last_layer(net, units).std(axis=0), rtol=1e-3
    )


def test_little_video_does_not_overfit_to_noise(net):
    """Somebody who moves just as the net says, and a tracker that errs: four seconds of it."""
    units = hidden_features(400)
    seen = apply_last_layer(net, units) + 0.1 * np.random.default_rng(4).normal(size=(400, 8))
    fitted = refit_last_layer(net, units[:100], seen[:100].astype(np.float32))
    assert correlations(apply_last_layer(fitted, units[100:]), apply_last_layer(net, units[100:])).min() > 0.9


def test_a_mode_without_weights_stays_at_rest(net):
    still = net.w2.copy()
    still[:, 3] = 0.0
    fitted = refit_last_layer(replace(net, w2=still), hidden_features(300), hidden_features(300, 5)[:, :8])
    assert not fitted.w2[:, 3].any()


def test_hidden_features_reproduce_the_net(net):
    window = np.random.default_rng(6).normal(size=(net.window, 3)).astype(np.float32)
    units = hidden_features_net(net)(window)
    np.testing.assert_allclose(units @ net.w2 + net.b2, net(window), atol=1e-5)
