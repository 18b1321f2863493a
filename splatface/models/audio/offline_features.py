"""A whole recording through a streaming encoder: what the net will hear, and when."""

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio.encoder import Encoder, encoder
from splatface.models.messages import NS_PER_S, SAMPLE_RATE, AudioChunk

__all__ = ["FeatureExtractor", "extract_features", "features"]

# (encoder, samples [T] at 16 kHz) -> (frames [F, D], their centers in s)
FeatureExtractor = Callable[[str, NDArray[np.float32]], tuple[NDArray[np.float32], NDArray[np.float64]]]


@cache
def _ear(name: str) -> Encoder:
    """One encoder a process: loading its network takes longer than hearing a sentence."""
    return encoder(name)


def features(name: str, samples: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Frames [F, D] of the encoder and the times of their centers [F], s; `samples` [T] at 16 kHz."""
    return extract_features(_ear(name), samples)


def extract_features(
    ear: Encoder, samples: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """As `features`, with an encoder that stands ready."""
    ear.reset()
    frames = ear.push(AudioChunk(samples, SAMPLE_RATE, 0))
    values = np.stack([frame.values for frame in frames])
    return values, np.array([frame.center_ns for frame in frames], np.int64) / NS_PER_S
