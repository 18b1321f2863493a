"""Colour of a Gaussian seen from a direction: real spherical harmonics of degree 0 to 3."""

import math

import numpy as np

from splatface.models.render.conventions import SH_0, SH_1, SH_2, SH_3
from splatface.models.render.jit import kernel

__all__ = ["basis", "shade"]

f4 = np.float32
_ZERO, _HALF, _ONE, _TWO, _THREE, _FOUR = f4(0), f4(0.5), f4(1), f4(2), f4(3), f4(4)
_C0, _C1 = f4(SH_0), f4(SH_1)
_D0, _D1, _D2, _D3, _D4 = (f4(c) for c in SH_2)
_E0, _E1, _E2, _E3, _E4, _E5, _E6 = (f4(c) for c in SH_3)


@kernel
def basis(x, y, z):  # type: ignore[no-untyped-def]
    """The 15 functions of degree 1..3 at the unit direction (x, y, z)."""
    xx, yy, zz, xy, yz, xz = x * x, y * y, z * z, x * y, y * z, x * z
    return (
        -_C1 * y,
        _C1 * z,
        -_C1 * x,
        _D0 * xy,
        _D1 * yz,
        _D2 * (_TWO * zz - xx - yy),
        _D3 * xz,
        _D4 * (xx - yy),
        _E0 * y * (_THREE * xx - yy),
        _E1 * xy * z,
        _E2 * y * (_FOUR * zz - xx - yy),
        _E3 * z * (_TWO * zz - _THREE * xx - _THREE * yy),
        _E4 * x * (_FOUR * zz - xx - yy),
        _E5 * z * (xx - yy),
        _E6 * x * (xx - _THREE * yy),
    )


@kernel
def shade(sh, i, dx, dy, dz):  # type: ignore[no-untyped-def]
    """Colour >= 0 of Gaussian i of sh [N, (d + 1)^2, 3] seen along (dx, dy, dz), any length."""
    red = _C0 * sh[i, 0, 0] + _HALF
    green = _C0 * sh[i, 0, 1] + _HALF
    blue = _C0 * sh[i, 0, 2] + _HALF
    if sh.shape[1] > 1:
        inverse = _ONE / f4(math.sqrt(dx * dx + dy * dy + dz * dz))
        values = basis(dx * inverse, dy * inverse, dz * inverse)
        for k in range(1, sh.shape[1]):
            red += values[k - 1] * sh[i, k, 0]
            green += values[k - 1] * sh[i, k, 1]
            blue += values[k - 1] * sh[i, k, 2]
    return max(red, _ZERO), max(green, _ZERO), max(blue, _ZERO)
