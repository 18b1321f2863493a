"""Prosody of a voice as it is received: stressed syllables, phrases and pauses."""

import math
from dataclasses import dataclass

from splatface.models.messages import NS_PER_S, AudioFrame

__all__ = ["SPEAKING", "AccentDetector", "PhraseBegin", "PhraseDetector", "PhraseEnd", "StressedSyllable"]

SPEAKING = 0.5  # voice probability
SILENT_DBFS = -60.0
DIP_DB = 2.0  # a nucleus ends where loudness falls, and another begins where it rises, by as much
FAR_BELOW_DB = 8.0
# How far above the usual, in deviations, a syllable is stressed; with each frame it lasts, less is enough.
STANDS_OUT = 1.1
LASTING = 0.08
SOONEST_FRAMES = 3  # at the soonest: with fewer the rise says too little
LEARNING = 0.15  # weight of one syllable in what is usual
LEAST_DEVIATION_DB = 2.0
# After a rest a syllable stands out more easily.
MEAN_DECAY_DB_PER_S = 1.0
MAX_MEAN_DECAY_DB = 3.0


@dataclass(frozen=True, slots=True)
class StressedSyllable:
    """A stressed syllable."""

    peak_s: float  # when it was loudest so far
    strength: float  # 0..1 against the syllables before it


@dataclass(slots=True)
class _Usual:
    """How loud syllables are: running mean and deviation."""

    mean_db: float
    deviation_db: float = 3.0

    def above(self, peak_db: float) -> float:
        return (peak_db - self.mean_db) / max(self.deviation_db, LEAST_DEVIATION_DB)

    def learn(self, peak_db: float) -> None:
        # 1.25 times the mean absolute deviation is the standard deviation of a normal distribution.
        self.deviation_db += LEARNING * (1.25 * abs(peak_db - self.mean_db) - self.deviation_db)
        self.mean_db += LEARNING * (peak_db - self.mean_db)


@dataclass(slots=True)
class _Nucleus:
    """The loud middle of a syllable, as far as it has come."""

    peak_s: float
    peak_db: float
    lowest_db: float  # after the peak
    frames: int = 0
    told: bool = False

    def over(self, level_db: float) -> bool:
        fell = level_db < self.peak_db - DIP_DB
        return (fell and level_db > self.lowest_db + DIP_DB) or level_db < self.peak_db - FAR_BELOW_DB

    def grow(self, now_s: float, level_db: float) -> None:
        self.frames += 1
        if level_db > self.peak_db:
            self.peak_s, self.peak_db, self.lowest_db = now_s, level_db, level_db
        self.lowest_db = min(self.lowest_db, level_db)


class AccentDetector:
    """Frames in, accents out, a few frames after the loudest moment; from nothing later than the frame."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the speaker."""
        self._before_db: float | None = None
        self._valley_db = 0.0
        self._nucleus: _Nucleus | None = None
        self._usual: _Usual | None = None
        self._ended_s = -math.inf

    def hear(self, frame: AudioFrame) -> StressedSyllable | None:
        """Take in the next 20 ms."""
        now_s, before_db = frame.center_ns / NS_PER_S, self._before_db
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
        if self._usual:
            forgotten_db = min(MEAN_DECAY_DB_PER_S * (now_s - self._ended_s), MAX_MEAN_DECAY_DB)
            self._usual.mean_db -= max(forgotten_db, 0.0)

    def _go_on(self, now_s: float, level_db: float) -> StressedSyllable | None:
        nucleus = self._nucleus
        assert nucleus is not None
        if nucleus.over(level_db):
            self._end(now_s)
            self._valley_db = level_db
            return None
        nucleus.grow(now_s, level_db)
        if nucleus.told or self._usual is None or nucleus.frames < SOONEST_FRAMES:
            return None
        above = self._usual.above(nucleus.peak_db)
        if above + LASTING * nucleus.frames < STANDS_OUT:
            return None
        nucleus.told = True
        return StressedSyllable(nucleus.peak_s, min(max(0.25 + 0.35 * above, 0.1), 1.0))

    def _end(self, now_s: float) -> None:
        if self._nucleus is None:
            return
        peak_db = self._nucleus.peak_db
        self._nucleus, self._ended_s = None, now_s
        self._usual = self._usual or _Usual(peak_db)
        self._usual.learn(peak_db)


def _mean_db(a_db: float, b_db: float) -> float:
    return 10 * math.log10((10 ** (a_db / 10) + 10 ** (b_db / 10)) / 2)


# Stops such as p, t, k are silent for up to 120 ms: a pause is longer (Goldman-Eisler 1968 counts from 250).
PAUSE_S = 0.16
CERTAIN_S = 0.04  # a click is shorter
QUIET_DB = 22.0  # below the speaker's loud syllables
LOUDNESS_DECAY_DB_PER_S = 3.0  # how fast what is loud is forgotten


@dataclass(frozen=True, slots=True)
class PhraseBegin:
    """Speech after a pause."""

    at_s: float
    pause_s: float  # how long it was silent before, at most a minute


@dataclass(frozen=True, slots=True)
class PhraseEnd:
    """A pause, known PAUSE_S after it began."""

    at_s: float  # the last sound
    length_s: float  # of the phrase


class PhraseDetector:
    """Frames in, beginnings and ends out, in turn."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget what was heard."""
        self._loud_db = SILENT_DBFS
        self._heard_s: float | None = None  # the last sound
        self._since_s: float | None = None  # sound without a pause, not yet certain
        self._begun_s: float | None = None
        self._latest_s: float | None = None

    def hear(self, frame: AudioFrame) -> PhraseBegin | PhraseEnd | None:
        """Take in the next 20 ms."""
        now_s = frame.center_ns / NS_PER_S
        step_s = 0.0 if self._latest_s is None else min(now_s - self._latest_s, 1.0)
        self._latest_s = now_s
        self._loud_db = max(self._loud_db - LOUDNESS_DECAY_DB_PER_S * step_s, SILENT_DBFS)
        voiced = frame.voice_probability >= SPEAKING
        if voiced:
            self._loud_db = max(self._loud_db, frame.level_dbfs)
        if voiced and frame.level_dbfs > self._loud_db - QUIET_DB:
            return self._sound(now_s)
        self._since_s = None
        return self._quiet(now_s)

    def _sound(self, now_s: float) -> PhraseBegin | None:
        if self._since_s is None:
            self._since_s = now_s
        if self._begun_s is not None:
            self._heard_s = now_s
            return None
        if now_s - self._since_s < CERTAIN_S - 1e-6:
            return None
        pause_s = 60.0 if self._heard_s is None else min(self._since_s - self._heard_s, 60.0)
        self._begun_s, self._heard_s = self._since_s, now_s
        return PhraseBegin(self._begun_s, pause_s)

    def _quiet(self, now_s: float) -> PhraseEnd | None:
        if self._begun_s is None or self._heard_s is None or now_s - self._heard_s < PAUSE_S - 1e-6:
            return None
        begun_s, self._begun_s = self._begun_s, None
        return PhraseEnd(self._heard_s, self._heard_s - begun_s)
