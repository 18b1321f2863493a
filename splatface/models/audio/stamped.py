"""Blocks of a microphone become chunks of one size with the time they were heard."""

from splatface.models.audio.microphone import Block
from splatface.models.audio.sample_clock import SampleClock
from splatface.models.audio.windows import StreamFramer
from splatface.models.messages import SAMPLE_RATE, AudioChunk

__all__ = ["TimestampedChunker"]


class TimestampedChunker:
    """Chunks of `chunk_ms` from the blocks of one microphone since it was opened."""

    def __init__(self, chunk_ms: int) -> None:
        size = chunk_ms * SAMPLE_RATE // 1000
        self._pieces = StreamFramer(size, size)
        self._clock = SampleClock(SAMPLE_RATE)

    def push(self, block: Block, utterance: int) -> list[AudioChunk]:
        """The chunks that `block` completes."""
        if block.lost:
            self._clock.lost()
        self._clock.measure(block.first_sample_index, block.time_ns)
        chunks = []
        for end, piece in self._pieces.push(block.samples):
            start_ns = self._clock.time_ns(end - len(piece))
            chunks.append(AudioChunk(piece, SAMPLE_RATE, start_ns, utterance))
        return chunks
