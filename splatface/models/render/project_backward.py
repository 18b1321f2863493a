"""Gradients of the projection: from moments in the picture to means, quats, scales, opacities and colors."""

import math

import numpy as np

from splatface.models.render.conventions import SH_0
from splatface.models.render.harmonics import basis, basis_grad
from splatface.models.render.jit import kernel
from splatface.models.render.project import LOG2_E, jacobian_limits

__all__ = ["project_backward"]

f4 = np.float32
_ZERO, _HALF, _ONE, _TWO = f4(0), f4(0.5), f4(1), f4(2)
_C0 = f4(SH_0)


@kernel
def _ellipse_slopes(records, i, m):  # type: ignore[no-untyped-def]
    """dL/d(x, y) of the center and dL/d(var_x, cov, var_y) (cov counted once for both off-diagonals)."""
    # inverse covariance
    a, b, c = (
        records[i, 2] * (-_TWO / LOG2_E),
        records[i, 3] * (-_ONE / LOG2_E),
        records[i, 4] * (-_TWO / LOG2_E),
    )
    q00, q01, q11 = -_HALF * m[3], -_HALF * m[4], -_HALF * m[5]  # dL/d of it
    e00, e01 = a * q00 + b * q01, a * q01 + b * q11
    e10, e11 = b * q00 + c * q01, b * q01 + c * q11
    return (
        a * m[1] + b * m[2],
        b * m[1] + c * m[2],
        -(e00 * a + e01 * b),
        -(e00 * b + e01 * c),
        -(e10 * b + e11 * c),
    )


@kernel
def _color_slopes(sh, i, direction, m, records, pulls, d_sh):  # type: ignore[no-untyped-def]
    """Write dL/dsh of Gaussian i; returns dL/dmean through the viewing direction. pulls [15] is scratch."""
    # A color clamped at 0 has no slope.
    red = m[6] if records[i, 6] > _ZERO else _ZERO
    green = m[7] if records[i, 7] > _ZERO else _ZERO
    blue = m[8] if records[i, 8] > _ZERO else _ZERO
    d_sh[i, 0, 0], d_sh[i, 0, 1], d_sh[i, 0, 2] = _C0 * red, _C0 * green, _C0 * blue
    count = sh.shape[1]
    if count == 1:
        return _ZERO, _ZERO, _ZERO
    dx, dy, dz = direction
    inverse = _ONE / f4(math.sqrt(dx * dx + dy * dy + dz * dz))
    x, y, z = dx * inverse, dy * inverse, dz * inverse
    values = basis(x, y, z)
    for k in range(1, count):
        value = values[k - 1]
        d_sh[i, k, 0], d_sh[i, k, 1], d_sh[i, k, 2] = value * red, value * green, value * blue
        pulls[k - 1] = sh[i, k, 0] * red + sh[i, k, 1] * green + sh[i, k, 2] * blue
    gx, gy, gz = basis_grad(x, y, z, pulls)
    along = gx * x + gy * y + gz * z  # the length of the direction does not matter
    return (gx - x * along) * inverse, (gy - y * along) * inverse, (gz - z * along) * inverse


@kernel
def _quat_grad(splat, i, to_picture, cov_slopes, d_axes, slopes):  # type: ignore[no-untyped-def]
    """Write dL/dquat and dL/dscale of Gaussian i; returns dL/d of the 2 x 3 matrix world -> picture.

    d_axes [3, 3] is scratch, row k: dL/d axis k.
    """
    quat, scale = splat
    d_quats, d_scales = slopes
    t00, t01, t02, t10, t11, t12 = to_picture
    c00, c01, c11 = cov_slopes
    w, x, y, z = quat[i, 0], quat[i, 1], quat[i, 2], quat[i, 3]
    inverse = _ONE / f4(math.sqrt(w * w + x * x + y * y + z * z))
    w, x, y, z = w * inverse, x * inverse, y * inverse, z * inverse
    axes = (
        (_ONE - _TWO * (y * y + z * z), _TWO * (x * y + w * z), _TWO * (x * z - w * y)),
        (_TWO * (x * y - w * z), _ONE - _TWO * (x * x + z * z), _TWO * (y * z + w * x)),
        (_TWO * (x * z + w * y), _TWO * (y * z - w * x), _ONE - _TWO * (x * x + y * y)),
    )
    d00 = d01 = d02 = d10 = d11 = d12 = _ZERO
    for k in range(3):
        rx, ry, rz = axes[k]
        s = scale[i, k]
        u, v = (t00 * rx + t01 * ry + t02 * rz) * s, (t10 * rx + t11 * ry + t12 * rz) * s
        gu, gv = _TWO * (c00 * u + c01 * v), _TWO * (c01 * u + c11 * v)
        px, py, pz = t00 * gu + t10 * gv, t01 * gu + t11 * gv, t02 * gu + t12 * gv
        d_scales[i, k] = rx * px + ry * py + rz * pz
        d_axes[k, 0], d_axes[k, 1], d_axes[k, 2] = px * s, py * s, pz * s
        d00, d01, d02 = d00 + gu * rx * s, d01 + gu * ry * s, d02 + gu * rz * s
        d10, d11, d12 = d10 + gv * rx * s, d11 + gv * ry * s, d12 + gv * rz * s
    (xx, yx, zx), (xy, yy, zy), (xz, yz, zz) = (
        (d_axes[0, 0], d_axes[0, 1], d_axes[0, 2]),
        (d_axes[1, 0], d_axes[1, 1], d_axes[1, 2]),
        (d_axes[2, 0], d_axes[2, 1], d_axes[2, 2]),
    )
    gw = _TWO * (x * (zy - yz) + y * (xz - zx) + z * (yx - xy))
    gx = _TWO * (-_TWO * x * (yy + zz) + y * (xy + yx) + z * (xz + zx) + w * (zy - yz))
    gy = _TWO * (x * (xy + yx) - _TWO * y * (xx + zz) + z * (yz + zy) + w * (xz - zx))
    gz = _TWO * (x * (xz + zx) + y * (yz + zy) - _TWO * z * (xx + yy) + w * (yx - xy))
    along = gw * w + gx * x + gy * y + gz * z  # the length of a quaternion does not matter
    d_quats[i, 0], d_quats[i, 1] = (gw - w * along) * inverse, (gx - x * along) * inverse
    d_quats[i, 2], d_quats[i, 3] = (gy - y * along) * inverse, (gz - z * along) * inverse
    return d00, d01, d02, d10, d11, d12


