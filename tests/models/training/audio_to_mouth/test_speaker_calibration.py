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


def speech(moments, seed=0):
    """Features [T, UNITS] that move at the pace of syllables."""
    rng = np.random.default_rng(seed)
    times_s = np.arange(moments)[:, None] * STEP_NS / 1e9
    rates, phases = rng.uniform(1.0, 5.0, (2, 3, UNITS))
    waves = [np.sin(2 * np.pi * rate * times_s + phase) for rate, phase in zip(rates, phases, strict=True)]
    return (0.5 + 0.2 * sum(waves)).astype(np.float32)


def listening(seed=1):
    """A net whose hidden units are its features, one frame each, mixed to eight modes."""
    zeros = zero_net("logmel", UNITS, window=1)
    mix = np.random.default_rng(seed).normal(size=(UNITS, 8)).astype(np.float32) * 0.15
    # gelu(x + 6) = x + 6 for what is heard here: the hidden layer passes features on.
    return replace(
        zeros,
        project=np.eye(UNITS, dtype=np.float32),
        w1=np.eye(UNITS, dtype=np.float32),
        b1=np.full(UNITS, 6.0, np.float32),
        w2=mix,
        b2=-6.0 * mix.sum(axis=0),
    )


def filmed(tiny, values, mouth):
    """A data set in which the person does `mouth` [T, 8] while the features [T, D] are heard."""
    times_ns = np.arange(len(mouth), dtype=np.int64) * STEP_NS
    unit = np.tile(np.eye(4), (len(mouth), 1, 1))
    motion = MotionTrack(
        times_ns, mouth.astype(np.float32), np.zeros((len(mouth), 8), np.float32), unit, unit
    )
    frames = replace(tiny.frames, time_ns=tiny.frames.time_ns + 10**13)
    return replace(tiny, motion=motion, frames=frames), (values, times_ns)


def correlation(a, b):
    return np.corrcoef(a, b)[0, 1]


def test_a_person_who_opens_wider_gets_a_gain(tiny):
    net, values = listening(), speech(500)
    said = predict_modes(net, values, np.arange(500) * STEP_NS, np.arange(500) * STEP_NS)
    dataset, features = filmed(tiny, values, 1.6 * said)
    calibrated, found = calibrate_net(net, dataset, *features)
    assert found.method == "gain"
    assert found.gain[OPEN] == pytest.approx(0.95 * 1.6, rel=0.05)
    assert found.amplitude == pytest.approx(0.95, abs=0.08)
    assert predict_modes(calibrated, *features, features[1])[:, OPEN].std() > 1.4 * said[:, OPEN].std()


def test_who_moves_as_the_net_says_keeps_it(tiny):
    net, values = listening(), speech(500)
    said = predict_modes(net, values, np.arange(500) * STEP_NS, np.arange(500) * STEP_NS)
    dataset, features = filmed(tiny, values, said / 0.95)
    calibrated, found = calibrate_net(net, dataset, *features)
    assert found.method in ("shared", "gain")
    assert correlation(predict_modes(calibrated, *features, features[1])[:, OPEN], said[:, OPEN]) > 0.999


def test_modes_that_a_person_does_together_are_mixed(tiny):
    net, values = listening(), speech(750)
    said = predict_modes(net, values, np.arange(750) * STEP_NS, np.arange(750) * STEP_NS)
    own = np.eye(8)
    own[2, 2], own[2, 6] = 0.2, 1.2
    rng = np.random.default_rng(2)
    done = said @ own + 0.02 * rng.normal(size=said.shape)
    dataset, features = filmed(tiny, values, done)
    calibrated, found = calibrate_net(net, dataset, *features)
    assert found.method in ("mix", "layer")
    after = predict_modes(calibrated, *features, features[1])
    assert correlation(after[:, 6], done[:, 6]) > correlation(said[:, 6], done[:, 6]) + 0.1


@pytest.mark.parametrize("seed", range(4))
def test_a_person_of_whom_nothing_is_heard_never_gets_worse_in_film_left_out(tiny, seed):
    """Seconds of someone else's motion: a fit of many parameters follows them, and left-out blocks tell."""
    net, values = listening(), speech(200, seed)
    unheard = speech(200, seed + 50)[:, :8]
    dataset, features = filmed(tiny, values, unheard)
    _, found = calibrate_net(net, dataset, *features)
    assert found.after[OPEN] >= found.before[OPEN] - 1e-3


