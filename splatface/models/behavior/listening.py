"""What a face does that is talked to: it looks, holds its head a little aslant, and nods now and then.

Nods of listeners come in and after the talker's pauses and every few seconds (Hadar et al. 1985; Ward &
Tsukahara 2000: after 0.7 s of talk at the soonest, not in quick succession), some with a long blink (Hömke
et al. 2017).
"""

from collections import deque
from functools import lru_cache

import numpy as np

from splatface.models.behavior.brow import BrowRaise
from splatface.models.behavior.lids import BlinkScheduler, long_blink
from splatface.models.behavior.nod import Nod
from splatface.models.behavior.spans import ActivityIntervals
from splatface.models.messages import NS_PER_S

__all__ = ["RAMP_S", "Backchannel", "tilt_of"]

# A talker of whom nothing was heard for so long has fallen silent.
UNTOLD_S = 3.0
# Attention stays with one who pauses.
LINGER_S = 1.2
RAMP_S = 0.8
FIRST_S = 0.7
APART_S = 1.6
EVERY_S = 4.5
NOD_RAD = np.radians(2.6)
TILT_RAD = np.radians([1.6, 3.2])
KEPT = 24

Random = np.random.Generator


class Backchannel:
    """Is told whether the person talks; `attention`, `nods` and `raises` say what comes of it."""

    def __init__(self, seed: int, lids: BlinkScheduler) -> None:
        self._seed = seed
        self._lids = lids
        self.reset()

    def reset(self) -> None:
        """Nobody talks or has talked."""
        self.attention = ActivityIntervals()
        self.nods: deque[Nod] = deque(maxlen=KEPT)
        self.raises: deque[BrowRaise] = deque(maxlen=KEPT)
        self._talk = ActivityIntervals()
        self._latest_s = -np.inf
        self._next_nod_s = -np.inf

    def hear(self, talks: bool, now_s: float) -> None:
        """The person talks, or does not; said again and again while it is so."""
        if now_s < self._latest_s:
            self.reset()
        self._latest_s = now_s
        random = np.random.default_rng([self._seed, round(now_s * NS_PER_S) % 2**63])
        if talks:
            self.attention.last_until(now_s, now_s + UNTOLD_S)
            if self._talk.last_until(now_s, now_s + UNTOLD_S):
                self._begin(now_s, random)
            self._go_on(now_s)
        elif self._talk.all and now_s < self._talk.all[-1][1]:
            self._talk.end(now_s)
            self.attention.end(now_s + LINGER_S)
            self._pause(now_s, random)

    def _begin(self, now_s: float, random: Random) -> None:
        self._next_nod_s = now_s + _gap_s(random)
        if random.random() < 0.4:
            self._raise(now_s + 0.15, random)

    def _go_on(self, now_s: float) -> None:
        """A nod every few seconds, drawn from when the last one was due: telling more often adds none."""
        while self._next_nod_s < now_s + UNTOLD_S:
            begin_s = self._next_nod_s
            random = np.random.default_rng([self._seed, round(begin_s * NS_PER_S) % 2**63])
            self._next_nod_s = begin_s + _gap_s(random)
            if begin_s < now_s:
                continue
            self._nod(begin_s, random)
            if random.random() < 0.35:
                self._raise(begin_s, random)

    def _pause(self, now_s: float, random: Random) -> None:
        """Nods that were to come are not begun; one may say that it was understood."""
        self.nods = deque((nod for nod in self.nods if nod.begin_s <= now_s), maxlen=KEPT)
        self.raises = deque((one for one in self.raises if one.begin_s <= now_s), maxlen=KEPT)
        talked_s = now_s - self._talk.all[-1][0]
        begin_s = now_s + float(random.uniform(0.1, 0.45))
        rested = not self.nods or begin_s - self.nods[-1].begin_s > APART_S
        if talked_s < FIRST_S or not rested or random.random() > 0.65:
            return
        self._nod(begin_s, random)
        if random.random() < 0.4:
            self._lids.request_blink(begin_s + 0.05, now_s, long_blink(random))

    def _nod(self, begin_s: float, random: Random) -> None:
        """One nod, or a second smaller one with it."""
        depth_rad = NOD_RAD * float(random.uniform(0.6, 1.2))
        down_s, up_s = float(random.uniform(0.2, 0.28)), float(random.uniform(0.34, 0.5))
        side = float(random.normal(0.0, 0.15))
        self.nods.append(
            Nod(begin_s, depth_rad, down_s=down_s, up_s=up_s, beyond=0.1, roll_rad=side * depth_rad)
        )
        if random.random() < 0.4:
            again_s = begin_s + down_s + 0.8 * up_s
            self.nods.append(Nod(again_s, 0.6 * depth_rad, down_s=down_s, up_s=up_s))

    def _raise(self, begin_s: float, random: Random) -> None:
        self.raises.append(
            BrowRaise(begin_s, float(random.uniform(0.2, 0.45)), hold_s=float(random.uniform(0.2, 0.7)))
        )


@lru_cache(maxsize=64)
def tilt_of(seed: int, begin_s: float) -> float:
    """How far (rad) the head is held aslant while it listens to what began at a moment."""
    random = np.random.default_rng([seed, round(begin_s * NS_PER_S) % 2**63, 0x71])
    return float(random.choice([-1.0, 1.0]) * random.uniform(*TILT_RAD))


def _gap_s(random: Random) -> float:
    return float(np.clip(random.lognormal(np.log(EVERY_S), 0.4), 2 * APART_S, 12.0))
