"""From a HeadControl and mouth modes to basis coefficients and bone poses."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from splatface.models.audio2motion.audio_to_mouth import CONTROL_RANGES, CONTROLS, MOUTH_MODES
from splatface.models.head.head import Head, HeadInfo, MotionLimits, PoseLimits
from splatface.models.messages import HeadControl
from splatface.models.rotations import CANONICAL_REP103, euler_from_quat, matrix_from_quat, quat_from_euler
from splatface.models.typing import Float32Array, Float64Array

__all__ = [
    "EXPRESSIONS",
    "Bones",
    "basis_coefficients",
    "bone_poses",
    "control_values",
    "limit_pose",
    "soft_limit_motion",
]


@dataclass(frozen=True, slots=True, eq=False)
class Bones:
    """Where the head and the torso stand; identity is the pose of the canonical Gaussians."""

    T_world_head: Float64Array  # [4, 4]
    T_world_torso: Float64Array  # [4, 4]


def bone_poses(control: HeadControl, info: HeadInfo) -> Bones:
    """Turn a control (REP 103) into the two bones (canonical axes), limited to what training saw.

    The head turns about its pivot, then shifts. The torso turns about the same pivot by a fraction of
    each angle and shifts by a fraction of the way (`torso_follow`), so the neck stretches between them.
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


_SHOWN = ("brow_up", "brow_down", "smile", "jaw_side")  # of CONTROLS
# Names a HeadControl's expression may carry; a door (a node) refuses others with this list.
EXPRESSIONS = tuple(sorted({*_SHOWN, *MOUTH_MODES}))
_BEYOND = 0.1  # of a mode's range: how far past its limits it may go


def control_values(control: HeadControl) -> Float32Array:
    """The values [8] of a control: 0..1 each, jaw_side -1..1, gaze in radians, all clamped.

    What is not finite counts as 0. Expressions outside CONTROLS move nothing here.
    """
    values = dict.fromkeys(CONTROLS, 0.0)
    values["blink_left"] = control.blink_left
    values["blink_right"] = control.blink_right
    values["gaze_yaw"] = control.gaze_yaw_rad
    values["gaze_pitch"] = control.gaze_pitch_rad
    for name in _SHOWN:
        values[name] = sum(weight for found, weight in control.expression if found == name)
    return np.array([_clamp(name, value) for name, value in values.items()], np.float32)


def basis_coefficients(head: Head, heard: Float32Array, control: HeadControl) -> Float32Array:
    """c [K] of the first mouth modes that were heard [n <= 8] and a control.

    Expressions named like a mouth mode are added to it ("open", "funnel"); "smile" is a control.
    Both keep to what the head saw in training.
    """
    mouth = np.zeros(len(MOUTH_MODES), np.float32)
    mouth[: len(heard)] = heard
    for name, weight in control.expression:
        if name in MOUTH_MODES and name not in CONTROLS:
            mouth[MOUTH_MODES.index(name)] += _clamp(name, weight)
    return head.motion_map(*soft_limit_motion(mouth, control_values(control), head.info.motion_limits))


def soft_limit_motion(
    mouth: Float32Array, controls: Float32Array, limits: MotionLimits
) -> tuple[Float32Array, Float32Array]:
    """Mouth modes [8] and controls [8] as far as the person showed them: beyond the limits ever slower.

    They end a tenth of the range past a limit, without a jolt on the way.
    """
    return _limited(mouth, limits.mouth), _limited(controls, limits.controls)


def _limited(values: Float32Array, ranges: Sequence[tuple[float, float]]) -> Float32Array:
    low, high = np.array(ranges, np.float32).T
    give = np.maximum(_BEYOND * (high - low), np.float32(1e-6))
    inside = np.clip(values, low, high)
    limited: Float32Array = inside + give * np.tanh((values - inside) / give)
    return limited


def _clamp(name: str, value: float) -> float:
    if not math.isfinite(value):
        return 0.0
    low, high = CONTROL_RANGES.get(name, (0.0, 1.0))
    return min(max(value, low), high)
