"""Scheduler of speech: chunks of the queued texts, published some time before they are heard."""

from collections.abc import Iterator

from splatface.models.messages import NS_PER_S, SAMPLE_RATE, AudioChunk, next_utterance
from splatface.models.tts.speech_queue import SpeechQueue

__all__ = ["SpeechScheduler"]

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
