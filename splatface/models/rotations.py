# SPDX-License-Identifier: Apache-2.0
"""Rotations: quaternions (wxyz), matrices, REP 103 angles, and the way from canonical axes to REP 103.

One pose at a time goes through transforms3d; arrays of poses in training go through scipy.
"""

import numpy as np
from numpy.typing import ArrayLike
from transforms3d.euler import euler2quat, quat2euler
from transforms3d.quaternions import mat2quat, quat2mat

from splatface.models.typing import AnyArray, Float64Array

__all__ = [
    "CANONICAL_REP103",
    "blend_quats",
    "euler_from_quat",
    "matrices_from_quats",
    "matrix_from_quat",
    "multiply_quats",
    "quat_from_euler",
    "quat_from_matrix",
    "quats_from_matrices",
    "rep103_angles",
    "slerp",
]

# Canonical axes are OpenCV's: the neutral face looks towards -z, so the head's left is the image's right.
CANONICAL_REP103: Float64Array = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0], [-1.0, 0.0, 0.0]])
_REP103_ORDER = "rzyx"  # R = Rz(yaw) Ry(pitch) Rx(roll)


def quat_from_euler(angles: ArrayLike) -> Float64Array:
    """Return the unit quaternion [4] wxyz of (yaw, pitch, roll) [3] rad, R = Rz(yaw) Ry(pitch) Rx(roll)."""
    yaw, pitch, roll = np.asarray(angles, np.float64).tolist()
    return np.asarray(euler2quat(yaw, pitch, roll, _REP103_ORDER), np.float64)


def euler_from_quat(quat: AnyArray) -> Float64Array:
    """Return (yaw, pitch, roll) [3] rad of a quaternion [4] wxyz of any length; zeros for a zero quaternion.

    A quaternion that is not finite gives zeros as well.
    """
    q = np.asarray(quat, np.float64)
    length = float(np.linalg.norm(q))
    if not np.isfinite(length) or length < 1e-12:
        return np.zeros(3)
    return np.asarray(quat2euler(q / length, _REP103_ORDER), np.float64)


def matrix_from_quat(quat: AnyArray) -> Float64Array:
    """Return the rotation matrix [3, 3] of a quaternion [4] wxyz of any length > 0."""
    return np.asarray(quat2mat(quat), np.float64)


def quat_from_matrix(rotation: AnyArray) -> Float64Array:
    """Return the unit quaternion [4] wxyz, w >= 0, of a rotation matrix [3, 3]; exact at half turns."""
    return np.asarray(mat2quat(np.asarray(rotation, np.float64)), np.float64)


def rep103_angles(rotation: AnyArray) -> Float64Array:
    """Return (yaw, pitch, roll) [3] rad in REP 103 of a rotation [3, 3] in canonical axes."""
    return euler_from_quat(quat_from_matrix(CANONICAL_REP103.T @ rotation @ CANONICAL_REP103))


def quats_from_matrices(rotations: AnyArray) -> Float64Array:
    """Return unit quaternions [N, 4] wxyz of rotation matrices [N, 3, 3]."""
    # Only training works on arrays of rotations: a kiosk does without scipy.
    from scipy.spatial.transform import Rotation

    xyzw: Float64Array = Rotation.from_matrix(rotations).as_quat()
    return np.ascontiguousarray(xyzw[:, [3, 0, 1, 2]])


def matrices_from_quats(quats: AnyArray) -> Float64Array:
    """Return rotation matrices [N, 3, 3] of quaternions [N, 4] wxyz of any length > 0."""
    from scipy.spatial.transform import Rotation

    matrices: Float64Array = Rotation.from_quat(np.asarray(quats, np.float64)[:, [1, 2, 3, 0]]).as_matrix()
    return matrices


def multiply_quats(a: AnyArray, b: AnyArray) -> AnyArray:
    """Return the Hamilton product a b of quaternions [..., 4] wxyz: rotate by b, then by a."""
    aw, ax, ay, az = np.moveaxis(a, -1, 0)
    bw, bx, by, bz = np.moveaxis(b, -1, 0)
    return np.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        axis=-1,
    )


def blend_quats(first: AnyArray, second: AnyArray, weight: AnyArray) -> AnyArray:
    """Return unit quaternions [N, 4] between `first` [4] and `second` [4], the shorter way.

    weight: [N, 1] of `second`.
    """
    if first @ second < 0:  # q and -q are one rotation; blended with unlike signs they would cancel
        second = -second
    blended = (1 - weight) * first + weight * second
    unit: AnyArray = blended / np.linalg.norm(blended, axis=-1, keepdims=True)
    return unit


def slerp(a: Float64Array, b: Float64Array, fraction: float) -> Float64Array:
    """Return the quaternion [4] wxyz at `fraction` (0..1) of the shorter arc between unit quaternions."""
    cosine = float(a @ b)
    if cosine < 0.0:
        b, cosine = -b, -cosine
    if cosine > 0.9995:  # the arc is as good as straight, and sin(angle) too small to divide by
        mixed = (1.0 - fraction) * a + fraction * b
    else:
        angle = np.arccos(min(cosine, 1.0))
        mixed = (np.sin((1.0 - fraction) * angle) * a + np.sin(fraction * angle) * b) / np.sin(angle)
    out: Float64Array = mixed / np.linalg.norm(mixed)
    return out
