"""From a HeadControl to the head's two bones: axes, limits, and a torso that follows."""

from dataclasses import dataclass

import numpy as np

from splatface.models.head.head import HeadInfo, PoseLimits
from splatface.models.messages import HeadControl
from splatface.models.rotations import CANONICAL_REP103, euler_from_quat, matrix_from_quat, quat_from_euler
from splatface.models.typing import Float64Array

__all__ = ["Bones", "bone_poses", "limit_pose"]


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
    angles = np.nan_to_num(euler_from_quat(control.quat_world_head), nan=0.0, posinf=0.0, neginf=0.0)
    ranges = np.array([limits.yaw_rad, limits.pitch_rad, limits.roll_rad])
    angles = np.clip(angles, ranges[:, 0] - limits.margin_rad, ranges[:, 1] + limits.margin_rad)
    shift = np.nan_to_num(np.asarray(control.translation_m, np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    return angles, np.clip(shift, -limits.translation_m, limits.translation_m)


def _about(pivot: Float64Array, angles: Float64Array, shift: Float64Array) -> Float64Array:
    rotation = CANONICAL_REP103 @ matrix_from_quat(quat_from_euler(angles)) @ CANONICAL_REP103.T
    T = np.eye(4)
    T[:3, :3] = rotation
    T[:3, 3] = pivot - rotation @ pivot + CANONICAL_REP103 @ shift
    return T
