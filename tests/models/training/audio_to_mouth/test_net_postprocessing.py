import dataclasses

import numpy as np
import pytest

from splatface.models.audio2motion.audio_to_mouth import Convolution
from splatface.models.audio2motion.pretrained_nets import load_net
from splatface.models.errors import HeadError
from splatface.models.training.audio_to_mouth.encoded_clips import Clips
from splatface.models.training.audio_to_mouth.net_postprocessing import blend_nets, ridge_net, scale_outputs
from splatface.models.training.audio_to_mouth.predictors import predict_frames

RNG = np.random.default_rng(0)
VALUES = RNG.standard_normal((3000, 6)).astype(np.float16)


def clips_of(modes):
    return Clips("test", VALUES, modes.astype(np.float32), np.array([0, 1500, 3000]))


@pytest.mark.parametrize("lookahead", [0, 1, 3])
def test_ridge_recovers_a_linear_mapping_at_its_lookahead(lookahead):
    modes = np.zeros((3000, 8))
    modes[:, 0] = 0.5 * VALUES[:, 2] + 0.1
    modes[:, 3] = 0.3 * VALUES[:, 1] - 0.2 * VALUES[:, 4]
    net = ridge_net(clips_of(modes), lookahead, ridge=1e-6)
    assert net.lookahead_ms == 20 * lookahead
    predicted = predict_frames(net, VALUES.astype(np.float32))
    assert predicted[20:2900] == pytest.approx(modes[20 - lookahead : 2900 - lookahead], abs=0.02)


def test_a_strong_ridge_predicts_the_mean():
    modes = np.zeros((3000, 8))
    modes[:, 0] = 0.5 * VALUES[:, 2] + 0.1
    predicted = predict_frames(ridge_net(clips_of(modes), 1, ridge=1e4), VALUES.astype(np.float32))
    assert predicted[:, 0] == pytest.approx(np.full(3000, modes[:, 0].mean()), abs=0.01)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_a_blend_predicts_the_weighted_mean(weight):
    one = load_net("fsmn")
    noise = RNG.standard_normal((500, one.feature_dim)).astype(np.float32)
    values = one.mean + one.std * noise
    modes = np.zeros((500, 8), np.float32)
    modes[:, 0], modes[:, 1] = 0.1 * noise[:, 0], 0.2 * noise[:, 1]
    clips = Clips("fsmn", values.astype(np.float16), modes, np.array([0, 500]))
    other = ridge_net(clips, round(one.lookahead_ms / 20))
    both = blend_nets(one, other, weight)
    assert both.window == max(one.window, other.window + one.window - one.context_frames)
    assert len(both.convs) == len(one.convs)
    between = weight * predict_frames(one, values) + (1 - weight) * predict_frames(other, values)
    assert predict_frames(both, values) == pytest.approx(between, abs=1e-4)


def test_incompatible_nets_are_not_blended():
    net = load_net("fsmn")
    with pytest.raises(HeadError, match="look-ahead"):
        blend_nets(net, dataclasses.replace(net, lookahead_ms=60.0))
    with pytest.raises(HeadError, match="second net without convolutions"):
        blend_nets(net, dataclasses.replace(net, convs=(Convolution(np.zeros((2, 3, 3)), np.zeros(3)),)))
    with pytest.raises(HeadError, match="encoder fsmn"):
        blend_nets(net, load_net("logmel"))


NET = load_net("fsmn")
WINDOW = np.random.default_rng(0).standard_normal((NET.window, NET.feature_dim)).astype(np.float32)


def test_gain_and_bias_of_every_mode_are_applied():
    gain, bias = np.linspace(0.5, 1.5, 8), np.linspace(-0.1, 0.1, 8)
    assert scale_outputs(NET, gain, bias)(WINDOW) == pytest.approx(gain * NET(WINDOW) + bias, abs=1e-5)


def test_a_scalar_gain_applies_to_all_modes_and_the_net_is_unchanged():
    before = NET(WINDOW)
    assert scale_outputs(NET, 1.3)(WINDOW) == pytest.approx(1.3 * before, abs=1e-5)
    assert np.array_equal(NET(WINDOW), before)


def test_unit_gain_and_zero_bias_change_nothing():
    assert np.array_equal(scale_outputs(NET, 1.0, 0.0)(WINDOW), NET(WINDOW))


def test_two_scalings_compose():
    twice = scale_outputs(scale_outputs(NET, 1.2, 0.1), 0.5, 0.02)
    assert twice(WINDOW) == pytest.approx(scale_outputs(NET, 0.6, 0.07)(WINDOW), abs=1e-5)


@pytest.mark.parametrize(
    ("gain", "bias", "words"),
    [
        (np.ones(3), 0.0, r"expected one finite number or 8, found \[3\]"),
        (np.nan, 0.0, "finite"),
        (1.0, np.full(8, np.inf), "bias"),
        (-0.1, 0.0, "no mouth moves backwards"),
    ],
)
def test_invalid_gains_and_biases_are_refused(gain, bias, words):
    with pytest.raises(HeadError, match=words):
        scale_outputs(NET, gain, bias)
