"""A whole recording through a streaming encoder: what the net will hear, and when."""

import numpy as np
from numpy.typing import NDArray

from ..audio.encoder import encoder
from ..values import NS_PER_S, AudioChunk

__all__ = ["features"]

_CHUNK = 320  # the graph's 20 ms


def features(name: str, samples: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Frames [F, D] of the encoder and the times of their centres [F], s; `samples` [T] at 16 kHz."""
    ear = encoder(name)
    values, centres_s = [], []
    for start in range(0, len(samples), _CHUNK):
        chunk = AudioChunk(samples[start : start + _CHUNK], 16000, round(start * NS_PER_S / 16000))
        for frame in ear.push(chunk):
            values.append(frame.values)
            centres_s.append(frame.centre_ns / NS_PER_S)
    return np.stack(values), np.array(centres_s)
