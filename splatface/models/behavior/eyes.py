# SPDX-License-Identifier: Apache-2.0
"""Eyes: gaze of fixations and saccades, spontaneous blinks and blinks on request."""

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
    "Blink",
    "BlinkScheduler",
    "Direction",
    "blink_stream",
    "eyelid_closure_at",
    "gaze_at",
    "gaze_stream",
    "gaze_toward_viewer_at",
    "long_blink",
    "random_blink",
    "saccade_s",
]

Direction = tuple[float, float]  # yaw (rad, to the left), pitch (rad, down)

_ON_VIEWER = 0.72  # fraction of fixations
_MAX_FIXATION_S = 12.0  # longer than any fixation
# From eye to eye and mouth of somebody a meter away: within this the gaze is still on the face.
_FACE_RADIUS_RAD = math.radians(1.6)
# Beyond this the sclera is visible and the gaze appears averted.
_MAX_EYE_RAD = math.radians(14.0)

_BLINK_GAP_SIGMA = 0.55  # of the logarithm of the gaps
_DOUBLE_BLINK = 0.08  # probability of a second blink right after one
_MAX_BLINK_S = 0.4
_MIN_SEPARATION_S = 0.8  # between a requested blink and any other one
_HISTORY_S = 12.0
_REPLACE_WITHIN = 1.6  # mean gaps: a spontaneous blink within this is replaced by a requested one
_MAX_REQUESTS = 32


def saccade_s(angle_rad: float) -> float:
    """Return the duration of a saccade: 21 ms + 2.2 ms per degree (Bahill, Clark & Stark 1975)."""
    return 0.021 + 0.0022 * math.degrees(abs(angle_rad))


def gaze_stream(seed: int, variability: float) -> SeededEventStream[Direction]:
    """Return random fixations relative to the viewer; `variability` 0 stares, 1 is typical."""

    def draw(random: np.random.Generator) -> list[tuple[float, Direction]]:
        fixations: list[tuple[float, Direction]] = []
        time_s, averted = 0.0, False
        while time_s < BLOCK_S:
            # Never averted twice in a row: the face attends to the viewer.
            averted = not averted and random.random() > _ON_VIEWER
            spread = np.radians([9.0, 5.0] if averted else [0.9, 0.6]) * variability
            yaw, pitch = random.normal(0.0, spread)
            fixations.append((time_s, (float(yaw), float(pitch))))
            time_s += float(np.clip(random.lognormal(np.log(0.6 if averted else 1.7), 0.45), 0.2, 8.0))
        return fixations

    return SeededEventStream(seed, draw)


def gaze_at(stream: SeededEventStream[Direction], time_s: float) -> Direction:
    """Return the direction of the eyes, relative to the attended point."""
    return _interpolate_saccade(stream, time_s, lambda direction: direction)


def gaze_toward_viewer_at(stream: SeededEventStream[Direction], time_s: float, attention: float) -> Direction:
    """Return the same for a face that attends to a viewer, and never looks far away.

    At `attention` 1 no fixation leaves the viewer's face, at 0 all are free.
    """
    return _interpolate_saccade(stream, time_s, lambda direction: _limit_gaze(direction, attention))


def _interpolate_saccade(
    stream: SeededEventStream[Direction], time_s: float, limit: Callable[[Direction], Direction]
) -> Direction:
    fixations = stream.between(time_s - _MAX_FIXATION_S, time_s)
    index = bisect_right([begin_s for begin_s, _ in fixations], time_s) - 1
    begin_s, current = fixations[index][0], limit(fixations[index][1])
    previous = limit(fixations[index - 1][1]) if index > 0 else current
    delta = (current[0] - previous[0], current[1] - previous[1])
    progress = minimum_jerk_step((time_s - begin_s) / saccade_s(math.hypot(*delta)))
    return previous[0] + progress * delta[0], previous[1] + progress * delta[1]


def _limit_gaze(direction: Direction, attention: float) -> Direction:
    angle = math.hypot(*direction)
    if angle <= _FACE_RADIUS_RAD:
        return direction
    limited = _MAX_EYE_RAD * math.tanh(angle / _MAX_EYE_RAD)
    scale = (limited - attention * (limited - _FACE_RADIUS_RAD)) / angle
    return scale * direction[0], scale * direction[1]


@dataclass(frozen=True, slots=True)
class Blink:
    """One blink of both eyes.

    It lasts 100 to 400 ms, its closing about twice as fast as its opening (VanderWerf et al. 2003).
    """

    closing_s: float
    closed_s: float
    opening_s: float
    depth_left: float  # 0..1, closure of the eyelid
    depth_right: float
    lag_right_s: float  # of the right eyelid


def blink_stream(seed: int, per_minute: float) -> SeededEventStream[Blink]:
    """Return random spontaneous blinks with log-normal gaps; `per_minute` 0 keeps the eyes open.

    There are about 17 a minute at rest and 26 in conversation (Bentivoglio et al. 1997).
    """

    def draw(random: np.random.Generator) -> list[tuple[float, Blink]]:
        if per_minute <= 0.0:
            return []
        # The mean of a log-normal is exp(mu + sigma^2 / 2).
        mu = np.log(60.0 / per_minute) - _BLINK_GAP_SIGMA**2 / 2
        blinks = []
        time_s = random.uniform(0.0, 60.0 / per_minute)
        while time_s < BLOCK_S - _MAX_BLINK_S:
            blinks.append((time_s, random_blink(random)))
            if random.random() < _DOUBLE_BLINK:
                blinks.append((time_s + random.uniform(0.42, 0.6), random_blink(random)))
            time_s += max(float(random.lognormal(mu, _BLINK_GAP_SIGMA)), 0.7)
        return blinks

    return SeededEventStream(seed, draw)


