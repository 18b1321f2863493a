# SPDX-License-Identifier: Apache-2.0
"""Prosody of a voice as it is received: stressed syllables, phrases and pauses.

Loudness and duration predict prominence, pitch adds little (Kochanski et al. 2005, "Loudness predicts
prominence: fundamental frequency lends little", J. Acoust. Soc. Am. 118); the features contain no pitch
anyway.
"""

import math
from dataclasses import dataclass

from splatface.models.messages import NS_PER_S, AudioFrame

__all__ = [
    "VOICE_PROBABILITY",
    "PhraseBegin",
    "PhraseDetector",
    "PhraseEnd",
    "StressDetector",
    "StressedSyllable",
]

VOICE_PROBABILITY = 0.5  # above it a frame is speech
_SILENT_DBFS = -60.0
_DIP_DB = 2.0  # by which loudness falls when a syllable's nucleus ends, and rises when another begins
_DROP_DB = 8.0  # that ends a nucleus at once
# Prominence (deviations above the mean) that makes a syllable stressed; less with each frame of duration.
_STRESS_THRESHOLD = 1.1
_THRESHOLD_PER_FRAME = 0.08
_MIN_FRAMES = 3  # with fewer the rise is not significant
_LEARNING_RATE = 0.15  # weight of one syllable in the statistics
_MIN_DEVIATION_DB = 2.0
# After a pause the mean is lower, so that a syllable is prominent more easily.
_MEAN_DECAY_DB_PER_S = 1.0
_MAX_MEAN_DECAY_DB = 3.0

# Stops such as p, t, k are silent for up to 120 ms: a pause is longer (Goldman-Eisler 1968 counts from 250).
_PAUSE_S = 0.16
_MIN_SPEECH_S = 0.04  # a click is shorter
_QUIET_DB = 22.0  # below the speaker's loud syllables
_LOUDNESS_DECAY_DB_PER_S = 3.0  # of the tracked loudness


@dataclass(frozen=True, slots=True)
class StressedSyllable:
    """A stressed syllable."""

    peak_s: float  # when it was loudest so far
    prominence: float  # 0..1 relative to the syllables before it


@dataclass(slots=True)
class _LoudnessStatistics:
    """Running mean and deviation of the loudness of syllables."""

    mean_db: float
    deviation_db: float = 3.0

    def prominence(self, peak_db: float) -> float:
        return (peak_db - self.mean_db) / max(self.deviation_db, _MIN_DEVIATION_DB)

    def update(self, peak_db: float) -> None:
        # 1.25 times the mean absolute deviation is the standard deviation of a normal distribution.
        self.deviation_db += _LEARNING_RATE * (1.25 * abs(peak_db - self.mean_db) - self.deviation_db)
        self.mean_db += _LEARNING_RATE * (peak_db - self.mean_db)


@dataclass(slots=True)
class _Nucleus:
    """The loud middle of a syllable, so far."""

    peak_s: float
    peak_db: float
    min_db_after_peak: float
    frames: int = 0
    reported: bool = False

    def is_over(self, level_db: float) -> bool:
        fell = level_db < self.peak_db - _DIP_DB
        rises_again = level_db > self.min_db_after_peak + _DIP_DB
        return (fell and rises_again) or level_db < self.peak_db - _DROP_DB

    def update(self, now_s: float, level_db: float) -> None:
        self.frames += 1
        if level_db > self.peak_db:
            self.peak_s, self.peak_db, self.min_db_after_peak = now_s, level_db, level_db
        self.min_db_after_peak = min(self.min_db_after_peak, level_db)


