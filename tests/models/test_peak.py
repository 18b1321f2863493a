"""Where a curve is highest."""

import math

import pytest

from splatface.models.signals import parabolic_peak_offset


def test_the_parabola_is_found():
    for at in (-0.4, 0.0, 0.3):
        assert parabolic_peak_offset(*(5.0 - 2.0 * (x - at) ** 2 for x in (-1, 0, 1))) == pytest.approx(at)


@pytest.mark.parametrize("values", [(1.0, 1.0, 1.0), (0.0, 1.0, 2.0), (3.0, 1.0, 2.0), (math.nan, 1.0, 0.0)])
def test_what_has_no_summit_stays(values):
    assert parabolic_peak_offset(*values) == 0.0
