"""From Gaussians in the world to ellipses in the picture (EWA splatting, Zwicker et al. 2001).

A record is 16 float32, one cache line; the ellipse is where alpha = 2^(A dx^2 + B dx dy + C dy^2 + P)
is visible.
"""

import math

import numpy as np

from splatface.models.render.conventions import ALPHA_MIN, FRUSTUM_MARGIN, LOW_PASS_PX2, NEAR_M
from splatface.models.render.harmonics import shade
from splatface.models.render.jit import kernel
from splatface.models.render.tiles import TILE_HEIGHT, TILE_WIDTH

__all__ = ["LOG2_ALPHA_MIN", "LOG2_E", "RECORD", "first_pixel", "jacobian_limits", "last_pixel", "project"]

RECORD = 16
# Places in a record: 0 x, 1 y (px), 2 A, 3 B, 4 C, 5 P = log2(opacity), 6-8 color, 9 reach in y (px),
# 10 and 11 dx/dy of the middle of a row and C along it, 12 -1/A, 13 dy where it is widest, 14 depth (m),
# 15 reach in x (px).

f4 = np.float32
LOG2_E = f4(1.4426950408889634)
LOG2_ALPHA_MIN = f4(math.log2(ALPHA_MIN))
_LOW_PASS, _NEAR, _MARGIN = f4(LOW_PASS_PX2), f4(NEAR_M), f4(FRUSTUM_MARGIN)
_ZERO, _HALF, _ONE, _TWO = f4(0), f4(0.5), f4(1), f4(2)
_ALMOST_HALF = f4(0.4999)


@kernel
def jacobian_limits(lens, width, height):  # type: ignore[no-untyped-def]
    """Smallest and largest X/Z and Y/Z at which the projection's Jacobian is taken (as gsplat)."""
    fx, fy, cx, cy = lens[0], lens[1], lens[2], lens[3]
    slack_x, slack_y = _MARGIN * f4(width) * _HALF / fx, _MARGIN * f4(height) * _HALF / fy
    return (
        -cx / fx - slack_x,
        (f4(width) - cx) / fx + slack_x,
        -cy / fy - slack_y,
        (f4(height) - cy) / fy + slack_y,
    )


@kernel
def first_pixel(left):  # type: ignore[no-untyped-def]
    """First pixel >= 0 whose center is not left of `left`, or one too early (ceil would be a call).

    Clamped as integers: whatever a NaN or an infinity became, the result lies in the picture.
    """
    return max(np.int32(left + _ALMOST_HALF), np.int32(0))


@kernel
def last_pixel(right, count):  # type: ignore[no-untyped-def]
    """Last pixel < count whose center is not right of `right`, or one too late; far outside below 0."""
    return min(np.int32(right - _HALF), np.int32(count - 1))


@kernel
def project(first, last, splats, view, records, boxes):  # type: ignore[no-untyped-def]
    """Write records [N, 16] and boxes [N, 4] (tiles x0, x1, y0, y1; x1 = x0 when unseen) of first..last.

    splats (means, quats, scales, opacities, sh), view (T_camera_world's upper three rows [12], lens
    (fx, fy, cx, cy), (width, height)).
    """
    means, quats, scales, opacities, sh = splats
    pose, lens, size = view
    width, height = size
    fx, fy, cx, cy = lens[0], lens[1], lens[2], lens[3]
    v0, v1, v2, v3, v4, v5 = pose[0], pose[1], pose[2], pose[3], pose[4], pose[5]
    v6, v7, v8, v9, v10, v11 = pose[6], pose[7], pose[8], pose[9], pose[10], pose[11]
    eye_x = -(v0 * v3 + v4 * v7 + v8 * v11)
    eye_y = -(v1 * v3 + v5 * v7 + v9 * v11)
    eye_z = -(v2 * v3 + v6 * v7 + v10 * v11)
    low_x, high_x, low_y, high_y = jacobian_limits(lens, width, height)
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
        lean = -conic_b / (_TWO * conic_a)
        records[i, 2], records[i, 3], records[i, 4], records[i, 5] = conic_a, conic_b, conic_c, peak
        records[i, 9], records[i, 10] = reach_y, lean
        records[i, 11], records[i, 12] = conic_c + conic_b * lean * _HALF, -_ONE / conic_a
        records[i, 13], records[i, 14], records[i, 15] = cov * reach_x / var_x, z, reach_x
        red, green, blue = shade(sh, i, p0 - eye_x, p1 - eye_y, p2 - eye_z)
        records[i, 6], records[i, 7], records[i, 8] = red, green, blue
