"""A microphone's sound through stages that clean it, in the order given."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio.checked import validate_chunk
from splatface.models.audio.windows import StreamFramer
from splatface.models.messages import NS_PER_S, SAMPLE_RATE, AudioChunk

__all__ = ["BLOCK", "AudioFilter", "ProcessingChain"]

BLOCK = 160  # samples that a stage takes at a time: 10 ms
_NS_PER_SAMPLE = NS_PER_S // SAMPLE_RATE


class AudioFilter(Protocol):
    """Something that cleans sound at 16 kHz, 10 ms at a time."""

    @property
    def delay_samples(self) -> int:
        """By how much later than it went in the sound comes out."""
        ...

    def process(self, block: NDArray[np.float32], heard_ns: int) -> NDArray[np.float32]:
        """The next samples [160], -1..1, of which the first was heard at `heard_ns`; as many come out."""
        ...


class ProcessingChain:
    """Chunks in, clean chunks of one size out, stamped with when their sound was heard.

    What comes out does not depend on how the sound was cut into chunks. The stages' delays are taken off the
    stamps. NaN and infinite samples become silence and are counted in `bad_samples`.

    Args:
        stages: the first hears the microphone, each other one what the one before gave.
        size: samples of the chunks that come out.
    """

    def __init__(self, stages: Sequence[AudioFilter], size: int) -> None:
        self._stages = tuple(stages)
        self._blocks = StreamFramer(BLOCK, BLOCK)
        self._chunks = StreamFramer(size, size)
        self._taken = self._given = 0  # samples of whole blocks
        self.nonfinite_samples = 0

    @property
    def delay_samples(self) -> int:
        """By how much later than it went in the sound comes out, besides what waits to fill a chunk."""
        return sum(stage.delay_samples for stage in self._stages)

    def push(self, chunk: AudioChunk) -> list[AudioChunk]:
        """Clean a chunk; the clean chunks that it completes.

        Raises AudioError unless the samples are one-dimensional and at 16000 Hz.
        """
        samples, bad = validate_chunk(chunk, "microphone")
        self.nonfinite_samples += bad
        out = []
        for end, block in self._blocks.push(samples):
            heard_ns = chunk.start_ns + (end - BLOCK - self._taken) * _NS_PER_SAMPLE
            out += self._clean(block, heard_ns, chunk.utterance)
        self._taken += len(samples)
        return out

    def _clean(self, block: NDArray[np.float32], heard_ns: int, utterance: int) -> list[AudioChunk]:
        for stage in self._stages:
            block = stage.process(block, heard_ns)
            heard_ns -= stage.delay_samples * _NS_PER_SAMPLE
        out = []
        for end, piece in self._chunks.push(block):
            start_ns = heard_ns + (end - len(piece) - self._given) * _NS_PER_SAMPLE
            out.append(AudioChunk(piece, SAMPLE_RATE, start_ns, utterance))
        self._given += BLOCK
        return out
