"""Sound from outside, looked at once at the door."""

import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import AudioError
from splatface.models.messages import SAMPLE_RATE, AudioChunk

__all__ = ["validate_chunk"]


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
