"""Color of a Gaussian seen from a direction: real spherical harmonics of degree 0 to 3."""

import math

import numpy as np

from splatface.models.render.conventions import SH_0, SH_1, SH_2, SH_3
from splatface.models.render.jit import kernel

__all__ = ["basis", "basis_grad", "shade"]

f4 = np.float32
_ZERO, _HALF, _ONE, _TWO = f4(0), f4(0.5), f4(1), f4(2)
_THREE, _FOUR, _SIX, _EIGHT = f4(3), f4(4), f4(6), f4(8)
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
    """Color >= 0 of Gaussian i of sh [N, (d + 1)^2, 3] seen along (dx, dy, dz), any length."""
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


@kernel
def basis_grad(x, y, z, pulls):  # type: ignore[no-untyped-def]
    """d/d(x, y, z) of sum(pulls [15] * basis(x, y, z)), x, y, z taken as independent."""
    w = pulls
    gx = -_C1 * w[2] + _D0 * y * w[3] - _TWO * _D2 * x * w[5] + _D3 * z * w[6] + _TWO * _D4 * x * w[7]
    gy = -_C1 * w[0] + _D0 * x * w[3] + _D1 * z * w[4] - _TWO * _D2 * y * w[5] - _TWO * _D4 * y * w[7]
    gz = _C1 * w[1] + _D1 * y * w[4] + _FOUR * _D2 * z * w[5] + _D3 * x * w[6]
    xx, yy, zz, xy, yz, xz = x * x, y * y, z * z, x * y, y * z, x * z
    gx += _SIX * _E0 * xy * w[8] + _E1 * yz * w[9] - _TWO * _E2 * xy * w[10] - _SIX * _E3 * xz * w[11]
    gx += _E4 * (_FOUR * zz - _THREE * xx - yy) * w[12] + _TWO * _E5 * xz * w[13]
    gx += _THREE * _E6 * (xx - yy) * w[14]
    gy += _THREE * _E0 * (xx - yy) * w[8] + _E1 * xz * w[9] + _E2 * (_FOUR * zz - xx - _THREE * yy) * w[10]
    gy -= (
        _SIX * _E3 * yz * w[11] + _TWO * _E4 * xy * w[12] + _TWO * _E5 * yz * w[13] + _SIX * _E6 * xy * w[14]
    )
    gz += _E1 * xy * w[9] + _EIGHT * _E2 * yz * w[10] + _THREE * _E3 * (_TWO * zz - xx - yy) * w[11]
    gz += _EIGHT * _E4 * xz * w[12] + _E5 * (xx - yy) * w[13]
    return gx, gy, gz
