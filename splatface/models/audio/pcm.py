"""Samples as the 16-bit numbers that sound libraries take."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["from_pcm", "to_pcm"]

_FULL = 32768.0


def to_pcm(samples: NDArray[np.float32]) -> bytes:
    """Samples [T], -1..1 (beyond is clipped), as little-endian 16-bit numbers."""
    whole: NDArray[np.int16] = np.clip(np.rint(samples * _FULL), -_FULL, _FULL - 1).astype("<i2")
    return whole.tobytes()


def from_pcm(data: bytes | bytearray) -> NDArray[np.float32]:
    """Little-endian 16-bit numbers as samples [T], -1..1."""
    out: NDArray[np.float32] = np.frombuffer(data, "<i2").astype(np.float32) / np.float32(_FULL)
    return out
