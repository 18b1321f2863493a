# SPDX-License-Identifier: Apache-2.0
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
    """Poses of the two bones; the identity is the pose of the canonical Gaussians."""

    T_world_head: Float64Array  # [4, 4]
    T_world_torso: Float64Array  # [4, 4]


def bone_poses(control: HeadControl, info: HeadInfo) -> Bones:
    """Compute both bone poses (canonical axes) of a control (REP 103), limited to the poses of training.

    The head rotates about its pivot, then translates. The torso follows by a fraction of each angle and of
    the translation (`torso_follow`), so the neck stretches between them.
    """
    angles, translation = limit_pose(control, info.pose_limits)
    pivot = np.asarray(info.pivot_m)
    rotation_fraction, translation_fraction = info.torso_follow
    return Bones(
        T_world_head=_pose_about(pivot, angles, translation),
        T_world_torso=_pose_about(pivot, rotation_fraction * angles, translation_fraction * translation),
    )


def limit_pose(control: HeadControl, limits: PoseLimits) -> tuple[Float64Array, Float64Array]:
    """Return angles [3] (yaw, pitch, roll) and translation [3] of a control, each clamped to its limits.

    Angles are those of R = Rz(yaw) Ry(pitch) Rx(roll) in REP 103: clamping one leaves the others.
    A control that is not finite counts as neutral.
    """
    angles = np.nan_to_num(euler_from_quat(control.quat_world_head), nan=0.0, posinf=0.0, neginf=0.0)
    ranges = np.array([limits.yaw_rad, limits.pitch_rad, limits.roll_rad])
    angles = np.clip(angles, ranges[:, 0] - limits.margin_rad, ranges[:, 1] + limits.margin_rad)
    translation = np.nan_to_num(
        np.asarray(control.translation_m, np.float64), nan=0.0, posinf=0.0, neginf=0.0
    )
    return angles, np.clip(translation, -limits.translation_m, limits.translation_m)


def _pose_about(pivot: Float64Array, angles: Float64Array, translation: Float64Array) -> Float64Array:
    rotation = CANONICAL_REP103 @ matrix_from_quat(quat_from_euler(angles)) @ CANONICAL_REP103.T
    T = np.eye(4)
    T[:3, :3] = rotation
    T[:3, 3] = pivot - rotation @ pivot + CANONICAL_REP103 @ translation
    return T


_EXPRESSION_CONTROLS = ("brow_up", "brow_down", "smile", "jaw_side")  # of CONTROLS
# Names that a HeadControl's expression may have; nodes reject others and print this list.
EXPRESSIONS = tuple(sorted({*_EXPRESSION_CONTROLS, *MOUTH_MODES}))
_SOFT_MARGIN = 0.1  # of a mode's range: how far past its limits it may go


def control_values(control: HeadControl) -> Float32Array:
    """Return the values [8] of a control: 0..1 each, jaw_side -1..1, gaze in radians, all clamped.

    Values that are not finite count as 0. Expressions outside CONTROLS are ignored here.
    """
    values = dict.fromkeys(CONTROLS, 0.0)
    values["blink_left"] = control.blink_left
    values["blink_right"] = control.blink_right
    values["gaze_yaw"] = control.gaze_yaw_rad
    values["gaze_pitch"] = control.gaze_pitch_rad
    for name in _EXPRESSION_CONTROLS:
        values[name] = sum(weight for expression, weight in control.expression if expression == name)
    return np.array([_clamp(name, value) for name, value in values.items()], np.float32)


def basis_coefficients(head: Head, mouth_modes: Float32Array, control: HeadControl) -> Float32Array:
    """Compute coefficients [K] from the first n <= 8 mouth modes [n] and a control.

    Expressions named like a mouth mode are added to it ("open", "funnel"); "smile" is a control.
    Both are limited to the range of training.
    """
    mouth = np.zeros(len(MOUTH_MODES), np.float32)
    mouth[: len(mouth_modes)] = mouth_modes
    for name, weight in control.expression:
        if name in MOUTH_MODES and name not in CONTROLS:
            mouth[MOUTH_MODES.index(name)] += _clamp(name, weight)
    return head.motion_map(*soft_limit_motion(mouth, control_values(control), head.info.motion_limits))


def soft_limit_motion(
    mouth: Float32Array, controls: Float32Array, limits: MotionLimits
) -> tuple[Float32Array, Float32Array]:
    """Limit mouth modes [8] and controls [8] softly to the ranges of training.

    They end a tenth of the range past a limit, with a continuous derivative.
    """
    return _soft_limit(mouth, limits.mouth), _soft_limit(controls, limits.controls)


def _soft_limit(values: Float32Array, ranges: Sequence[tuple[float, float]]) -> Float32Array:
    low, high = np.array(ranges, np.float32).T
    margin = np.maximum(_SOFT_MARGIN * (high - low), np.float32(1e-6))
    inside = np.clip(values, low, high)
    limited: Float32Array = inside + margin * np.tanh((values - inside) / margin)
    return limited


def _clamp(name: str, value: float) -> float:
    if not math.isfinite(value):
        return 0.0
    low, high = CONTROL_RANGES.get(name, (0.0, 1.0))
    return min(max(value, low), high)