def random_blink(random: np.random.Generator) -> Blink:
    """Return a random blink."""
    duration = float(np.clip(random.lognormal(np.log(0.2), 0.25), 0.11, 0.39))
    depth = random.uniform(0.94, 1.0)
    return Blink(
        closing_s=0.32 * duration,
        closed_s=0.10 * duration,
        opening_s=0.58 * duration,
        depth_left=depth,
        depth_right=min(1.0, depth * random.uniform(0.97, 1.03)),
        lag_right_s=random.uniform(0.0, 0.008),
    )


def long_blink(random: np.random.Generator) -> Blink:
    """Return a blink longer than 0.4 s, by which listeners signal understanding (Hömke et al. 2017)."""
    duration = float(random.uniform(0.42, 0.55))
    return Blink(
        closing_s=0.24 * duration,
        closed_s=0.36 * duration,
        opening_s=0.40 * duration,
        depth_left=0.99,
        depth_right=0.99,
        lag_right_s=random.uniform(0.0, 0.008),
    )


def eyelid_closure_at(stream: SeededEventStream[Blink], time_s: float) -> tuple[float, float]:
    """Return the closure of the left and the right eyelid, 0..1."""
    return _closure_of_blinks(stream.between(time_s - 2 * _MAX_BLINK_S, time_s), time_s)


def _closure_of_blinks(blinks: Iterable[tuple[float, Blink]], time_s: float) -> tuple[float, float]:
    """Return the closure of the left and the right eyelid, 0..1, by blinks with the times they begin."""
    left = right = 0.0
    for begin_s, blink in blinks:
        left = max(left, blink.depth_left * _blink_profile(blink, time_s - begin_s))
        right = max(right, blink.depth_right * _blink_profile(blink, time_s - begin_s - blink.lag_right_s))
    return left, right


def _blink_profile(blink: Blink, elapsed_s: float) -> float:
    if elapsed_s < blink.closing_s:
        return minimum_jerk_step(elapsed_s / blink.closing_s)
    return 1.0 - minimum_jerk_step((elapsed_s - blink.closing_s - blink.closed_s) / blink.opening_s)


class BlinkScheduler:
    """Spontaneous blinks and blinks on request.

    A requested blink replaces the next spontaneous one that was due, so that their number stays about the
    same.

    Args:
        seed: of the random blinks.
        per_minute: spontaneous blinks; 0 keeps the eyes open.
        spontaneous_fraction_at: returns the fraction (0..1) of the spontaneous blinks that happen at a time
        in s.
    """

    def __init__(
        self, seed: int, per_minute: float, spontaneous_fraction_at: Callable[[float], float]
    ) -> None:
        self._seed = seed
        self._gap_s = 60.0 / per_minute if per_minute > 0.0 else np.inf
        self._stream = blink_stream(seed, per_minute)
        self._spontaneous_fraction_at = spontaneous_fraction_at
        self._requested: deque[tuple[float, Blink]] = deque(maxlen=_MAX_REQUESTS)
        self._replaced: deque[float] = deque(maxlen=2 * _MAX_REQUESTS)

    def reset(self) -> None:
        """Remove all requests."""
        self._requested.clear()
        self._replaced.clear()

    def cancel_after(self, time_s: float) -> None:
        """Remove the requests that have not begun."""
        while self._requested and self._requested[-1][0] > time_s:
            self._requested.pop()

    def blink_urgency(self, time_s: float) -> float:
        """Return the time since the last blink over the mean gap: 1 when one is due."""
        begun = [begin_s for begin_s, _ in self.blinks_between(time_s - _HISTORY_S, time_s)]
        return (time_s - max(begun, default=time_s - _HISTORY_S)) / self._gap_s

    def request_blink(self, begin_s: float, present_s: float, blink: Blink | None = None) -> None:
        """Blink at `begin_s`, unless another blink is close; blinks begun by `present_s` are not changed."""
        if self._gap_s == np.inf or self.blinks_between(
            begin_s - _MIN_SEPARATION_S, begin_s, spontaneous_until_s=present_s
        ):
            return
        upcoming = [s for s, _ in self._stream.between(present_s, begin_s + _REPLACE_WITHIN * self._gap_s)]
        upcoming = [s for s in upcoming if s > present_s and s not in self._replaced]
        close = [s for s in upcoming if s < begin_s + _MIN_SEPARATION_S]
        self._replaced.extend(close or upcoming[:1])
        if blink is None:
            blink = random_blink(np.random.default_rng([self._seed, _ns(begin_s)]))
        self._requested.append((begin_s, blink))

    def closure_at(self, time_s: float) -> tuple[float, float]:
        """Return the closure of the left and the right eyelid, 0..1."""
        return _closure_of_blinks(self.blinks_between(time_s - 2 * _MAX_BLINK_S, time_s), time_s)

    def blinks_between(
        self, begin_s: float, end_s: float, *, spontaneous_until_s: float = np.inf
    ) -> list[tuple[float, Blink]]:
        """Return the blinks that begin within a time, spontaneous ones only until `spontaneous_until_s`."""
        spontaneous = [
            (s, blink)
            for s, blink in self._stream.between(begin_s, min(end_s, spontaneous_until_s))
            if s not in self._replaced and _uniform(self._seed, _ns(s)) < self._spontaneous_fraction_at(s)
        ]
        return spontaneous + [(s, blink) for s, blink in self._requested if begin_s <= s <= end_s]


@lru_cache(maxsize=256)
def _uniform(seed: int, time_ns: int) -> float:
    """Return a random number of 0..1 that depends on the time."""
    return float(np.random.default_rng([seed, time_ns, 0x11D]).random())


def _ns(time_s: float) -> int:
    return round(time_s * NS_PER_S) % 2**63
