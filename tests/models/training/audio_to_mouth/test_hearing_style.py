import numpy as np
import pytest

from splatface.models.audio2motion.weights import load_net
from splatface.models.errors import HeadError
from splatface.models.training.audio_to_mouth.style import scale_outputs

NET = load_net("fsmn")
WINDOW = np.random.default_rng(0).standard_normal((NET.window, NET.feature_dim)).astype(np.float32)


def test_gain_and_bias_of_every_mode_are_folded_in():
    gain, bias = np.linspace(0.5, 1.5, 8), np.linspace(-0.1, 0.1, 8)
    assert scale_outputs(NET, gain, bias)(WINDOW) == pytest.approx(gain * NET(WINDOW) + bias, abs=1e-5)


def test_one_number_is_for_all_modes_and_the_net_stays_as_it_was():
    before = NET(WINDOW)
    assert scale_outputs(NET, 1.3)(WINDOW) == pytest.approx(1.3 * before, abs=1e-5)
    assert np.array_equal(NET(WINDOW), before)


def test_one_and_nothing_change_nothing():
    assert np.array_equal(scale_outputs(NET, 1.0, 0.0)(WINDOW), NET(WINDOW))


def test_two_calibrations_are_one():
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
def test_what_is_no_style_is_refused(gain, bias, words):
    with pytest.raises(HeadError, match=words):
        scale_outputs(NET, gain, bias)
