# SPDX-License-Identifier: Apache-2.0
"""Project Gaussians to ellipses in the image (EWA splatting, Zwicker et al. 2001), forward and backward.

A record is 16 float32, one cache line; the ellipse is where alpha = 2^(A dx^2 + B dx dy + C dy^2 + P)
is visible.
"""

import math

import numpy as np

from splatface.models.render.conventions import (
    ALPHA_MIN,
    FRUSTUM_MARGIN,
    LOW_PASS_PX2,
    NEAR_M,
    SH_0,
    SH_1,
    SH_2,
    SH_3,
)
from splatface.models.render.jit import kernel
from splatface.models.render.tiles import TILE_HEIGHT, TILE_WIDTH

__all__ = [
    "LOG2_ALPHA_MIN",
    "LOG2_E",
    "RECORD",
    "basis",
    "basis_grad",
    "first_pixel",
    "jacobian_limits",
    "last_pixel",
    "project",
    "project_backward",
    "shade",
]

f4 = np.float32
_ZERO, _HALF, _ONE, _TWO, _THREE, _FOUR = f4(0), f4(0.5), f4(1), f4(2), f4(3), f4(4)
_SIX, _EIGHT = f4(6), f4(8)
_C0, _C1 = f4(SH_0), f4(SH_1)
_D0, _D1, _D2, _D3, _D4 = (f4(c) for c in SH_2)
_E0, _E1, _E2, _E3, _E4, _E5, _E6 = (f4(c) for c in SH_3)


@kernel
def basis(x, y, z):  # type: ignore[no-untyped-def]
    """Return the 15 functions of degree 1..3 at the unit direction (x, y, z)."""
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
    """Return the color >= 0 of Gaussian i of sh [N, (d + 1)^2, 3] seen along (dx, dy, dz), any length."""
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
def basis_grad(x, y, z, basis_grads):  # type: ignore[no-untyped-def]
    """Return d/d(x, y, z) of sum(basis_grads [15] * basis(x, y, z)), x, y, z taken as independent."""
    w = basis_grads
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


RECORD = 16
# Places in a record: 0 x, 1 y (px), 2 A, 3 B, 4 C, 5 P = log2(opacity), 6-8 color, 9 reach in y (px),
# 10 and 11 dx/dy of the middle of a row and C along it, 12 -1/A, 13 dy where it is widest, 14 depth (m),
# 15 reach in x (px).

LOG2_E = f4(1.4426950408889634)
LOG2_ALPHA_MIN = f4(math.log2(ALPHA_MIN))
_LOW_PASS, _NEAR, _MARGIN = f4(LOW_PASS_PX2), f4(NEAR_M), f4(FRUSTUM_MARGIN)
_ALMOST_HALF = f4(0.4999)


@kernel
def jacobian_limits(intrinsics, width, height):  # type: ignore[no-untyped-def]
    """Return the smallest and largest X/Z and Y/Z at which the projection's Jacobian is taken (as gsplat)."""
    fx, fy, cx, cy = intrinsics[0], intrinsics[1], intrinsics[2], intrinsics[3]
    margin_x, margin_y = _MARGIN * f4(width) * _HALF / fx, _MARGIN * f4(height) * _HALF / fy
    return (
        -cx / fx - margin_x,
        (f4(width) - cx) / fx + margin_x,
        -cy / fy - margin_y,
        (f4(height) - cy) / fy + margin_y,
    )


@kernel
def first_pixel(left):  # type: ignore[no-untyped-def]
    """Return the first pixel >= 0 whose center is not left of `left`, or one earlier.

    Clamped as integers: whatever a NaN or an infinity became, the result lies in the image.
    """
    return max(np.int32(left + _ALMOST_HALF), np.int32(0))


@kernel
def last_pixel(right, count):  # type: ignore[no-untyped-def]
    """Return the last pixel < count whose center is not right of `right`, or one later; < 0 far outside."""
    return min(np.int32(right - _HALF), np.int32(count - 1))


