# SPDX-License-Identifier: Apache-2.0
"""Chunks of a stream: validation, 16-bit conversion, framing on a fixed grid."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import AudioError
from splatface.models.messages import NS_PER_S, SAMPLE_RATE, AudioChunk
from splatface.models.typing import Float32Array

__all__ = ["NS_PER_SAMPLE", "StreamFramer", "from_pcm", "replace_nonfinite", "to_pcm", "validate_chunk"]

NS_PER_SAMPLE = NS_PER_S // SAMPLE_RATE
_PCM_SCALE = 32768.0


def validate_chunk(chunk: AudioChunk, source: str) -> tuple[Float32Array, int]:
    """Return the samples [T] of a chunk with NaN and infinite ones set to 0, and the number of those.

    Args:
        chunk: as received.
        source: its name for the error message.

    Raises AudioError unless the samples are one-dimensional and at 16000 Hz.
    """
    samples = np.asarray(chunk.samples, np.float32)
    if chunk.sample_rate != SAMPLE_RATE or samples.ndim != 1:
        raise AudioError(
            f"{source}: expected mono samples [T] at {SAMPLE_RATE} Hz, found {samples.shape} at "
            f"{chunk.sample_rate} Hz: mix the channels and resample before"
        )
    return replace_nonfinite(samples)


def replace_nonfinite(samples: Float32Array) -> tuple[Float32Array, int]:
    """Return samples with NaN and infinity set to 0, and the number of those."""
    finite = np.isfinite(samples)
    if finite.all():
        return samples, 0
    return np.where(finite, samples, np.float32(0.0)), int(np.count_nonzero(~finite))


def to_pcm(samples: Float32Array) -> bytes:
    """Convert samples [T], -1..1 (beyond is clipped), to little-endian 16-bit integers."""
    integers: NDArray[np.int16] = np.clip(np.rint(samples * _PCM_SCALE), -_PCM_SCALE, _PCM_SCALE - 1).astype(
        "<i2"
    )
    return integers.tobytes()


def from_pcm(data: bytes | bytearray) -> Float32Array:
    """Convert little-endian 16-bit integers to samples [T], -1..1."""
    samples: Float32Array = np.frombuffer(data, "<i2").astype(np.float32) / np.float32(_PCM_SCALE)
    return samples


class StreamFramer:
    """Overlapping windows of a stream; they do not depend on the sizes of the chunks.

    Window n ends at sample `(n + 1) * hop` of the stream; samples before the stream's first are zero.
    Memory is bounded by one window and the chunk being pushed.
    """

    def __init__(self, length: int, hop: int) -> None:
        if hop <= 0 or length < hop:
            raise ValueError(f"windows need 0 < hop <= length, found hop {hop} and length {length}")
        self.length = length
        self.hop = hop
        self.reset()

    def reset(self) -> None:
        """Start a new stream; the next sample pushed is its sample 0."""
        self._pending: Float32Array = np.zeros(self.length - self.hop, np.float32)
        self._end = 0

    def push(self, samples: Float32Array) -> Iterator[tuple[int, Float32Array]]:
        """Yield `(end_sample, window [length])` for every window that `samples` [T] completes.

        The iterator must be drained before the next push.
        """
        buffer = np.concatenate([self._pending, samples])
        first = 0
        while len(buffer) - first >= self.length:
            self._end += self.hop
            yield self._end, buffer[first : first + self.length]
            first += self.hop
        self._pending = buffer[first:].copy()
