# SPDX-License-Identifier: Apache-2.0
"""Detection of a user who speaks next to a face that may speak too, and decision to interrupt the face."""

from collections import deque
from dataclasses import dataclass

import numpy as np

from splatface.models.audio.chunks import NS_PER_SAMPLE, StreamFramer, validate_chunk
from splatface.models.audio.vad import SILENCE_DBFS, VAD_WINDOW, SileroVad, level_dbfs
from splatface.models.messages import NS_PER_S, AudioChunk
from splatface.models.typing import Float32Array

__all__ = [
    "WINDOW_MS",
    "BargeInPolicy",
    "PlaybackLevelTracker",
    "SpeechOnsetDetector",
    "UserSpeechDetector",
    "VadWindow",
]

WINDOW_MS = 32
_ECHO_NS = 400_000_000  # maximum delay of an echo: of the room and the devices
_PAUSE_NS = 700_000_000  # between two sentences the face counts as speaking
_RETRY_NS = NS_PER_S  # a face that did not stop is interrupted once more after this
_LEVEL_MEMORY_NS = 3 * NS_PER_S

_VOICE_PROBABILITY = 0.5  # above it a window is voice
_MIN_DBFS = -60.0  # below it the speaker is far away
_FACE_DBFS = -50.0  # above it the face's own audio is audible
_ONSET_MS = 96.0  # of voice until the user speaks
_ONSET_OVER_FACE_MS = 160.0  # the same while the face speaks: its echo alone made 117 at most
_HOLD_MS = 500.0  # without voice until the user no longer speaks: longer than between two words
_MAX_EVIDENCE_MS = 500.0
_EVIDENCE_DECAY = 0.25  # of a window without voice, relative to one with voice
# An echo canceller chops the voice of a user who speaks over the face: it stays loud but is less like speech.
_LOUD_EVIDENCE = 0.67  # of such a window
_ABOVE_DB = 10.0  # above the residual echo and above the noise
_MEMORY = 150  # windows of the face alone, 5 s
_MIN_ECHO_WINDOWS = 30  # needed to estimate the residual echo
_UNKNOWN_ECHO_LOSS_DB = -6.0  # until then: an echo that is not cancelled may be louder than its source


class UserSpeechDetector:
    """Chunks of the microphone in, and the face's to `playback`; whether the user speaks out, in `onset`.

    Raises AudioError when the voice detector is not installed.
    """

    def __init__(self) -> None:
        self.playback = PlaybackLevelTracker()
        self._vad = SileroVad()
        self._windows = StreamFramer(VAD_WINDOW, VAD_WINDOW)
        self.nonfinite_samples = 0
        self.reset()

    def reset(self) -> None:
        """Start a new microphone stream; the estimate of its echo is discarded."""
        self.onset = SpeechOnsetDetector()
        self._vad.reset()
        self._windows.reset()
        self._samples = 0
        self.level_dbfs = SILENCE_DBFS
        self.time_ns = 0  # end of the last window

    def push(self, chunk: AudioChunk) -> None:
        """Process a chunk of the microphone.

        Raises AudioError unless its samples are one-dimensional and at 16000 Hz.
        """
        samples, nonfinite = validate_chunk(chunk, "microphone")
        self.nonfinite_samples += nonfinite
        for end, window in self._windows.push(samples):
            start_ns = chunk.start_ns + (end - VAD_WINDOW - self._samples) * NS_PER_SAMPLE
            self._push_window(end, window, start_ns)
        self._samples += len(samples)

    def face_is_speaking(self) -> bool:
        """Return whether the face's newest utterance is audible about now; a pause within it counts."""
        begin_ns, end_ns = self.time_ns - _PAUSE_NS, self.time_ns + _PAUSE_NS
        return self.playback.level_dbfs(begin_ns, end_ns, newest=True) > _FACE_DBFS

    def _push_window(self, end: int, window: Float32Array, start_ns: int) -> None:
        self._vad.push(window)
        self.time_ns = start_ns + VAD_WINDOW * NS_PER_SAMPLE
        self.level_dbfs = level_dbfs(window)
        face_dbfs = self.playback.level_dbfs(start_ns - _ECHO_NS, self.time_ns)
        probability = self._vad.probability(end - 1, end)
        self.onset.push(VadWindow(probability, self.level_dbfs, face_dbfs))


@dataclass(frozen=True, slots=True)
class VadWindow:
    """One window of the microphone."""

    probability: float  # of voice, 0..1
    level_dbfs: float  # of the microphone
    face_dbfs: float = SILENCE_DBFS  # of the loudspeaker's audio whose echo may be in it


