"""Does a person speak, next to a face that may be speaking too."""

from collections import deque
from dataclasses import dataclass

import numpy as np

from splatface.models.audio.voice import SILENCE_DBFS

__all__ = ["WINDOW_MS", "SpeechOnsetDetector", "VadWindow"]

WINDOW_MS = 32
VOICE = 0.5  # probability above which a window is voice
QUIETEST_DBFS = -60.0  # below this it is somebody far away
FACE_DBFS = -50.0  # the face's own sound counts from here
ONSET_MS = 96.0  # of voice until a person speaks
ONSET_OVER_FACE_MS = 160.0  # the same while the face speaks: its echo alone made 117 at most
HOLD_MS = 500.0  # without voice until a person speaks no longer: longer than between two words
LONGEST_MS = 500.0  # evidence is counted up to here
FORGETTING = 0.25  # of a window without voice, against one with it
# What an echo canceller lets pass of a person who speaks into the face's voice is chopped: loud, but not like
# speech any more. It counts a little less.
LOUD_WORTH = 0.67
ABOVE_DB = 10.0  # over what is left of the face's voice, and over the noise
LEARNT = 150  # windows of the face alone, 5 s
SURE = 30  # so many are needed to know what is left of the face's voice
UNSURE_LOSS_DB = -6.0  # until then: an echo that nobody cancels may be louder than what is played


@dataclass(frozen=True, slots=True)
class VadWindow:
    """One window of the microphone."""

    probability: float  # of voice, 0..1
    level_dbfs: float  # of the microphone
    face_dbfs: float = SILENCE_DBFS  # of what the loudspeaker played, that could be heard in it


class SpeechOnsetDetector:
    """Counts what speaks for a person being heard, in ms of voice."""

    def __init__(self) -> None:
        self.speaking = False
        self.voiced_ms = 0.0
        self._silent_ms = 0.0
        self._levels: deque[float] = deque(maxlen=LEARNT)  # of the microphone, dBFS
        self._ratios: deque[float] = deque(maxlen=LEARNT)  # to the face, dB, while it speaks alone

    @property
    def echo_loss_db(self) -> float:
        """By how much less loud than it is played the face is heard; NaN while unknown."""
        return self._loss_db() if len(self._ratios) >= SURE else float("nan")

    def push(self, moment: VadWindow) -> bool:
        """Hear the next window; whether a person speaks."""
        self._levels.append(moment.level_dbfs)
        worth = self._speech_evidence(moment)
        if worth > 0.0:
            self.voiced_ms = min(self.voiced_ms + worth * WINDOW_MS, LONGEST_MS)
            self._silent_ms = 0.0
        else:
            self.voiced_ms = max(self.voiced_ms - FORGETTING * WINDOW_MS, 0.0)
            self._silent_ms += WINDOW_MS
        if self.speaking:
            self.speaking = self._silent_ms < HOLD_MS
            if not self.speaking:
                self.voiced_ms = 0.0
        else:
            onset_ms = ONSET_MS if moment.face_dbfs < FACE_DBFS else ONSET_OVER_FACE_MS
            self.speaking = self.voiced_ms >= onset_ms
        return self.speaking

    def reset_evidence(self) -> None:
        """Begin to count anew: what was heard has been answered."""
        self.voiced_ms = 0.0

    def _speech_evidence(self, moment: VadWindow) -> float:
        voice = moment.probability > VOICE and moment.level_dbfs > QUIETEST_DBFS
        if moment.face_dbfs < FACE_DBFS:
            return float(voice)
        echo_dbfs = moment.face_dbfs - self._loss_db()
        noise_dbfs = float(np.quantile(self._levels, 0.2))
        loud = moment.level_dbfs > max(max(echo_dbfs, noise_dbfs) + ABOVE_DB, QUIETEST_DBFS)
        if not (loud and voice):
            self._ratios.append(moment.level_dbfs - moment.face_dbfs)
        return loud * (1.0 if voice else LOUD_WORTH)

    def _loss_db(self) -> float:
        if len(self._ratios) < SURE:
            return UNSURE_LOSS_DB
        # The loudest tenth: a person who speaks into it shorter than half a second changes it little.
        return -float(np.quantile(self._ratios, 0.9))
