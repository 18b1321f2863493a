"""What the face does besides speaking: controls and expressions to coefficients."""

import math

import numpy as np
from numpy.typing import NDArray

from splatface.models.head.coefficients import CONTROLS, MOUTH_MODES
from splatface.models.head.head import Head, MouthLimits
from splatface.models.values import HeadControl

__all__ = ["EXPRESSIONS", "MAX_GAZE_RAD", "coefficients_of", "controls_of", "limit_mouth"]

Array = NDArray[np.float32]

# Names a HeadControl's expression may carry; a door (a node) refuses others with this list.
EXPRESSIONS = tuple(sorted({"brow_up", "brow_down", "smile", *MOUTH_MODES}))
# Eyes turn about 35 degrees before the head helps.
MAX_GAZE_RAD = 0.6
_BEYOND = 0.1  # of a mode's range: how far past its limits it may go


def controls_of(control: HeadControl) -> Array:
    """The values [len(CONTROLS)] of a control: 0..1 each, gaze in radians, all clamped.

    What is not finite counts as 0. Expressions outside CONTROLS move nothing here.
    """
    values = dict.fromkeys(CONTROLS, 0.0)
    values["blink_left"] = control.blink_left
    values["blink_right"] = control.blink_right
    values["gaze_yaw"] = control.gaze_yaw_rad
    values["gaze_pitch"] = control.gaze_pitch_rad
    for name in ("brow_up", "brow_down", "smile"):
        values[name] = sum(weight for found, weight in control.expression if found == name)
    return np.array([_clamp(name, value) for name, value in values.items()], np.float32)


def coefficients_of(head: Head, heard: Array, control: HeadControl) -> Array:
    """c [K] of the first mouth modes that were heard [n <= 8] and a control.

    Expressions named like a mouth mode are added to it ("open", "funnel"); "smile" is a control.
    The mouth keeps to what the head saw in training.
    """
    mouth = np.zeros(len(MOUTH_MODES), np.float32)
    mouth[: len(heard)] = heard
    for name, weight in control.expression:
        if name in MOUTH_MODES and name not in CONTROLS:
            mouth[MOUTH_MODES.index(name)] += _clamp(name, weight)
    return head.motion_map(limit_mouth(mouth, head.info.mouth_limits), controls_of(control))


def limit_mouth(mouth: Array, limits: MouthLimits) -> Array:
    """Mouth modes [8] as far as the person showed them: within the limits as they are, beyond ever slower.

    They end a tenth of the range past a limit, without a jolt on the way.
    """
    low, high = np.asarray(limits.low, np.float32), np.asarray(limits.high, np.float32)
    give = np.maximum(_BEYOND * (high - low), np.float32(1e-6))
    inside = np.clip(mouth, low, high)
    limited: Array = inside + give * np.tanh((mouth - inside) / give)
    return limited


def _clamp(name: str, value: float) -> float:
    if not math.isfinite(value):
        return 0.0
    low, high = (-MAX_GAZE_RAD, MAX_GAZE_RAD) if name.startswith("gaze") else (0.0, 1.0)
    return min(max(value, low), high)
