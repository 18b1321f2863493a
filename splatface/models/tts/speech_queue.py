"""Queue of texts to speak: synthesis in the background, samples on the media clock."""

import queue
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import SpeechError
from splatface.models.messages import NS_PER_S, SAMPLE_RATE
from splatface.models.tts.engine import SpeechAudio

__all__ = ["SpeechQueue", "Synthesis", "Utterance", "WordEvent"]

AHEAD = 3  # sentences: what is held of a text however long it is


class Synthesis:
    """A thread that speaks one text; it waits when it is ahead, and ends when it is abandoned.

    It starts with `begin`, or when the first sentence is asked for.
    """

    def __init__(self, spoken: Iterator[SpeechAudio]) -> None:
        self._spoken = spoken
        self._ready: queue.Queue[SpeechAudio | None] = queue.Queue(AHEAD)
        self._abandoned = threading.Event()
        self.problem = ""  # why it ended before the text did
        self.done = False  # all sentences have been taken
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Start to speak."""
        if self._thread is None and not self._abandoned.is_set():
            self._thread = threading.Thread(target=self._run, name="synthesis", daemon=True)
            self._thread.start()

    def take(self) -> SpeechAudio | None:
        """The next sentence, None when there is none (yet)."""
        if self.done:
            return None
        self.begin()
        try:
            spoken = self._ready.get_nowait()
        except queue.Empty:
            return None
        self.done = spoken is None
        return spoken

    def cancel(self) -> None:
        """End the thread after the sentence it is at; nothing more comes."""
        self._abandoned.set()
        self.done = True

    def _run(self) -> None:
        try:
            for spoken in self._spoken:
                if not self._put(spoken):
                    return
        except SpeechError as error:
            self.problem = str(error)
        except Exception as error:  # a thread that dies unseen would leave the face waiting for ever
            self.problem = f"speech: expected sound, found {type(error).__name__}: {error}"
        self._put(None)

    def _put(self, spoken: SpeechAudio | None) -> bool:
        while not self._abandoned.is_set():
            try:
                self._ready.put(spoken, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False


@dataclass(frozen=True, slots=True)
class WordEvent:
    """A word that begins to be heard."""

    time_ns: int  # media clock
    word: str
    progress: float  # 0..1 of the text


class Utterance:
    """One text: its synthesis, how much of it has been laid out, what of it is still to be heard."""

    def __init__(self, synthesis: Synthesis, length: int) -> None:
        self.synthesis = synthesis
        self.start_ns: int | None = None  # when its first sample is heard, media clock
        self._end_ns = 0  # when the speech laid out so far ends
        self._complete = False  # its last sentence has begun
        self._words: deque[WordEvent] = deque()
        self._length = max(length, 1)  # of the text, characters

    def begin(self, spoken: SpeechAudio, time_ns: int) -> None:
        """A sentence of it starts at this moment."""
        if self.start_ns is None:
            self.start_ns = time_ns
        self._end_ns = time_ns + spoken.speech_ns
        self._complete = spoken.last
        for word in spoken.words:
            progress = min(word.end / self._length, 1.0)
            self._words.append(WordEvent(time_ns + word.start_ns, word.text, progress))

    def heard(self, now_ns: int) -> list[WordEvent]:
        """The words that have begun since the last call."""
        out = []
        while self._words and self._words[0].time_ns <= now_ns:
            out.append(self._words.popleft())
        return out

    def heard_s(self, now_ns: int) -> float:
        """How long it has been heard by now, s."""
        return 0.0 if self.start_ns is None else max(min(now_ns, self._end_ns) - self.start_ns, 0) / NS_PER_S

    def ended(self, now_ns: int) -> bool:
        """Whether all of it, or all that could be spoken, has been heard."""
        return (self._complete or self.synthesis.done) and now_ns >= self._end_ns


class SpeechQueue:
    """Utterances one after the other; silence where none is, or where one is not ready."""

    def __init__(self) -> None:
        self.waiting: deque[Utterance] = deque()  # the first is the one whose sound is being laid out
        self.gaps = 0  # times that a text ran dry between two of its sentences
        self._rest: NDArray[np.float32] = np.zeros(0, np.float32)
        self._dry = False

    def add(self, utterance: Utterance) -> None:
        """Play this after all others."""
        self.waiting.append(utterance)
        self._look_ahead()

    def drop(self, utterance: Utterance) -> None:
        """Forget an utterance: no further sample of it comes."""
        utterance.synthesis.cancel()
        if self.waiting and self.waiting[0] is utterance:
            self._rest, self._dry = self._rest[:0], False
        if utterance in self.waiting:
            self.waiting.remove(utterance)
        self._look_ahead()

    def _look_ahead(self) -> None:
        """The one being played and the next are spoken in the background; others wait."""
        for utterance in list(self.waiting)[:2]:
            utterance.synthesis.begin()

    def take(self, count: int, start_ns: int) -> NDArray[np.float32]:
        """The next samples [count], of which the first is heard at `start_ns`."""
        out = np.zeros(count, np.float32)
        at = 0
        while at < count and self._has_sound(start_ns + at * NS_PER_S // SAMPLE_RATE):
            piece, self._rest = self._rest[: count - at], self._rest[count - at :]
            out[at : at + len(piece)] = piece
            at += len(piece)
        return out

    def _has_sound(self, time_ns: int) -> bool:
        """Whether there is sound for this moment; a sentence that is ready begins with it."""
        while not len(self._rest) and self.waiting:
            current = self.waiting[0]
            spoken = current.synthesis.take()
            if spoken is not None:
                current.begin(spoken, time_ns)
                self._rest, self._dry = spoken.samples, False
            elif current.synthesis.done:
                self.waiting.popleft()
                self._look_ahead()
            else:
                self.gaps += current.start_ns is not None and not self._dry
                self._dry = current.start_ns is not None
                return False
        return bool(len(self._rest))
