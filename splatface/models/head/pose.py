"""From a HeadControl to the head's two bones: axes, limits, and a torso that follows."""

from dataclasses import dataclass

import numpy as np

from splatface.models.head.head import HeadInfo, PoseLimits
from splatface.models.messages import HeadControl
from splatface.models.typing import Float64Array

__all__ = [
    "Bones",
    "bone_poses",
    "euler_of_quat",
    "limit_pose",
    "quat_of_euler",
    "quat_of_matrix",
    "rotation_of_quat",
]


# the neutral face looks towards -z, so the head's left is the picture's right.
CANONICAL_REP103: Float64Array = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0], [-1.0, 0.0, 0.0]])


@dataclass(frozen=True, slots=True, eq=False)
class Bones:
    """Where the head and the torso stand; identity is the pose of the canonical Gaussians."""

    T_world_head: Float64Array  # [4, 4]
    T_world_torso: Float64Array  # [4, 4]


def bone_poses(control: HeadControl, info: HeadInfo) -> Bones:
    """Turn a control (REP 103) into the two bones (canonical axes), limited to what training saw.

    The head turns about its pivot, then shifts. The torso turns about the same pivot by a share of
    each angle and shifts by a share of the way (`torso_follow`), so the neck stretches between them.
    """
    angles, shift = limit_pose(control, info.pose_limits)
    pivot = np.asarray(info.pivot_m)
    turn, way = info.torso_follow
    return Bones(
        T_world_head=_about(pivot, angles, shift),
        T_world_torso=_about(pivot, turn * angles, way * shift),
    )


def limit_pose(control: HeadControl, limits: PoseLimits) -> tuple[Float64Array, Float64Array]:
    """Angles [3] (yaw, pitch, roll) and shift [3] of a control, each clamped to its limits.

    Angles are those of R = Rz(yaw) Ry(pitch) Rx(roll) in REP 103: clamping one leaves the others.
    Beyond a limit the pose stands still there; a control inside is not changed.
    A control that is not finite counts as neutral.
    """
    angles = np.nan_to_num(euler_of_quat(control.quat_world_head), nan=0.0, posinf=0.0, neginf=0.0)
    ranges = np.array([limits.yaw_rad, limits.pitch_rad, limits.roll_rad])
    angles = np.clip(angles, ranges[:, 0] - limits.margin_rad, ranges[:, 1] + limits.margin_rad)
    shift = np.nan_to_num(np.asarray(control.translation_m, np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    return angles, np.clip(shift, -limits.translation_m, limits.translation_m)


def _about(pivot: Float64Array, angles: Float64Array, shift: Float64Array) -> Float64Array:
    rotation = CANONICAL_REP103 @ rotation_of_quat(quat_of_euler(angles)) @ CANONICAL_REP103.T
    T = np.eye(4)
    T[:3, :3] = rotation
    T[:3, 3] = pivot - rotation @ pivot + CANONICAL_REP103 @ shift
    return T


def euler_of_quat(quat: Float64Array) -> Float64Array:
    """(yaw, pitch, roll) [3] of a quaternion wxyz of any length > 0; a zero quaternion is no turn."""
    q = np.asarray(quat, np.float64)
    length = float(np.linalg.norm(q))
    if not np.isfinite(length) or length < 1e-12:
        return np.zeros(3)
    w, x, y, z = (q / length).tolist()
    yaw = np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
    pitch = np.arcsin(np.clip(2 * (w * y - z * x), -1.0, 1.0))
    roll = np.arctan2(2 * (w * x + y * z), 1 - 2 * (x * x + y * y))
    return np.array([yaw, pitch, roll])


def quat_of_euler(angles: Float64Array) -> Float64Array:
    """Unit quaternion wxyz [4] of (yaw, pitch, roll) [3], R = Rz(yaw) Ry(pitch) Rx(roll)."""
    (cz, cy, cx), (sz, sy, sx) = np.cos(angles / 2).tolist(), np.sin(angles / 2).tolist()
    return np.array(
        [
            cx * cy * cz + sx * sy * sz,
            sx * cy * cz - cx * sy * sz,
            cx * sy * cz + sx * cy * sz,
            cx * cy * sz - sx * sy * cz,
        ]
    )


def rotation_of_quat(quat: Float64Array) -> Float64Array:
    """Rotation matrix [3, 3] of a unit quaternion wxyz [4]."""
    w, x, y, z = quat.tolist()
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def quat_of_matrix(rotation: Float64Array) -> Float64Array:
    """Unit quaternion wxyz [4] with w >= 0 of a rotation matrix [3, 3].

    The eigenvector of Bar-Itzhack's symmetric matrix (2000): no case distinction, exact at half turns.
    """
    r = rotation
    k = np.array(
        [
            [r[0, 0] + r[1, 1] + r[2, 2], r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]],
            [0.0, r[0, 0] - r[1, 1] - r[2, 2], r[0, 1] + r[1, 0], r[0, 2] + r[2, 0]],
            [0.0, 0.0, r[1, 1] - r[0, 0] - r[2, 2], r[1, 2] + r[2, 1]],
            [0.0, 0.0, 0.0, r[2, 2] - r[0, 0] - r[1, 1]],
        ]
    )
    quat: Float64Array = np.linalg.eigh(k, UPLO="U")[1][:, -1]
    return quat if quat[0] >= 0 else -quat