class StressDetector:
    """Frames in, stressed syllables out, a few frames after their peak; causal."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start with another speaker."""
        self._previous_db: float | None = None
        self._valley_db = 0.0
        self._nucleus: _Nucleus | None = None
        self._statistics: _LoudnessStatistics | None = None
        self._last_end_s = -math.inf

    def push(self, frame: AudioFrame) -> StressedSyllable | None:
        """Process the next 20 ms."""
        now_s, previous_db = frame.center_ns / NS_PER_S, self._previous_db
        self._previous_db = frame.level_dbfs
        if frame.voice_probability < VOICE_PROBABILITY or frame.level_dbfs < _SILENT_DBFS:
            self._end_nucleus(now_s)
            self._valley_db = frame.level_dbfs
            return None
        # Two frames together contain two periods of the deepest voices.
        level_db = frame.level_dbfs if previous_db is None else _mean_db(frame.level_dbfs, previous_db)
        if self._nucleus is None:
            self._valley_db = min(self._valley_db, level_db)
            if level_db <= self._valley_db + _DIP_DB:
                return None
            self._nucleus = self._begin_nucleus(now_s, level_db)
        return self._continue_nucleus(self._nucleus, now_s, level_db)

    def _begin_nucleus(self, now_s: float, level_db: float) -> _Nucleus:
        if self._statistics:
            decay_db = min(_MEAN_DECAY_DB_PER_S * (now_s - self._last_end_s), _MAX_MEAN_DECAY_DB)
            self._statistics.mean_db -= max(decay_db, 0.0)
        return _Nucleus(now_s, level_db, level_db)

    def _continue_nucleus(self, nucleus: _Nucleus, now_s: float, level_db: float) -> StressedSyllable | None:
        if nucleus.is_over(level_db):
            self._end_nucleus(now_s)
            self._valley_db = level_db
            return None
        nucleus.update(now_s, level_db)
        if nucleus.reported or self._statistics is None or nucleus.frames < _MIN_FRAMES:
            return None
        prominence = self._statistics.prominence(nucleus.peak_db)
        if prominence + _THRESHOLD_PER_FRAME * nucleus.frames < _STRESS_THRESHOLD:
            return None
        nucleus.reported = True
        return StressedSyllable(nucleus.peak_s, min(max(0.25 + 0.35 * prominence, 0.1), 1.0))

    def _end_nucleus(self, now_s: float) -> None:
        if self._nucleus is None:
            return
        peak_db = self._nucleus.peak_db
        self._nucleus, self._last_end_s = None, now_s
        self._statistics = self._statistics or _LoudnessStatistics(peak_db)
        self._statistics.update(peak_db)


def _mean_db(a_db: float, b_db: float) -> float:
    return 10 * math.log10((10 ** (a_db / 10) + 10 ** (b_db / 10)) / 2)


@dataclass(frozen=True, slots=True)
class PhraseBegin:
    """Start of speech after a pause."""

    time_s: float
    pause_s: float  # before it, at most a minute


@dataclass(frozen=True, slots=True)
class PhraseEnd:
    """Start of a pause, detected 160 ms later."""

    time_s: float  # of the last speech
    duration_s: float  # of the phrase


class PhraseDetector:
    """Frames in, beginnings and ends of phrases out, alternating."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start a new stream."""
        self._loudness_db = _SILENT_DBFS
        self._last_speech_s: float | None = None
        self._onset_s: float | None = None  # of speech that is not yet long enough
        self._phrase_begin_s: float | None = None
        self._last_frame_s: float | None = None

    def push(self, frame: AudioFrame) -> PhraseBegin | PhraseEnd | None:
        """Process the next 20 ms."""
        now_s = frame.center_ns / NS_PER_S
        step_s = 0.0 if self._last_frame_s is None else min(now_s - self._last_frame_s, 1.0)
        self._last_frame_s = now_s
        self._loudness_db = max(self._loudness_db - _LOUDNESS_DECAY_DB_PER_S * step_s, _SILENT_DBFS)
        voiced = frame.voice_probability >= VOICE_PROBABILITY
        if voiced:
            self._loudness_db = max(self._loudness_db, frame.level_dbfs)
        if voiced and frame.level_dbfs > self._loudness_db - _QUIET_DB:
            return self._push_speech(now_s)
        self._onset_s = None
        return self._push_silence(now_s)

    def _push_speech(self, now_s: float) -> PhraseBegin | None:
        if self._onset_s is None:
            self._onset_s = now_s
        if self._phrase_begin_s is not None:
            self._last_speech_s = now_s
            return None
        if now_s - self._onset_s < _MIN_SPEECH_S - 1e-6:
            return None
        pause_s = 60.0 if self._last_speech_s is None else min(self._onset_s - self._last_speech_s, 60.0)
        self._phrase_begin_s, self._last_speech_s = self._onset_s, now_s
        return PhraseBegin(self._phrase_begin_s, pause_s)

    def _push_silence(self, now_s: float) -> PhraseEnd | None:
        begin_s, last_s = self._phrase_begin_s, self._last_speech_s
        if begin_s is None or last_s is None or now_s - last_s < _PAUSE_S - 1e-6:
            return None
        self._phrase_begin_s = None
        return PhraseEnd(last_s, last_s - begin_s)
