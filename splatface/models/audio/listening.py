"""Hears a person through a microphone while it knows what the face itself says."""

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio.checked import validate_chunk
from splatface.models.audio.person import FACE_DBFS, SpeechOnsetDetector, VadWindow
from splatface.models.audio.sounding import PlaybackLevelTracker
from splatface.models.audio.voice import SILENCE_DBFS, VOICE_FRAME, SileroVad, level_dbfs
from splatface.models.audio.windows import StreamFramer
from splatface.models.messages import NS_PER_S, SAMPLE_RATE, AudioChunk

__all__ = ["UserSpeechDetector"]

_NS_PER_SAMPLE = NS_PER_S // SAMPLE_RATE
ECHO_NS = 400_000_000  # an echo may be heard so much later: the room's and the devices' delay
PAUSE_NS = 700_000_000  # between two sentences: the face still speaks


class UserSpeechDetector:
    """The microphone's chunks in, and the face's to `face`; whether a person speaks out, in `person`.

    Raises AudioError when the voice detector is not installed.
    """

    def __init__(self) -> None:
        self.face = PlaybackLevelTracker()
        self._voice = SileroVad()
        self._windows = StreamFramer(VOICE_FRAME, VOICE_FRAME)
        self.nonfinite_samples = 0
        self.reset()

    def reset(self) -> None:
        """Forget the microphone's stream and what was learnt of its echo."""
        self.person = SpeechOnsetDetector()
        self._voice.reset()
        self._windows.reset()
        self._taken = 0
        self.level_dbfs = SILENCE_DBFS
        self.time_ns = 0  # of what was heard last

    def push(self, chunk: AudioChunk) -> None:
        """Hear a chunk of the microphone.

        Raises AudioError unless its samples are one-dimensional and at 16000 Hz.
        """
        samples, bad = validate_chunk(chunk, "microphone")
        self.nonfinite_samples += bad
        for end, window in self._windows.push(samples):
            self._hear(end, window, chunk.start_ns + (end - VOICE_FRAME - self._taken) * _NS_PER_SAMPLE)
        self._taken += len(samples)

    def face_speaks(self) -> bool:
        """Whether the face's newest utterance is heard about now; a pause within it counts."""
        begin_ns, end_ns = self.time_ns - PAUSE_NS, self.time_ns + PAUSE_NS
        return self.face.level_dbfs(begin_ns, end_ns, newest=True) > FACE_DBFS

    def _hear(self, end: int, window: NDArray[np.float32], start_ns: int) -> None:
        self._voice.push(window)
        self.time_ns = start_ns + VOICE_FRAME * _NS_PER_SAMPLE
        self.level_dbfs = level_dbfs(window)
        face_dbfs = self.face.level_dbfs(start_ns - ECHO_NS, self.time_ns)
        probability = self._voice.probability(end - 1, end)
        self.person.push(VadWindow(probability, self.level_dbfs, face_dbfs))