@kernel
def project_backward(first, last, splats, view, records, sums, slopes):  # type: ignore[no-untyped-def]
    """Write the slopes of Gaussians first..last.

    splats (means, quats, scales, opacities, sh), view (pose [12], lens [4], (width, height)), sums
    [threads, N, 9 + C] as `backward_tiles` leaves them, slopes as splats, then extra [N, C], centers [N, 2].
    """
    means, quats, scales, opacities, sh = splats
    d_means, d_quats, d_scales, d_opacities, d_sh, d_extra, d_centers = slopes
    v, lens, size = view
    fx, fy = lens[0], lens[1]
    eye_x = -(v[0] * v[3] + v[4] * v[7] + v[8] * v[11])
    eye_y = -(v[1] * v[3] + v[5] * v[7] + v[9] * v[11])
    eye_z = -(v[2] * v[3] + v[6] * v[7] + v[10] * v[11])
    low_x, high_x, low_y, high_y = jacobian_limits(lens, size[0], size[1])
    m = np.empty(sums.shape[2], np.float32)
    pulls, d_axes = np.zeros(15, np.float32), np.empty((3, 3), np.float32)
    for i in range(first, last):
        for k in range(sums.shape[2]):
            moment = sums[0, i, k]
            for thread in range(1, sums.shape[0]):
                moment += sums[thread, i, k]
            m[k] = moment
            if k >= 9:
                d_extra[i, k - 9] = moment
        p0, p1, p2 = means[i, 0], means[i, 1], means[i, 2]
        z = v[8] * p0 + v[9] * p1 + v[10] * p2 + v[11]
        drawn = False  # what was not drawn has no record and no slope
        for k in range(9):
            drawn |= m[k] != _ZERO
        if not drawn:
            d_means[i] = _ZERO
            d_quats[i] = _ZERO
            d_scales[i] = _ZERO
            d_opacities[i] = _ZERO
            d_sh[i] = _ZERO
            d_centers[i] = _ZERO
            continue
        inverse_z = _ONE / z
        x_z = (v[0] * p0 + v[1] * p1 + v[2] * p2 + v[3]) * inverse_z
        y_z = (v[4] * p0 + v[5] * p1 + v[6] * p2 + v[7]) * inverse_z
        x_seen, y_seen = min(max(x_z, low_x), high_x), min(max(y_z, low_y), high_y)
        j00, j11 = fx * inverse_z, fy * inverse_z
        j02, j12 = -j00 * x_seen, -j11 * y_seen
        to_picture = (
            j00 * v[0] + j02 * v[8],
            j00 * v[1] + j02 * v[9],
            j00 * v[2] + j02 * v[10],
            j11 * v[4] + j12 * v[8],
            j11 * v[5] + j12 * v[9],
            j11 * v[6] + j12 * v[10],
        )
        du, dv, c00, c01, c11 = _ellipse_slopes(records, i, m)
        d_centers[i, 0], d_centers[i, 1] = du, dv
        d_opacities[i] = m[0] / opacities[i]
        d00, d01, d02, d10, d11, d12 = _quat_grad(
            (quats, scales), i, to_picture, (c00, c01, c11), d_axes, (d_quats, d_scales)
        )
        g00, g02 = d00 * v[0] + d01 * v[1] + d02 * v[2], d00 * v[8] + d01 * v[9] + d02 * v[10]
        g11, g12 = d10 * v[4] + d11 * v[5] + d12 * v[6], d10 * v[8] + d11 * v[9] + d12 * v[10]
        free_x = _ONE if x_seen == x_z else _ZERO  # held at the limit of the view, j02 no longer follows x
        free_y = _ONE if y_seen == y_z else _ZERO
        dx = j00 * du - free_x * j00 * inverse_z * g02
        dy = j11 * dv - free_y * j11 * inverse_z * g12
        dz = (
            -j00 * x_z * du
            - j11 * y_z * dv
            - inverse_z * (j00 * g00 + j11 * g11 + (_ONE + free_x) * j02 * g02 + (_ONE + free_y) * j12 * g12)
        )
        gx, gy, gz = _color_slopes(sh, i, (p0 - eye_x, p1 - eye_y, p2 - eye_z), m, records, pulls, d_sh)
        d_means[i, 0] = v[0] * dx + v[4] * dy + v[8] * dz + gx
        d_means[i, 1] = v[1] * dx + v[5] * dy + v[9] * dz + gy
        d_means[i, 2] = v[2] * dx + v[6] * dy + v[10] * dz + gz
