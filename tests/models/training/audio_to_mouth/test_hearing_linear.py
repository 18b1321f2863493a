import dataclasses

import numpy as np
import pytest

from splatface.models.audio2motion.convolution import Convolution
from splatface.models.audio2motion.weights import load_net
from splatface.models.errors import HeadError
from splatface.models.training.audio_to_mouth.dataset import Clips
from splatface.models.training.audio_to_mouth.linear import blend, linear_net
from splatface.models.training.audio_to_mouth.listening import heard_windows

RNG = np.random.default_rng(0)
VALUES = RNG.standard_normal((3000, 6)).astype(np.float16)


def clips_of(modes):
    return Clips("test", VALUES, modes.astype(np.float32), np.array([0, 1500, 3000]))


@pytest.mark.parametrize("lookahead", [0, 1, 3])
def test_what_is_linear_is_found_at_its_time(lookahead):
    modes = np.zeros((3000, 8))
    modes[:, 0] = 0.5 * VALUES[:, 2] + 0.1
    modes[:, 3] = 0.3 * VALUES[:, 1] - 0.2 * VALUES[:, 4]
    net = linear_net(clips_of(modes), lookahead, strength=1e-6)
    assert net.lookahead_ms == 20 * lookahead
    heard = heard_windows(net, VALUES.astype(np.float32))
    assert heard[20:2900] == pytest.approx(modes[20 - lookahead : 2900 - lookahead], abs=0.02)


def test_a_strong_ridge_says_the_mean():
    modes = np.zeros((3000, 8))
    modes[:, 0] = 0.5 * VALUES[:, 2] + 0.1
    heard = heard_windows(linear_net(clips_of(modes), 1, strength=1e4), VALUES.astype(np.float32))
    assert heard[:, 0] == pytest.approx(np.full(3000, modes[:, 0].mean()), abs=0.01)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_blend_answers_between_the_two(share):
    one = load_net("fsmn")
    noise = RNG.standard_normal((500, one.feature_dim)).astype(np.float32)
    values = one.mean + one.std * noise
    modes = np.zeros((500, 8), np.float32)
    modes[:, 0], modes[:, 1] = 0.1 * noise[:, 0], 0.2 * noise[:, 1]
    clips = Clips("fsmn", values.astype(np.float16), modes, np.array([0, 500]))
    other = linear_net(clips, round(one.lookahead_ms / 20))
    both = blend(one, other, share)
    assert both.window == max(one.window, other.window + one.window - one.context_frames)
    assert len(both.convs) == len(one.convs)
    between = share * heard_windows(one, values) + (1 - share) * heard_windows(other, values)
    assert heard_windows(both, values) == pytest.approx(between, abs=1e-4)


def test_what_does_not_fit_is_not_blended():
    net = load_net("fsmn")
    with pytest.raises(HeadError, match="look-ahead"):
        blend(net, dataclasses.replace(net, lookahead_ms=60.0))
    with pytest.raises(HeadError, match="second net without convolutions"):
        blend(net, dataclasses.replace(net, convs=(Convolution(np.zeros((2, 3, 3)), np.zeros(3)),)))
    with pytest.raises(HeadError, match="encoder fsmn"):
        blend(net, load_net("logmel"))
