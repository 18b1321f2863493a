"""Eyes: gaze of fixations and saccades, blinks with human timing, blinks on request."""

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from splatface.models.behavior.trajectories import BLOCK_S, SeededEventStream, minimum_jerk_step
from splatface.models.messages import NS_PER_S

__all__ = [
    "LONGEST_S",
    "Blink",
    "BlinkScheduler",
    "Direction",
    "blink_line",
    "blink_of",
    "closed_by",
    "gaze_line",
    "glance_at",
    "held_glance_at",
    "lids_at",
    "long_blink",
    "saccade_s",
]

Direction = tuple[float, float]  # yaw (rad, to the left), pitch (rad, down)

ON_VIEWER = 0.72  # share of fixations
HISTORY_S = 12.0  # longer than any fixation
# From eye to eye and mouth of somebody a meter away: within this one still looks at the face.
ON_FACE_RAD = math.radians(1.6)
# Beyond this the white of the eye shows and one seems to look at something else.
FARTHEST_RAD = math.radians(14.0)


def saccade_s(angle_rad: float) -> float:
    """How long the eyes take for a turn."""
    return 0.021 + 0.0022 * math.degrees(abs(angle_rad))


def gaze_line(seed: int, wander: float) -> SeededEventStream[Direction]:
    """Where a person looks, relative to the viewer; `wander` 0 stares, 1 is a person in conversation."""

    def draw(random: np.random.Generator) -> list[tuple[float, Direction]]:
        fixations: list[tuple[float, Direction]] = []
        at, away = 0.0, False
        while at < BLOCK_S:
            # Never away twice in a row: the viewer is who the face is for.
            away = not away and random.random() > ON_VIEWER
            spread = np.radians([9.0, 5.0] if away else [0.9, 0.6]) * wander
            yaw, pitch = random.normal(0.0, spread)
            fixations.append((at, (float(yaw), float(pitch))))
            at += float(np.clip(random.lognormal(np.log(0.6 if away else 1.7), 0.45), 0.2, 8.0))
        return fixations

    return SeededEventStream(seed, draw)


def glance_at(line: SeededEventStream[Direction], time_s: float) -> Direction:
    """The direction of the eyes at a moment, relative to what the person attends to."""
    return _between(line, time_s, lambda direction: direction)


def held_glance_at(line: SeededEventStream[Direction], time_s: float, hold: float) -> Direction:
    """The same of one who faces somebody, and never looks far away.

    At `hold` 1 no glance leaves the other's face, at 0 all are free.
    """
    return _between(line, time_s, lambda direction: _held(direction, hold))


def _between(
    line: SeededEventStream[Direction], time_s: float, seen: Callable[[Direction], Direction]
) -> Direction:
    fixations = line.between(time_s - HISTORY_S, time_s)
    index = bisect_right([at for at, _ in fixations], time_s) - 1
    begun, here = fixations[index][0], seen(fixations[index][1])
    before = seen(fixations[index - 1][1]) if index > 0 else here
    turn = math.hypot(here[0] - before[0], here[1] - before[1])
    done = minimum_jerk_step((time_s - begun) / saccade_s(turn))
    return before[0] + done * (here[0] - before[0]), before[1] + done * (here[1] - before[1])


def _held(direction: Direction, hold: float) -> Direction:
    angle = math.hypot(*direction)
    if angle <= ON_FACE_RAD:
        return direction
    seen = FARTHEST_RAD * math.tanh(angle / FARTHEST_RAD)
    share = (seen - hold * (seen - ON_FACE_RAD)) / angle
    return share * direction[0], share * direction[1]


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


APART_S = 0.8  # between a blink that is called and any other one
RECENT_S = 12.0
REPLACES_S = 1.6  # times the mean gap: the next blink within this is the one that is replaced
KEPT = 32


class BlinkScheduler:
    """Blinks; `kept_at(time_s)` says which share (0..1) of those in their own rhythm is done at a moment."""

    def __init__(self, seed: int, per_minute: float, kept_at: Callable[[float], float]) -> None:
        self._seed = seed
        self._gap_s = 60.0 / per_minute if per_minute > 0.0 else np.inf
        self._line = blink_line(seed, per_minute)
        self._kept_at = kept_at
        self._called: deque[tuple[float, Blink]] = deque(maxlen=KEPT)
        self._replaced: deque[float] = deque(maxlen=2 * KEPT)

    def reset(self) -> None:
        """Forget what was called."""
        self._called.clear()
        self._replaced.clear()

    def forget_after(self, time_s: float) -> None:
        """What was called and has not begun will not."""
        while self._called and self._called[-1][0] > time_s:
            self._called.pop()

    def blink_urgency(self, time_s: float) -> float:
        """Time since the last blink over the mean gap: 1 is when one is due."""
        begun = [at for at, _ in self._shown(time_s - RECENT_S, time_s)]
        return (time_s - max(begun, default=time_s - RECENT_S)) / self._gap_s

    def request_blink(self, begin_s: float, present_s: float, blink: Blink | None = None) -> None:
        """Blink at `begin_s`, unless one is on its way; what has begun by `present_s` stays as it is."""
        if self._gap_s == np.inf or self._shown(begin_s - APART_S, begin_s, until_s=present_s):
            return
        ahead = [at for at, _ in self._line.between(present_s, begin_s + REPLACES_S * self._gap_s)]
        ahead = [at for at in ahead if at > present_s and at not in self._replaced]
        close = [at for at in ahead if at < begin_s + APART_S]
        self._replaced.extend(close or ahead[:1])
        if blink is None:
            blink = blink_of(np.random.default_rng([self._seed, _ns(begin_s)]))
        self._called.append((begin_s, blink))

    def at(self, time_s: float) -> tuple[float, float]:
        """How far the left and the right lid are closed, 0..1."""
        return closed_by(self._shown(time_s - 2 * LONGEST_S, time_s), time_s)

    def _shown(self, begin_s: float, end_s: float, *, until_s: float = np.inf) -> list[tuple[float, Blink]]:
        """Blinks that begin within a time; those in their own rhythm only until `until_s`."""
        own = [
            (at, blink)
            for at, blink in self._line.between(begin_s, min(end_s, until_s))
            if at not in self._replaced and _lot(self._seed, _ns(at)) < self._kept_at(at)
        ]
        return own + [(at, blink) for at, blink in self._called if begin_s <= at <= end_s]


def long_blink(random: np.random.Generator) -> Blink:
    """One that lasts over 0.4 s, by which listeners say that they understand (Hömke et al. 2017)."""
    length = float(random.uniform(0.42, 0.55))
    return Blink(
        closing_s=0.24 * length,
        closed_s=0.36 * length,
        opening_s=0.40 * length,
        depth_left=0.99,
        depth_right=0.99,
        lag_right_s=random.uniform(0.0, 0.008),
    )


@lru_cache(maxsize=256)
def _lot(seed: int, at_ns: int) -> float:
    """A number of 0..1 that belongs to the moment."""
    return float(np.random.default_rng([seed, at_ns, 0x11D]).random())


def _ns(time_s: float) -> int:
    return round(time_s * NS_PER_S) % 2**63
