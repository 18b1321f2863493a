# SPDX-License-Identifier: Apache-2.0
"""Motion over time: seeded random events, minimum-jerk trajectories, activity intervals."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, TypeVar

import numpy as np

from splatface.models.typing import Float64Array

__all__ = [
    "BLOCK_S",
    "ActivityIntervals",
    "QuinticTrajectory",
    "SeededEventStream",
    "constant_trajectory",
    "minimum_jerk_step",
    "plan_to",
    "value_at",
]

BLOCK_S = 60.0
_MAX_INTERVALS = 32

E = TypeVar("E")


class SeededEventStream(Generic[E]):
    """Random events that can be queried for any time, in any order, with the same result.

    Time is cut into blocks of a minute; each block draws its events from its own generator. So motion depends
    on the seed and the time alone, not on when or how often it is queried.

    Args:
        seed: of the generators.
        draw: `draw(generator)` returns one block's events as (seconds from the block's start, event), in
        order.
    """

    def __init__(self, seed: int, draw: Callable[[np.random.Generator], list[tuple[float, E]]]) -> None:
        self._seed = seed
        self._draw = draw
        self._block = lru_cache(maxsize=8)(self._make_block)

    def between(self, begin_s: float, end_s: float) -> list[tuple[float, E]]:
        """Return the events from `begin_s` to `end_s`, with their absolute times."""
        blocks = range(int(begin_s // BLOCK_S), int(end_s // BLOCK_S) + 1)
        events = (event for block in blocks for event in self._block(block))
        return [(time_s, event) for time_s, event in events if begin_s <= time_s <= end_s]

    def _make_block(self, block: int) -> list[tuple[float, E]]:
        generator = np.random.default_rng([self._seed, block % 2**32])
        return [(block * BLOCK_S + offset_s, event) for offset_s, event in self._draw(generator)]


def minimum_jerk_step(x: float) -> float:
    """Return the minimum-jerk step from 0 to 1 over x in 0..1, constant outside (Flash & Hogan 1985)."""
    x = min(max(x, 0.0), 1.0)
    return x * x * x * (10.0 + x * (6.0 * x - 15.0))


@dataclass(frozen=True, slots=True)
class QuinticTrajectory:
    """Minimum-jerk trajectory (Flash & Hogan 1985) from any state of motion to rest at a target.

    Replanning continues position, velocity and acceleration: a face tracker that sends the target thirty
    times a second causes the same motion as one that sends it once. All vectors are [n], rates per second.
    """

    begin_s: float
    duration_s: float
    origin: Float64Array
    velocity: Float64Array
    acceleration: Float64Array
    target: Float64Array


def constant_trajectory(value: Float64Array) -> QuinticTrajectory:
    """Return a trajectory that rests at a value."""
    zero = np.zeros_like(value)
    return QuinticTrajectory(0.0, 1.0, value, zero, zero, value)


def value_at(trajectory: QuinticTrajectory, time_s: float) -> Float64Array:
    """Return the position of a trajectory."""
    return _state_at(trajectory, time_s)[0]


def plan_to(
    trajectory: QuinticTrajectory, target: Float64Array, time_s: float, duration_s: float
) -> QuinticTrajectory:
    """Return a trajectory from the state at `time_s` to rest at a new target `duration_s` later."""
    return QuinticTrajectory(time_s, duration_s, *_state_at(trajectory, time_s), target)


def _state_at(
    trajectory: QuinticTrajectory, time_s: float
) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Return position, velocity and acceleration."""
    duration = trajectory.duration_s
    s = max((time_s - trajectory.begin_s) / duration, 0.0)
    if s >= 1.0:
        zero = np.zeros_like(trajectory.target)
        return trajectory.target, zero, zero
    # The quintic with the initial state and the final state at rest, over s in 0..1.
    distance = trajectory.target - trajectory.origin
    v, a = trajectory.velocity * duration, trajectory.acceleration * duration**2
    c3 = 10 * distance - 6 * v - 1.5 * a
    c4 = -15 * distance + 8 * v + 1.5 * a
    c5 = 6 * distance - 3 * v - 0.5 * a
    position = trajectory.origin + s * (v + s * (a / 2 + s * (c3 + s * (c4 + s * c5))))
    velocity = v + s * (a + s * (3 * c3 + s * (4 * c4 + s * 5 * c5)))
    acceleration = a + s * (6 * c3 + s * (12 * c4 + s * 20 * c5))
    return position, velocity / duration, acceleration / duration**2


class ActivityIntervals:
    """Intervals of an activity, such as speech; an update changes nothing before its own time."""

    def __init__(self) -> None:
        self.intervals: deque[tuple[float, float]] = deque(maxlen=_MAX_INTERVALS)  # (begin, end) in s

    def extend(self, now_s: float, until_s: float) -> bool:
        """Mark the activity as on from `now_s` until `until_s`; return True when it begins."""
        if self.intervals and now_s <= self.intervals[-1][1]:
            begin_s, end_s = self.intervals[-1]
            self.intervals[-1] = (begin_s, max(end_s, until_s))
            return False
        self.intervals.append((now_s, max(until_s, now_s)))
        return True

    def end(self, time_s: float) -> None:
        """End the activity at `time_s`, if that is earlier than it would."""
        if self.intervals and time_s < self.intervals[-1][1]:
            self.intervals[-1] = (self.intervals[-1][0], max(time_s, self.intervals[-1][0]))

    def level_at(self, time_s: float, ramp_s: float) -> float:
        """Return 1 while the activity is on, else 0, with smooth changes of duration `ramp_s`."""
        return sum(level for _, level in self.levels_at(time_s, ramp_s))

    def levels_at(self, time_s: float, ramp_s: float) -> list[tuple[float, float]]:
        """Return (begin, level) of each interval with an effect at a time; the sum is at most 1."""
        # A rise that begins before the last fall is over lags behind that fall: so the sum is at most 1.
        return [
            (begin, minimum_jerk_step((time_s - begin) / ramp_s) - minimum_jerk_step((time_s - end) / ramp_s))
            for begin, end in self.intervals
            if begin < time_s < end + ramp_s
        ]
