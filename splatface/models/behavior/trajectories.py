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
    "minimum_jerk_step",
    "plan_to",
    "resting",
    "value_at",
]

BLOCK_S = 60.0

E = TypeVar("E")


class SeededEventStream(Generic[E]):
    """`draw(generator)` gives one block's events as (seconds from the block's start, event), in order."""

    def __init__(self, seed: int, draw: Callable[[np.random.Generator], list[tuple[float, E]]]) -> None:
        self._seed = seed
        self._draw = draw
        self._block = lru_cache(maxsize=8)(self._make_block)

    def between(self, begin_s: float, end_s: float) -> list[tuple[float, E]]:
        """Events from `begin_s` to `end_s`, with their absolute times."""
        blocks = range(int(begin_s // BLOCK_S), int(end_s // BLOCK_S) + 1)
        return [(at, event) for block in blocks for at, event in self._block(block) if begin_s <= at <= end_s]

    def _make_block(self, block: int) -> list[tuple[float, E]]:
        generator = np.random.default_rng([self._seed, block % 2**32])
        return [(block * BLOCK_S + at, event) for at, event in self._draw(generator)]


def minimum_jerk_step(x: float) -> float:
    """0 to 1 without velocity or acceleration at either end: minimum jerk (Flash & Hogan 1985)."""
    x = min(max(x, 0.0), 1.0)
    return x * x * x * (10.0 + x * (6.0 * x - 15.0))


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


KEPT = 32


class ActivityIntervals:
    """Stretches of time; what is told changes nothing before the moment at which it is told."""

    def __init__(self) -> None:
        self.all: deque[tuple[float, float]] = deque(maxlen=KEPT)  # (begin, end) in s, in order

    def last_until(self, now_s: float, until_s: float) -> bool:
        """It goes on at `now_s` and will until `until_s` unless told otherwise; True when it begins."""
        if self.all and now_s <= self.all[-1][1]:
            begin_s, end_s = self.all[-1]
            self.all[-1] = (begin_s, max(end_s, until_s))
            return False
        self.all.append((now_s, max(until_s, now_s)))
        return True

    def end(self, at_s: float) -> None:
        """It ends at `at_s`, if that is sooner than it would."""
        if self.all and at_s < self.all[-1][1]:
            self.all[-1] = (self.all[-1][0], max(at_s, self.all[-1][0]))

    def level_at(self, time_s: float, ramp_s: float) -> float:
        """1 while it goes on, else 0, without a jolt: each change takes `ramp_s` from when it happens."""
        return sum(level for _, level in self.levels_at(time_s, ramp_s))

    def levels_at(self, time_s: float, ramp_s: float) -> list[tuple[float, float]]:
        """Each stretch that shows at a moment, (its begin, how much); together at most 1."""
        # A rise that begins before the last fall is over lags behind that fall: the sum is at most 1.
        return [
            (begin, minimum_jerk_step((time_s - begin) / ramp_s) - minimum_jerk_step((time_s - end) / ramp_s))
            for begin, end in self.all
            if begin < time_s < end + ramp_s
        ]
