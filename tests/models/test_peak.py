"""Where a curve is highest."""

import math

import pytest

from splatface.models.peak import summit


def test_the_parabola_is_found():
    for at in (-0.4, 0.0, 0.3):
        assert summit(*(5.0 - 2.0 * (x - at) ** 2 for x in (-1, 0, 1))) == pytest.approx(at)


@pytest.mark.parametrize("values", [(1.0, 1.0, 1.0), (0.0, 1.0, 2.0), (3.0, 1.0, 2.0), (math.nan, 1.0, 0.0)])
def test_what_has_no_summit_stays(values):
    assert summit(*values) == 0.0
