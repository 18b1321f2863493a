"""Correlation, and what it says of signals that stand still."""

import math

import numpy as np
import pytest

from splatface.models.signals import parabolic_peak_offset, pearson


def test_scale_and_offset_change_nothing_but_the_sign():
    signal = np.sin(np.arange(50) / 5)
    assert pearson(signal, 3 * signal + 2) == pytest.approx(1)
    assert pearson(signal, -signal) == pytest.approx(-1)


def test_what_stands_still_is_like_nothing():
    signal = np.sin(np.arange(50) / 5)
    assert pearson(signal, np.full(50, 0.3)) == 0
    assert pearson(signal, 0.01 * signal, still=0.02) == 0
    assert pearson(np.zeros(0), np.zeros(0)) == 0


def test_the_parabola_is_found():
    for at in (-0.4, 0.0, 0.3):
        assert parabolic_peak_offset(*(5.0 - 2.0 * (x - at) ** 2 for x in (-1, 0, 1))) == pytest.approx(at)


@pytest.mark.parametrize("values", [(1.0, 1.0, 1.0), (0.0, 1.0, 2.0), (3.0, 1.0, 2.0), (math.nan, 1.0, 0.0)])
def test_what_has_no_summit_stays(values):
    assert parabolic_peak_offset(*values) == 0.0
