"""Chunks of a stream: validation, 16-bit conversion, framing on a fixed grid."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import AudioError
from splatface.models.messages import SAMPLE_RATE, AudioChunk

__all__ = ["StreamFramer", "from_pcm", "to_pcm", "validate_chunk"]


def validate_chunk(chunk: AudioChunk, what: str) -> tuple[NDArray[np.float32], int]:
    """Samples [T] of a chunk, and how many of them were NaN or infinite: those are 0 now.

    Args:
        chunk: as it came.
        what: it is, for the message.

    Raises AudioError unless the samples are one-dimensional and at 16000 Hz.
    """
    samples = np.asarray(chunk.samples, np.float32)
    if chunk.sample_rate != SAMPLE_RATE or samples.ndim != 1:
        raise AudioError(
            f"{what}: expected mono samples [T] at {SAMPLE_RATE} Hz, found {samples.shape} at "
            f"{chunk.sample_rate} Hz: mix the channels and resample before"
        )
    finite = np.isfinite(samples)
    if finite.all():
        return samples, 0
    return np.where(finite, samples, np.float32(0.0)), int(np.count_nonzero(~finite))


_FULL = 32768.0


def to_pcm(samples: NDArray[np.float32]) -> bytes:
    """Samples [T], -1..1 (beyond is clipped), as little-endian 16-bit numbers."""
    whole: NDArray[np.int16] = np.clip(np.rint(samples * _FULL), -_FULL, _FULL - 1).astype("<i2")
    return whole.tobytes()


def from_pcm(data: bytes | bytearray) -> NDArray[np.float32]:
    """Little-endian 16-bit numbers as samples [T], -1..1."""
    out: NDArray[np.float32] = np.frombuffer(data, "<i2").astype(np.float32) / np.float32(_FULL)
    return out


class StreamFramer:
    """Overlapping windows of a stream: the same windows however the stream was cut.

    Window n ends at sample `(n + 1) * hop` of the stream; what lies before the stream's first
    sample is zero. Memory is bounded by one window and the chunk being pushed.
    """

    def __init__(self, length: int, hop: int) -> None:
        if hop <= 0 or length < hop:
            raise ValueError(f"windows need 0 < hop <= length, found hop {hop} and length {length}")
        self.length = length
        self.hop = hop
        self.reset()

    def reset(self) -> None:
        """Forget the stream; the next sample pushed is sample 0 of a new one."""
        self._rest: NDArray[np.float32] = np.zeros(self.length - self.hop, np.float32)
        self._end = 0

    def push(self, samples: NDArray[np.float32]) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield `(end_sample, window [length])` for every window that `samples` [T] completes.

        The iterator must be drained before the next push.
        """
        held = np.concatenate([self._rest, samples])
        first = 0
        while len(held) - first >= self.length:
            self._end += self.hop
            yield self._end, held[first : first + self.length]
            first += self.hop
        self._rest = held[first:].copy()
