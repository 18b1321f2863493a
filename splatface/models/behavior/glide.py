"""A value that is told where to go and takes its time, smoothly, however often it is told.

A minimum-jerk way (Flash & Hogan 1985) from the position, velocity and acceleration the value has when it is
told: a face tracker that names the target thirty times a second gets the same turn as one who names it once.
"""

from dataclasses import dataclass

import numpy as np

from splatface.models.typing import Float64Array

__all__ = ["QuinticTrajectory", "plan_to", "resting", "value_at"]


@dataclass(frozen=True, slots=True)
class QuinticTrajectory:
    """From one state of motion to rest at a target, each [n], per second."""

    begin_s: float
    length_s: float
    origin: Float64Array
    velocity: Float64Array
    acceleration: Float64Array
    target: Float64Array


def resting(value: Float64Array) -> QuinticTrajectory:
    """A value that stays."""
    still = np.zeros_like(value)
    return QuinticTrajectory(0.0, 1.0, value, still, still, value)


def value_at(glide: QuinticTrajectory, time_s: float) -> Float64Array:
    """Where the value is at a moment."""
    return _motion_at(glide, time_s)[0]


def plan_to(
    glide: QuinticTrajectory, target: Float64Array, time_s: float, length_s: float
) -> QuinticTrajectory:
    """From how the value moves at `time_s` to rest at a new target `length_s` later."""
    return QuinticTrajectory(time_s, length_s, *_motion_at(glide, time_s), target)


def _motion_at(glide: QuinticTrajectory, time_s: float) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Position, velocity and acceleration."""
    length = glide.length_s
    s = max((time_s - glide.begin_s) / length, 0.0)
    if s >= 1.0:
        still = np.zeros_like(glide.target)
        return glide.target, still, still
    # The quintic that starts as the value moves and ends at rest, over s in 0..1.
    way, v, a = glide.target - glide.origin, glide.velocity * length, glide.acceleration * length**2
    c3 = 10 * way - 6 * v - 1.5 * a
    c4 = -15 * way + 8 * v + 1.5 * a
    c5 = 6 * way - 3 * v - 0.5 * a
    position = glide.origin + s * (v + s * (a / 2 + s * (c3 + s * (c4 + s * c5))))
    velocity = v + s * (a + s * (3 * c3 + s * (4 * c4 + s * 5 * c5)))
    acceleration = a + s * (6 * c3 + s * (12 * c4 + s * 20 * c5))
    return position, velocity / length, acceleration / length**2
