"""What the face does besides speaking: controls and expressions to coefficients."""

import math

import numpy as np
from numpy.typing import NDArray

from splatface.models.head.coefficients import CONTROLS, MOUTH_MODES
from splatface.models.head.head import Head
from splatface.models.values import HeadControl

__all__ = ["EXPRESSIONS", "MAX_GAZE_RAD", "coefficients_of", "controls_of"]

Array = NDArray[np.float32]

# Names a HeadControl's expression may carry; a door (a node) refuses others with this list.
EXPRESSIONS = tuple(sorted({"brow_up", "brow_down", "smile", *MOUTH_MODES}))
# Eyes turn about 35 degrees before the head helps.
MAX_GAZE_RAD = 0.6


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
    """
    mouth = np.zeros(len(MOUTH_MODES), np.float32)
    mouth[: len(heard)] = heard
    for name, weight in control.expression:
        if name in MOUTH_MODES and name not in CONTROLS:
            mouth[MOUTH_MODES.index(name)] += _clamp(name, weight)
    return head.motion_map(mouth, controls_of(control))


def _clamp(name: str, value: float) -> float:
    if not math.isfinite(value):
        return 0.0
    low, high = (-MAX_GAZE_RAD, MAX_GAZE_RAD) if name.startswith("gaze") else (0.0, 1.0)
    return min(max(value, low), high)
