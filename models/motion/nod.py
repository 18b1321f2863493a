"""Nods and brows in the rhythm of speech: a stressed syllable may move the head.

Head movement follows the accents of the voice (Munhall et al. 2004): a nod begins at a rise of loudness above
the speaker's own average, rarely more than one in a second.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np

from splatface.models.motion.events import smooth_step
from splatface.models.values import NS_PER_S, AudioFrame

__all__ = ["Nod", "NodDetector", "nods_at"]

SPEAKING = 0.5  # voice probability
RISE_DB = 5.0  # above the running average
MIN_GAP_S = 0.9
AVERAGE_S = 1.5  # time constant of the running average
DOWN_S, UP_S = 0.16, 0.34
# Features come this much after the sound at most times; a nod that began before it was known would jump.
ONSET_S = 0.12


@dataclass(frozen=True, slots=True)
class Nod:
    """One nod."""

    begin_s: float
    pitch_rad: float  # downwards
    brow: float  # 0..1, how far the brows go up with it


class NodDetector:
    """Hears the stressed syllables; keeps the last few nods."""

    def __init__(self, seed: int, amount: float) -> None:
        self.nods: deque[Nod] = deque(maxlen=8)
        self._seed = seed
        self._amount = amount
        self._average_db: float | None = None
        self._latest_s = -1e9
        self._stressed_s = -1e9

    def hear(self, frame: AudioFrame, present_s: float) -> None:
        """Take in one frame of features; a nod begins ONSET_S after the sound, but never in the past."""
        now_s = frame.centre_ns / NS_PER_S
        if now_s < self._latest_s:  # time was set back: a replay begins
            self.nods.clear()
            self._average_db = None
            self._stressed_s = -1e9
        step_s = min(max(now_s - self._latest_s, 0.0), 0.1)
        self._latest_s = now_s
        if frame.voice_probability < SPEAKING:
            return
        if self._average_db is None:
            self._average_db = frame.level_dbfs
        rise_db = frame.level_dbfs - self._average_db
        self._average_db += rise_db * step_s / AVERAGE_S
        rested = now_s - self._stressed_s > MIN_GAP_S
        if rise_db > RISE_DB and rested and self._amount > 0.0:
            self._stressed_s = now_s
            begin_s = max(now_s + ONSET_S, present_s)
            self.nods.append(self._nod(begin_s, frame.centre_ns, rise_db))

    def _nod(self, begin_s: float, time_ns: int, rise_db: float) -> Nod:
        random = np.random.default_rng([self._seed, time_ns % 2**63])
        strength = min(rise_db / 12.0, 1.0) * float(random.uniform(0.6, 1.0))
        brow = float(random.uniform(0.3, 0.7)) if random.random() < 0.35 else 0.0
        return Nod(begin_s, self._amount * np.radians(3.5) * strength, self._amount * brow)


def nods_at(nods: deque[Nod], time_s: float) -> tuple[float, float]:
    """Pitch (rad, down) and brow raise (0..1) that the nods make at a moment."""
    pitch = brow = 0.0
    for nod in nods:
        since_s = time_s - nod.begin_s
        if 0.0 <= since_s < DOWN_S + UP_S:
            shape = smooth_step(since_s / DOWN_S) - smooth_step((since_s - DOWN_S) / UP_S)
            pitch += nod.pitch_rad * shape
            brow = max(brow, nod.brow * shape)
    return pitch, brow
