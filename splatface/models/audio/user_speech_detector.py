"""Detection of a user who speaks, next to a face that may speak too; decision to interrupt the face."""

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio.chunks import StreamFramer, validate_chunk
from splatface.models.audio.vad import SILENCE_DBFS, VOICE_FRAME, SileroVad, level_dbfs
from splatface.models.messages import NS_PER_S, SAMPLE_RATE, AudioChunk

__all__ = [
    "WINDOW_MS",
    "BargeIn",
    "PlaybackLevelTracker",
    "SpeechOnsetDetector",
    "UserSpeechDetector",
    "VadWindow",
]

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


KEPT_NS = 3 * NS_PER_S


@dataclass(frozen=True, slots=True)
class _Piece:
    start_ns: int  # played, media clock
    end_ns: int
    level_dbfs: float
    utterance: int


class PlaybackLevelTracker:
    """Levels of the chunks of a stream, at the moments when they are played.

    A newer utterance takes back what was not played when it came.
    """

    def __init__(self) -> None:
        self.utterance = 0
        self._pieces: deque[_Piece] = deque()

    def push(self, chunk: AudioChunk, delay_ns: int, now_ns: int) -> None:
        """Take in a chunk that comes now. One of an older utterance than the newest is late: ignored.

        Args:
            chunk: of the face's voice.
            delay_ns: the speaker's presentation_delay.
            now_ns: media clock.
        """
        start_ns, end_ns = chunk.start_ns + delay_ns, chunk.end_ns + delay_ns
        last_ns = self._pieces[-1].end_ns if self._pieces else 0
        if chunk.utterance < self.utterance and start_ns < last_ns + NS_PER_S:
            return
        if chunk.utterance != self.utterance:
            self.utterance = chunk.utterance
            while self._pieces and self._pieces[-1].start_ns > now_ns:
                self._pieces.pop()
        self._pieces.append(_Piece(start_ns, end_ns, level_dbfs(chunk.samples), chunk.utterance))
        while self._pieces[0].end_ns < end_ns - KEPT_NS:
            self._pieces.popleft()

    def level_dbfs(self, begin_ns: int, end_ns: int, *, newest: bool = False) -> float:
        """The loudest chunk that is played between two moments; -100 where none is.

        Args:
            newest: only of the newest utterance.
        """
        levels = (
            piece.level_dbfs
            for piece in self._pieces
            if piece.end_ns > begin_ns and piece.start_ns < end_ns
            if not newest or piece.utterance == self.utterance
        )
        return max(levels, default=SILENCE_DBFS)


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


AGAIN_NS = NS_PER_S  # a face that did not fall silent is asked once more after this


class BargeIn:
    """Decides from what is heard; each decision is made once."""

    def __init__(self) -> None:
        self._asked: tuple[int, int] | None = None  # (utterance, when), media clock

    def due(self, listening: UserSpeechDetector, voiced_ms: float) -> bool:
        """Whether the face is to be interrupted now: it speaks, and there was so much of a person's voice."""
        if listening.person.voiced_ms < voiced_ms or not listening.face_speaks():
            return False
        utterance, time_ns = listening.face.utterance, listening.time_ns
        asked = self._asked
        if asked is not None and asked[0] == utterance and abs(time_ns - asked[1]) < AGAIN_NS:
            return False
        self._asked = utterance, time_ns
        return True
