"""A value that is told where to go and takes its time, smoothly."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from splatface.models.motion.events import smooth_step

__all__ = ["Glide", "glide_to", "resting", "value_at"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Glide:
    """From one value to another, [n]."""

    begin_s: float
    length_s: float
    origin: Array
    target: Array


def resting(value: Array) -> Glide:
    """A value that stays."""
    return Glide(0.0, 1.0, value, value)


def value_at(glide: Glide, time_s: float) -> Array:
    """Where the value is at a moment."""
    done = smooth_step((time_s - glide.begin_s) / glide.length_s)
    out: Array = glide.origin + done * (glide.target - glide.origin)
    return out


def glide_to(glide: Glide, target: Array, time_s: float, length_s: float) -> Glide:
    """From where the value is at `time_s` to a new target."""
    return Glide(time_s, length_s, value_at(glide, time_s), target)
