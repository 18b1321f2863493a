"""Correlation, and what it says of signals that stand still."""

import numpy as np
import pytest

from splatface.models.signals import pearson


def test_scale_and_offset_change_nothing_but_the_sign():
    signal = np.sin(np.arange(50) / 5)
    assert pearson(signal, 3 * signal + 2) == pytest.approx(1)
    assert pearson(signal, -signal) == pytest.approx(-1)


def test_what_stands_still_is_like_nothing():
    signal = np.sin(np.arange(50) / 5)
    assert pearson(signal, np.full(50, 0.3)) == 0
    assert pearson(signal, 0.01 * signal, still=0.02) == 0
    assert pearson(np.zeros(0), np.zeros(0)) == 0
