"""Which syllables are stressed, heard from loudness alone and while they last.

The best single measure of stress is the total amplitude of a syllable's nucleus, its loudness summed over
its length (Beckman 1986, Stress and Non-Stress Accent): loud or long makes it stand out. Pitch would help, but
features carry none.
"""

import math
from dataclasses import dataclass

from splatface.models.values import NS_PER_S, AudioFrame

__all__ = ["SPEAKING", "Accent", "AccentDetector"]

SPEAKING = 0.5  # voice probability
SILENT_DBFS = -60.0
DIP_DB = 2.0  # a nucleus ends where loudness falls, and another begins where it rises, by as much
FAR_BELOW_DB = 8.0
# Between loudness (1) and power (2): of these the accents found agreed best with pitch, length and loudness.
LOUDNESS = 1.25
STANDS_OUT = 0.4  # deviations above the syllables before
LEARNING = 0.2  # weight of one syllable in what is usual
LEAST_DEVIATION_DB = 2.0
# After a rest a syllable stands out more easily.
FORGET_DB_PER_S = 1.0
FORGET_MOST_DB = 3.0
FRAME_S = 0.02


@dataclass(frozen=True, slots=True)
class Accent:
    """A stressed syllable."""

    peak_s: float  # when it was loudest so far
    strength: float  # 0..1 against the syllables before it


@dataclass(slots=True)
class _Usual:
    """Running mean and deviation in dB."""

    mean_db: float
    deviation_db: float = 3.0

    def above(self, value_db: float) -> float:
        return (value_db - self.mean_db) / max(self.deviation_db, LEAST_DEVIATION_DB)

    def learn(self, value_db: float) -> None:
        # 1.25 times the mean absolute deviation is the standard deviation of a normal distribution.
        self.deviation_db += LEARNING * (1.25 * abs(value_db - self.mean_db) - self.deviation_db)
        self.mean_db += LEARNING * (value_db - self.mean_db)


@dataclass(slots=True)
class _Nucleus:
    """The loud middle of a syllable, as far as it has come."""

    peak_s: float
    peak_db: float
    lowest_db: float  # after the peak
    total: float = 0.0
    told: bool = False

    def over(self, level_db: float) -> bool:
        fell = level_db < self.peak_db - DIP_DB
        return (fell and level_db > self.lowest_db + DIP_DB) or level_db < self.peak_db - FAR_BELOW_DB

    def grow(self, now_s: float, level_db: float) -> None:
        if level_db > self.peak_db:
            self.peak_s, self.peak_db, self.lowest_db = now_s, level_db, level_db
        self.lowest_db = min(self.lowest_db, level_db)
        self.total += FRAME_S * 10 ** (LOUDNESS * level_db / 20)

    @property
    def total_db(self) -> float:
        return 10 * math.log10(max(self.total, 1e-12))


class AccentDetector:
    """Frames in, accents out: about 60 ms after the loudest moment, from nothing later than the frame."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the speaker."""
        self._before_db: float | None = None
        self._valley_db = 0.0
        self._nucleus: _Nucleus | None = None
        self._totals: _Usual | None = None
        self._peaks: _Usual | None = None
        self._ended_s = -math.inf

    def hear(self, frame: AudioFrame) -> Accent | None:
        """Take in the next 20 ms."""
        now_s, before_db = frame.centre_ns / NS_PER_S, self._before_db
        self._before_db = frame.level_dbfs
        if frame.voice_probability < SPEAKING or frame.level_dbfs < SILENT_DBFS:
            self._end(now_s)
            self._valley_db = frame.level_dbfs
            return None
        # Two frames together hold two periods of the deepest voices.
        level_db = frame.level_dbfs if before_db is None else _mean_db(frame.level_dbfs, before_db)
        if self._nucleus is None:
            self._valley_db = min(self._valley_db, level_db)
            if level_db <= self._valley_db + DIP_DB:
                return None
            self._begin(now_s, level_db)
        return self._go_on(now_s, level_db)

    def _begin(self, now_s: float, level_db: float) -> None:
        self._nucleus = _Nucleus(now_s, level_db, level_db)
        if self._totals:
            forgotten_db = min(FORGET_DB_PER_S * (now_s - self._ended_s), FORGET_MOST_DB)
            self._totals.mean_db -= forgotten_db

    def _go_on(self, now_s: float, level_db: float) -> Accent | None:
        nucleus = self._nucleus
        assert nucleus is not None
        if nucleus.over(level_db):
            self._end(now_s)
            self._valley_db = level_db
            return None
        nucleus.grow(now_s, level_db)
        if nucleus.told or self._totals is None or self._peaks is None:
            return None
        if self._totals.above(nucleus.total_db) < STANDS_OUT:
            return None
        nucleus.told = True
        loud = self._peaks.above(nucleus.peak_db)
        return Accent(nucleus.peak_s, min(max(0.5 + 0.35 * loud, 0.1), 1.0))

    def _end(self, now_s: float) -> None:
        if self._nucleus is None:
            return
        total_db, peak_db = self._nucleus.total_db, self._nucleus.peak_db
        self._nucleus, self._ended_s = None, now_s
        if self._totals is None or self._peaks is None:
            self._totals, self._peaks = _Usual(total_db), _Usual(peak_db)
        self._totals.learn(total_db)
        self._peaks.learn(peak_db)


def _mean_db(a_db: float, b_db: float) -> float:
    return 10 * math.log10((10 ** (a_db / 10) + 10 ** (b_db / 10)) / 2)
