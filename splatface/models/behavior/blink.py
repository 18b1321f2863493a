"""Spontaneous blinks with human timing.

Gaps are log-normal; about 17 a minute at rest and 26 in conversation (Bentivoglio et al. 1997). A blink lasts
100 to 400 ms, its closing about twice as fast as its opening (VanderWerf et al. 2003).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from splatface.models.behavior.events import BLOCK_S, SeededEventStream, minimum_jerk_step

__all__ = ["LONGEST_S", "Blink", "blink_line", "blink_of", "closed_by", "lids_at"]

# Spread of the logarithm of the gaps.
SIGMA = 0.55
DOUBLE = 0.08  # share of blinks with a second one right behind
LONGEST_S = 0.4


@dataclass(frozen=True, slots=True)
class Blink:
    """One blink of both lids."""

    closing_s: float
    closed_s: float
    opening_s: float
    depth_left: float  # 0..1, how far the lid comes down
    depth_right: float
    lag_right_s: float  # the right lid follows the left one


def blink_line(seed: int, per_minute: float) -> SeededEventStream[Blink]:
    """The blinks of a person; `per_minute` 0 keeps the eyes open."""

    def draw(random: np.random.Generator) -> list[tuple[float, Blink]]:
        if per_minute <= 0.0:
            return []
        # The mean of a log-normal is exp(mu + sigma^2 / 2).
        mu = np.log(60.0 / per_minute) - SIGMA**2 / 2
        blinks = []
        at = random.uniform(0.0, 60.0 / per_minute)
        while at < BLOCK_S - LONGEST_S:
            blinks.append((at, blink_of(random)))
            if random.random() < DOUBLE:
                blinks.append((at + random.uniform(0.42, 0.6), blink_of(random)))
            at += max(float(random.lognormal(mu, SIGMA)), 0.7)
        return blinks

    return SeededEventStream(seed, draw)


def blink_of(random: np.random.Generator) -> Blink:
    """Any one blink."""
    length = float(np.clip(random.lognormal(np.log(0.2), 0.25), 0.11, 0.39))
    depth = random.uniform(0.94, 1.0)
    return Blink(
        closing_s=0.32 * length,
        closed_s=0.10 * length,
        opening_s=0.58 * length,
        depth_left=depth,
        depth_right=min(1.0, depth * random.uniform(0.97, 1.03)),
        lag_right_s=random.uniform(0.0, 0.008),
    )


def _closure(blink: Blink, since_s: float) -> float:
    if since_s < blink.closing_s:
        return minimum_jerk_step(since_s / blink.closing_s)
    return 1.0 - minimum_jerk_step((since_s - blink.closing_s - blink.closed_s) / blink.opening_s)


def closed_by(blinks: Iterable[tuple[float, Blink]], time_s: float) -> tuple[float, float]:
    """How far blinks, each with the time it begins, close the left and the right lid, 0..1."""
    left = right = 0.0
    for at, blink in blinks:
        left = max(left, blink.depth_left * _closure(blink, time_s - at))
        right = max(right, blink.depth_right * _closure(blink, time_s - at - blink.lag_right_s))
    return left, right


def lids_at(line: SeededEventStream[Blink], time_s: float) -> tuple[float, float]:
    """How far the left and the right lid are closed, 0..1."""
    return closed_by(line.between(time_s - 2 * LONGEST_S, time_s), time_s)
