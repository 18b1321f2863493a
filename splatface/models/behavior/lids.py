"""The lids of one who listens or speaks: blinks in their own rhythm, and blinks that something calls for.

A blink that is called takes the place of the next one that was due, so that there are about as many.
"""

from collections import deque
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from splatface.models.behavior.blink import LONGEST_S, Blink, blink_line, blink_of, closed_by
from splatface.models.messages import NS_PER_S

__all__ = ["BlinkScheduler", "long_blink"]

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