@kernel
def project(first, last, splats, view, records, boxes):  # type: ignore[no-untyped-def]
    """Write records [N, 16] and boxes [N, 4] (tiles x0, x1, y0, y1; x1 = x0 when unseen) of first..last.

    splats (means, quats, scales, opacities, sh), view (T_camera_world's upper three rows [12], intrinsics
    (fx, fy, cx, cy), (width, height)).
    """
    means, quats, scales, opacities, sh = splats
    pose, intrinsics, size = view
    width, height = size
    fx, fy, cx, cy = intrinsics[0], intrinsics[1], intrinsics[2], intrinsics[3]
    v0, v1, v2, v3, v4, v5 = pose[0], pose[1], pose[2], pose[3], pose[4], pose[5]
    v6, v7, v8, v9, v10, v11 = pose[6], pose[7], pose[8], pose[9], pose[10], pose[11]
    eye_x = -(v0 * v3 + v4 * v7 + v8 * v11)
    eye_y = -(v1 * v3 + v5 * v7 + v9 * v11)
    eye_z = -(v2 * v3 + v6 * v7 + v10 * v11)
    low_x, high_x, low_y, high_y = jacobian_limits(intrinsics, width, height)
    for i in range(first, last):
        p0, p1, p2 = means[i, 0], means[i, 1], means[i, 2]
        x = v0 * p0 + v1 * p1 + v2 * p2 + v3
        y = v4 * p0 + v5 * p1 + v6 * p2 + v7
        z = v8 * p0 + v9 * p1 + v10 * p2 + v11
        opacity = opacities[i]
        if not (z > _NEAR and opacity > f4(ALPHA_MIN)):
            boxes[i, 0] = boxes[i, 1] = boxes[i, 2] = boxes[i, 3] = 0
            continue
        inverse_z = _ONE / z
        x_z, y_z = x * inverse_z, y * inverse_z
        j00, j11 = fx * inverse_z, fy * inverse_z
        j02 = -j00 * min(max(x_z, low_x), high_x)
        j12 = -j11 * min(max(y_z, low_y), high_y)
        t00, t01, t02 = j00 * v0 + j02 * v8, j00 * v1 + j02 * v9, j00 * v2 + j02 * v10
        t10, t11, t12 = j11 * v4 + j12 * v8, j11 * v5 + j12 * v9, j11 * v6 + j12 * v10

        qw, qx, qy, qz = quats[i, 0], quats[i, 1], quats[i, 2], quats[i, 3]
        unit = _TWO / (qw * qw + qx * qx + qy * qy + qz * qz)
        ux, uy, uz = qx * unit, qy * unit, qz * unit
        xx, yy, zz, xy, xz, yz = qx * ux, qy * uy, qz * uz, qx * uy, qx * uz, qy * uz
        wx, wy, wz = qw * ux, qw * uy, qw * uz
        s0, s1, s2 = scales[i, 0], scales[i, 1], scales[i, 2]
        a0 = (t00 * (_ONE - yy - zz) + t01 * (xy + wz) + t02 * (xz - wy)) * s0
        a1 = (t00 * (xy - wz) + t01 * (_ONE - xx - zz) + t02 * (yz + wx)) * s1
        a2 = (t00 * (xz + wy) + t01 * (yz - wx) + t02 * (_ONE - xx - yy)) * s2
        b0 = (t10 * (_ONE - yy - zz) + t11 * (xy + wz) + t12 * (xz - wy)) * s0
        b1 = (t10 * (xy - wz) + t11 * (_ONE - xx - zz) + t12 * (yz + wx)) * s1
        b2 = (t10 * (xz + wy) + t11 * (yz - wx) + t12 * (_ONE - xx - yy)) * s2
        var_x = a0 * a0 + a1 * a1 + a2 * a2 + _LOW_PASS
        cov = a0 * b0 + a1 * b1 + a2 * b2
        var_y = b0 * b0 + b1 * b1 + b2 * b2 + _LOW_PASS

        inverse_det = _ONE / (var_x * var_y - cov * cov)
        peak = f4(math.log2(opacity))
        reach = (peak - LOG2_ALPHA_MIN) * (_TWO / LOG2_E)  # squared Mahalanobis distance of the rim
        reach_x, reach_y = f4(math.sqrt(reach * var_x)), f4(math.sqrt(reach * var_y))
        u, v = fx * x_z + cx, fy * y_z + cy
        x0 = first_pixel(u - reach_x)
        x1 = last_pixel(u + reach_x, width)
        y0 = first_pixel(v - reach_y)
        y1 = last_pixel(v + reach_y, height)
        if x1 < x0 or y1 < y0:
            boxes[i, 0] = boxes[i, 1] = boxes[i, 2] = boxes[i, 3] = 0
            continue
        boxes[i, 0], boxes[i, 1] = x0 // TILE_WIDTH, x1 // TILE_WIDTH + 1
        boxes[i, 2], boxes[i, 3] = y0 // TILE_HEIGHT, y1 // TILE_HEIGHT + 1

        records[i, 0], records[i, 1] = u, v
        conic_a = -_HALF * LOG2_E * var_y * inverse_det
        conic_b = LOG2_E * cov * inverse_det
        conic_c = -_HALF * LOG2_E * var_x * inverse_det
        row_tilt = -conic_b / (_TWO * conic_a)
        records[i, 2], records[i, 3], records[i, 4], records[i, 5] = conic_a, conic_b, conic_c, peak
        records[i, 9], records[i, 10] = reach_y, row_tilt
        records[i, 11], records[i, 12] = conic_c + conic_b * row_tilt * _HALF, -_ONE / conic_a
        records[i, 13], records[i, 14], records[i, 15] = cov * reach_x / var_x, z, reach_x
        red, green, blue = shade(sh, i, p0 - eye_x, p1 - eye_y, p2 - eye_z)
        records[i, 6], records[i, 7], records[i, 8] = red, green, blue