def test_one_odd_passage_is_left_out_and_reported(tiny):
    net, values = listening(), speech(750)
    said = predict_modes(net, values, np.arange(750) * STEP_NS, np.arange(750) * STEP_NS)
    done = 1.5 * said
    done[300:350] += 3.0 * speech(50, 7)[:, :8]  # a hand before the mouth, two seconds
    dataset, features = filmed(tiny, values, done)
    _calibrated, found = calibrate_net(net, dataset, *features)
    assert found.method != "shared"
    assert found.gain[OPEN] == pytest.approx(0.95 * 1.5, rel=0.1)
    assert any(begin < 14.0 and end > 12.0 for begin, end in found.outlier_spans_s)
    assert calibration_as_dict(found)["odd_passages_s"]


def test_drift_of_the_tracker_is_not_learned(tiny):
    net, values = listening(), speech(750)
    said = predict_modes(net, values, np.arange(750) * STEP_NS, np.arange(750) * STEP_NS)
    drift = np.linspace(-0.6, 0.6, 750)[:, None]
    with_drift, features = filmed(tiny, values, 1.5 * said + drift)
    without, _ = filmed(tiny, values, 1.5 * said)
    one, other = (calibrate_net(net, dataset, *features)[1] for dataset in (with_drift, without))
    assert one.method == other.method
    np.testing.assert_allclose(one.gain, other.gain, rtol=0.1)


def test_too_little_film_changes_nothing_and_says_so(tiny):
    net, values = listening(), speech(60)
    dataset, features = filmed(tiny, values, speech(60, 3)[:, :8])
    calibrated, found = calibrate_net(net, dataset, *features)
    assert found.method == "shared"
    assert "too little film" in found.reason
    np.testing.assert_array_equal(calibrated.w2, net.w2)


def test_a_description_is_plain_and_whole(tiny):
    net, values = listening(), speech(500)
    dataset, features = filmed(tiny, values, speech(500, 3)[:, :8])
    told = calibration_as_dict(calibrate_net(net, dataset, *features)[1])
    assert told["method"] in METHODS
    assert set(MOUTH_MODES) < set(told)
    assert all(isinstance(value, float) for value in told["open"].values())


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


def test_a_person_who_moves_otherwise_is_foretold_better_in_words_not_heard_before(net):
    rng = np.random.default_rng(2)
    own = replace(net, w2=net.w2 + rng.normal(size=net.w2.shape).astype(np.float32) * 0.1)
    units = hidden_features(1000)
    done = (apply_last_layer(own, units) + 0.05 * rng.normal(size=(1000, 8))).astype(np.float32)
    fitted = refit_last_layer(net, units[:600], done[:600])
    before = correlations(apply_last_layer(net, units[600:]), done[600:])
    after = correlations(apply_last_layer(fitted, units[600:]), done[600:])
    assert (after > before).all()
    assert after.mean() > before.mean() + 0.1


def test_means_and_spreads_stay(net):
    units = hidden_features(500)
    done = np.random.default_rng(3).normal(size=(500, 8)).astype(np.float32)
    fitted = refit_last_layer(net, units, done)
    np.testing.assert_allclose(
        apply_last_layer(fitted, units).mean(axis=0), apply_last_layer(net, units).mean(axis=0), atol=1e-4
    )
    np.testing.assert_allclose(
        apply_last_layer(fitted, units).std(axis=0), apply_last_layer(net, units).std(axis=0), rtol=1e-3
    )


def test_little_film_does_not_teach_its_noise(net):
    """Somebody who moves just as the net says, and a tracker that errs: four seconds of it."""
    units = hidden_features(400)
    seen = apply_last_layer(net, units) + 0.1 * np.random.default_rng(4).normal(size=(400, 8))
    fitted = refit_last_layer(net, units[:100], seen[:100].astype(np.float32))
    assert correlations(apply_last_layer(fitted, units[100:]), apply_last_layer(net, units[100:])).min() > 0.9


def test_a_mode_that_the_net_never_moves_stays_at_rest(net):
    still = net.w2.copy()
    still[:, 3] = 0.0
    fitted = refit_last_layer(replace(net, w2=still), hidden_features(300), hidden_features(300, 5)[:, :8])
    assert not fitted.w2[:, 3].any()


def test_the_open_net_says_what_its_units_say(net):
    window = np.random.default_rng(6).normal(size=(net.window, 3)).astype(np.float32)
    units = hidden_features_net(net)(window)
    np.testing.assert_allclose(units @ net.w2 + net.b2, net(window), atol=1e-5)
