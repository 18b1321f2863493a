# SPDX-License-Identifier: Apache-2.0
"""Queue of texts to speak: synthesis in the background, samples and chunks on the media clock."""

import queue
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from splatface.models.errors import SpeechError
from splatface.models.messages import NS_PER_S, SAMPLE_RATE, AudioChunk, next_utterance
from splatface.models.tts.engine import SpeechAudio
from splatface.models.typing import Float32Array

__all__ = ["SpeechQueue", "SpeechScheduler", "Synthesis", "Utterance", "WordEvent"]

_SENTENCES_AHEAD = 3  # bounds the memory of a text of any length
_CONCURRENT = 2  # texts that are synthesized at a time: the one being played and the next


class SpeechQueue:
    """Utterances one after the other; silence where there is none, or where one is not ready."""

    def __init__(self) -> None:
        self.utterances: deque[Utterance] = deque()  # the first is being played
        self.gaps = 0  # times that a text had no sentence ready after the first
        self._pending: Float32Array = np.zeros(0, np.float32)  # rest of the current sentence
        self._starved = False

    def add(self, utterance: "Utterance") -> None:
        """Play an utterance after all others."""
        self.utterances.append(utterance)
        self._start_next()

    def drop(self, utterance: "Utterance") -> None:
        """Remove an utterance: no further sample of it is returned."""
        utterance.synthesis.cancel()
        if self.utterances and self.utterances[0] is utterance:
            self._pending, self._starved = self._pending[:0], False
        if utterance in self.utterances:
            self.utterances.remove(utterance)
        self._start_next()

    def take(self, count: int, start_ns: int) -> Float32Array:
        """Return the next samples [count], of which the first is played at `start_ns`."""
        out = np.zeros(count, np.float32)
        filled = 0
        while filled < count and self._has_samples(start_ns + filled * NS_PER_S // SAMPLE_RATE):
            samples, self._pending = self._pending[: count - filled], self._pending[count - filled :]
            out[filled : filled + len(samples)] = samples
            filled += len(samples)
        return out

    def _start_next(self) -> None:
        for utterance in list(self.utterances)[:_CONCURRENT]:
            utterance.synthesis.start()

    def _has_samples(self, time_ns: int) -> bool:
        """Return whether there are samples for this time; a sentence that is ready begins at it."""
        while not len(self._pending) and self.utterances:
            current = self.utterances[0]
            sentence = current.synthesis.take()
            if sentence is not None:
                current.begin(sentence, time_ns)
                self._pending, self._starved = sentence.samples, False
            elif current.synthesis.done:
                self.utterances.popleft()
                self._start_next()
            else:
                self.gaps += current.start_ns is not None and not self._starved
                self._starved = current.start_ns is not None
                return False
        return bool(len(self._pending))


@dataclass(frozen=True, slots=True)
class WordEvent:
    """Start of a word."""

    time_ns: int  # media clock
    word: str
    progress: float  # 0..1 of the text


class Utterance:
    """One text: its synthesis, the times of its speech on the media clock, its words still to be played.

    Args:
        synthesis: of the text.
        length: of the text, characters.
    """

    def __init__(self, synthesis: "Synthesis", length: int) -> None:
        self.synthesis = synthesis
        self.start_ns: int | None = None  # when its first sample is played, media clock
        self._end_ns = 0  # end of the sentences taken so far
        self._complete = False  # its last sentence has begun
        self._words: deque[WordEvent] = deque()
        self._length = max(length, 1)

    def begin(self, sentence: SpeechAudio, time_ns: int) -> None:
        """Start a sentence of it at this time."""
        if self.start_ns is None:
            self.start_ns = time_ns
        self._end_ns = time_ns + sentence.speech_ns
        self._complete = sentence.last
        for word in sentence.words:
            progress = min(word.end / self._length, 1.0)
            self._words.append(WordEvent(time_ns + word.start_ns, word.text, progress))

    def pop_started_words(self, now_ns: int) -> list[WordEvent]:
        """Return the words that have started since the last call."""
        out = []
        while self._words and self._words[0].time_ns <= now_ns:
            out.append(self._words.popleft())
        return out

    def played_s(self, now_ns: int) -> float:
        """Return the duration played until now, s."""
        return 0.0 if self.start_ns is None else max(min(now_ns, self._end_ns) - self.start_ns, 0) / NS_PER_S

    def is_finished(self, now_ns: int) -> bool:
        """Return whether all of it, or all that could be synthesized, has been played."""
        return (self._complete or self.synthesis.done) and now_ns >= self._end_ns


class Synthesis:
    """A thread that synthesizes one text; it waits when it is ahead, and ends when it is canceled.

    It begins with `start`, or when the first sentence is taken.
    """

    def __init__(self, sentences: Iterator[SpeechAudio]) -> None:
        self._sentences = sentences
        self._ready: queue.Queue[SpeechAudio | None] = queue.Queue(_SENTENCES_AHEAD)
        self._canceled = threading.Event()
        self.problem = ""  # reason why it ended before the text did
        self.done = False  # all sentences have been taken
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start to synthesize."""
        if self._thread is None and not self._canceled.is_set():
            self._thread = threading.Thread(target=self._run, name="synthesis", daemon=True)
            self._thread.start()

    def take(self) -> SpeechAudio | None:
        """Return the next sentence, None when there is none (yet)."""
        if self.done:
            return None
        self.start()
        try:
            sentence = self._ready.get_nowait()
        except queue.Empty:
            return None
        self.done = sentence is None
        return sentence

    def cancel(self) -> None:
        """End the thread after its current sentence; no further sentence is returned."""
        self._canceled.set()
        self.done = True

    def _run(self) -> None:
        try:
            for sentence in self._sentences:
                if not self._put(sentence):
                    return
        except SpeechError as error:
            self.problem = str(error)
        except Exception as error:  # a thread that dies unnoticed would leave the face waiting for ever
            self.problem = f"speech: expected sound, found {type(error).__name__}: {error}"
        self._put(None)

    def _put(self, sentence: SpeechAudio | None) -> bool:
        while not self._canceled.is_set():
            try:
                self._ready.put(sentence, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False


_MAX_DELAY_NS = NS_PER_S  # further from the clock than this, the clock was set or the computer suspended


class SpeechScheduler:
    """Chunks of a queue of texts on the media clock, with silence between the texts.

    Args:
        queue: where the samples come from.
        chunk_ms: length of a chunk, ms.
        lead_ms: time from the publication of a chunk to its first sample being heard, ms.
        utterance: last utterance number of an earlier scheduler.
    """

    def __init__(self, queue: SpeechQueue, chunk_ms: int, lead_ms: int, utterance: int = 0) -> None:
        self.queue = queue
        self.utterance = utterance  # of the chunks; raised by every interruption
        self._chunk_samples = chunk_ms * SAMPLE_RATE // 1000
        self._chunk_ns = chunk_ms * NS_PER_S // 1000
        self._lead_ns = lead_ms * NS_PER_S // 1000
        self._end_ns = 0  # end of the last chunk

    def start(self, now_ns: int) -> None:
        """Start at `now_ns` with a new utterance number."""
        self._end_ns = now_ns
        self.utterance = next_utterance(self.utterance, now_ns)

    def interrupt(self, now_ns: int) -> None:
        """Raise the utterance number and continue at `now_ns`: chunks published ahead of it are void."""
        self.utterance += 1
        self._end_ns = now_ns

    def clock_jump_s(self, now_ns: int) -> float:
        """Return by how many seconds the clock jumped since the last chunk, 0 if it did not."""
        ahead_ns = self._end_ns - now_ns
        jumped = ahead_ns > self._lead_ns + _MAX_DELAY_NS or ahead_ns < -_MAX_DELAY_NS
        return -ahead_ns / NS_PER_S if jumped else 0.0

    def due(self, now_ns: int) -> Iterator[AudioChunk]:
        """Yield every chunk that is heard within the lead time."""
        while self._end_ns <= now_ns + self._lead_ns:
            samples = self.queue.take(self._chunk_samples, self._end_ns)
            chunk = AudioChunk(samples, SAMPLE_RATE, self._end_ns, self.utterance)
            self._end_ns += self._chunk_ns
            yield chunk