@kernel
def _ellipse_grads(records, i, m):  # type: ignore[no-untyped-def]
    """Return dL/d(x, y) of the center and dL/d(var_x, cov, var_y) (cov counted once)."""
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
def _color_grads(sh, i, direction, m, records, basis_grads, d_sh):  # type: ignore[no-untyped-def]
    """Write dL/dsh of Gaussian i; return dL/dmean through the viewing direction."""
    # A color clamped at 0 has no gradient.
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
        basis_grads[k - 1] = sh[i, k, 0] * red + sh[i, k, 1] * green + sh[i, k, 2] * blue
    gx, gy, gz = basis_grad(x, y, z, basis_grads)
    along = gx * x + gy * y + gz * z  # the length of the direction does not matter
    return (gx - x * along) * inverse, (gy - y * along) * inverse, (gz - z * along) * inverse


@kernel
def _quat_grad(splat, i, to_image, cov_grads, d_axes, splat_grads):  # type: ignore[no-untyped-def]
    """Write dL/dquat and dL/dscale of Gaussian i; return dL/d of the 2 x 3 matrix world -> image.

    d_axes [3, 3] is scratch, row k: dL/d axis k.
    """
    quat, scale = splat
    d_quats, d_scales = splat_grads
    t00, t01, t02, t10, t11, t12 = to_image
    c00, c01, c11 = cov_grads
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
def project_backward(first, last, splats, view, records, sums, splat_grads):  # type: ignore[no-untyped-def]
    """Write the gradients of Gaussians first..last.

    splats (means, quats, scales, opacities, sh), view (pose [12], intrinsics [4], (width, height)), sums
    [threads, N, 9 + C] of `backward_tiles`, gradients as splats, then extra [N, C], centers [N, 2].
    """
    means, quats, scales, opacities, sh = splats
    d_means, d_quats, d_scales, d_opacities, d_sh, d_extra, d_centers = splat_grads
    v, intrinsics, size = view
    fx, fy = intrinsics[0], intrinsics[1]
    eye_x = -(v[0] * v[3] + v[4] * v[7] + v[8] * v[11])
    eye_y = -(v[1] * v[3] + v[5] * v[7] + v[9] * v[11])
    eye_z = -(v[2] * v[3] + v[6] * v[7] + v[10] * v[11])
    low_x, high_x, low_y, high_y = jacobian_limits(intrinsics, size[0], size[1])
    m = np.empty(sums.shape[2], np.float32)
    basis_grads, d_axes = np.zeros(15, np.float32), np.empty((3, 3), np.float32)
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
        rendered = False  # what was not rendered has no record and no gradient
        for k in range(9):
            rendered |= m[k] != _ZERO
        if not rendered:
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
        x_clamped, y_clamped = min(max(x_z, low_x), high_x), min(max(y_z, low_y), high_y)
        j00, j11 = fx * inverse_z, fy * inverse_z
        j02, j12 = -j00 * x_clamped, -j11 * y_clamped
        to_image = (
            j00 * v[0] + j02 * v[8],
            j00 * v[1] + j02 * v[9],
            j00 * v[2] + j02 * v[10],
            j11 * v[4] + j12 * v[8],
            j11 * v[5] + j12 * v[9],
            j11 * v[6] + j12 * v[10],
        )
        du, dv, c00, c01, c11 = _ellipse_grads(records, i, m)
        d_centers[i, 0], d_centers[i, 1] = du, dv
        d_opacities[i] = m[0] / opacities[i]
        d00, d01, d02, d10, d11, d12 = _quat_grad(
            (quats, scales), i, to_image, (c00, c01, c11), d_axes, (d_quats, d_scales)
        )
        g00, g02 = d00 * v[0] + d01 * v[1] + d02 * v[2], d00 * v[8] + d01 * v[9] + d02 * v[10]
        g11, g12 = d10 * v[4] + d11 * v[5] + d12 * v[6], d10 * v[8] + d11 * v[9] + d12 * v[10]
        free_x = _ONE if x_clamped == x_z else _ZERO  # held at the limit of the view, j02 no longer follows x
        free_y = _ONE if y_clamped == y_z else _ZERO
        dx = j00 * du - free_x * j00 * inverse_z * g02
        dy = j11 * dv - free_y * j11 * inverse_z * g12
        dz = (
            -j00 * x_z * du
            - j11 * y_z * dv
            - inverse_z * (j00 * g00 + j11 * g11 + (_ONE + free_x) * j02 * g02 + (_ONE + free_y) * j12 * g12)
        )
        gx, gy, gz = _color_grads(sh, i, (p0 - eye_x, p1 - eye_y, p2 - eye_z), m, records, basis_grads, d_sh)
        d_means[i, 0] = v[0] * dx + v[4] * dy + v[8] * dz + gx
        d_means[i, 1] = v[1] * dx + v[5] * dy + v[9] * dz + gy
        d_means[i, 2] = v[2] * dx + v[6] * dy + v[10] * dz + gz