class SpeechOnsetDetector:
    """Evidence that the user speaks, in ms of voice."""

    def __init__(self) -> None:
        self.speaking = False
        self.voiced_ms = 0.0
        self._silent_ms = 0.0
        self._levels_dbfs: deque[float] = deque(maxlen=_MEMORY)  # of the microphone
        self._echo_levels_db: deque[float] = deque(maxlen=_MEMORY)  # relative to the face speaking alone

    @property
    def echo_loss_db(self) -> float:
        """Level of the face's audio as played minus as captured; NaN while unknown."""
        return self._echo_loss_db() if len(self._echo_levels_db) >= _MIN_ECHO_WINDOWS else float("nan")

    def push(self, window: VadWindow) -> bool:
        """Process the next window; return whether the user speaks."""
        self._levels_dbfs.append(window.level_dbfs)
        evidence = self._evidence(window)
        if evidence > 0.0:
            self.voiced_ms = min(self.voiced_ms + evidence * WINDOW_MS, _MAX_EVIDENCE_MS)
            self._silent_ms = 0.0
        else:
            self.voiced_ms = max(self.voiced_ms - _EVIDENCE_DECAY * WINDOW_MS, 0.0)
            self._silent_ms += WINDOW_MS
        if self.speaking:
            self.speaking = self._silent_ms < _HOLD_MS
            if not self.speaking:
                self.voiced_ms = 0.0
        else:
            onset_ms = _ONSET_MS if window.face_dbfs < _FACE_DBFS else _ONSET_OVER_FACE_MS
            self.speaking = self.voiced_ms >= onset_ms
        return self.speaking

    def reset_evidence(self) -> None:
        """Set the evidence to 0: it has been acted on."""
        self.voiced_ms = 0.0

    def _evidence(self, window: VadWindow) -> float:
        voice = window.probability > _VOICE_PROBABILITY and window.level_dbfs > _MIN_DBFS
        if window.face_dbfs < _FACE_DBFS:
            return float(voice)
        echo_dbfs = window.face_dbfs - self._echo_loss_db()
        noise_dbfs = float(np.quantile(self._levels_dbfs, 0.2))
        loud = window.level_dbfs > max(max(echo_dbfs, noise_dbfs) + _ABOVE_DB, _MIN_DBFS)
        if not (loud and voice):
            self._echo_levels_db.append(window.level_dbfs - window.face_dbfs)
        return loud * (1.0 if voice else _LOUD_EVIDENCE)

    def _echo_loss_db(self) -> float:
        if len(self._echo_levels_db) < _MIN_ECHO_WINDOWS:
            return _UNKNOWN_ECHO_LOSS_DB
        # The loudest tenth: a user who speaks over it for less than half a second changes it little.
        return -float(np.quantile(self._echo_levels_db, 0.9))


@dataclass(frozen=True, slots=True)
class _PlayedChunk:
    start_ns: int  # when it is played, media clock
    end_ns: int
    level_dbfs: float
    utterance: int


class PlaybackLevelTracker:
    """Levels of the chunks of a stream, at the times when they are played.

    A newer utterance removes what was not played when it arrived.
    """

    def __init__(self) -> None:
        self.utterance = 0
        self._chunks: deque[_PlayedChunk] = deque()

    def push(self, chunk: AudioChunk, delay_ns: int, now_ns: int) -> None:
        """Add a chunk that arrives now. One of an older utterance than the newest is late: ignored.

        Args:
            chunk: of the face's voice.
            delay_ns: the player's presentation_delay.
            now_ns: media clock.
        """
        start_ns, end_ns = chunk.start_ns + delay_ns, chunk.end_ns + delay_ns
        last_ns = self._chunks[-1].end_ns if self._chunks else 0
        if chunk.utterance < self.utterance and start_ns < last_ns + NS_PER_S:
            return
        if chunk.utterance != self.utterance:
            self.utterance = chunk.utterance
            while self._chunks and self._chunks[-1].start_ns > now_ns:
                self._chunks.pop()
        self._chunks.append(_PlayedChunk(start_ns, end_ns, level_dbfs(chunk.samples), chunk.utterance))
        while self._chunks[0].end_ns < end_ns - _LEVEL_MEMORY_NS:
            self._chunks.popleft()

    def level_dbfs(self, begin_ns: int, end_ns: int, *, newest: bool = False) -> float:
        """Return the level of the loudest chunk that is played between two times; -100 where none is.

        Args:
            begin_ns: media clock.
            end_ns: media clock.
            newest: only of the newest utterance.
        """
        levels = (
            chunk.level_dbfs
            for chunk in self._chunks
            if chunk.end_ns > begin_ns and chunk.start_ns < end_ns
            if not newest or chunk.utterance == self.utterance
        )
        return max(levels, default=SILENCE_DBFS)


class BargeInPolicy:
    """Decision to interrupt the face; each is made once."""

    def __init__(self) -> None:
        self._interrupted_utterance: int | None = None
        self._interrupted_ns = 0  # media clock

    def should_interrupt(self, detector: UserSpeechDetector, min_voiced_ms: float) -> bool:
        """Return whether to interrupt the face now: it speaks, and there was so much of the user's voice."""
        if detector.onset.voiced_ms < min_voiced_ms or not detector.face_is_speaking():
            return False
        utterance, time_ns = detector.playback.utterance, detector.time_ns
        if utterance == self._interrupted_utterance and abs(time_ns - self._interrupted_ns) < _RETRY_NS:
            return False
        self._interrupted_utterance, self._interrupted_ns = utterance, time_ns
        return True
