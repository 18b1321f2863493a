"""What the face does besides speaking: controls and expressions to coefficients."""

import math
from collections.abc import Sequence

import numpy as np

from splatface.models.audio2motion.audio_to_mouth import CONTROL_RANGES, CONTROLS, MOUTH_MODES
from splatface.models.head.head import Head, MotionLimits
from splatface.models.messages import HeadControl
from splatface.models.typing import Float32Array

__all__ = ["EXPRESSIONS", "basis_coefficients", "controls_of", "soft_limit_motion"]


_SHOWN = ("brow_up", "brow_down", "smile", "jaw_side")  # of CONTROLS
# Names a HeadControl's expression may carry; a door (a node) refuses others with this list.
EXPRESSIONS = tuple(sorted({*_SHOWN, *MOUTH_MODES}))
_BEYOND = 0.1  # of a mode's range: how far past its limits it may go


def controls_of(control: HeadControl) -> Float32Array:
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
    return head.motion_map(*soft_limit_motion(mouth, controls_of(control), head.info.motion_limits))


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
