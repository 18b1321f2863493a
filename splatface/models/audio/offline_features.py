# SPDX-License-Identifier: Apache-2.0
"""Run a whole recording through a streaming encoder."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import numpy as np

from splatface.models.audio.encoder import Encoder, encoder
from splatface.models.messages import NS_PER_S, SAMPLE_RATE, AudioChunk, AudioFrame
from splatface.models.typing import Float32Array, Float64Array

__all__ = ["FeatureExtractor", "RecordingFeatures", "encode_recording", "extract_features"]


@dataclass(frozen=True, slots=True, eq=False)
class RecordingFeatures:
    """Feature frames of one recording, 20 ms apart."""

    values: Float32Array  # [F, D]
    times_s: Float64Array  # [F] centers of the frames, s from the first sample
    voice_probability: Float32Array  # [F] 0..1


# (name of the encoder, samples [T] at 16 kHz) -> features
FeatureExtractor: TypeAlias = Callable[[str, Float32Array], RecordingFeatures]


def extract_features(
    encoder: str | Encoder, samples: Float32Array, *, silence_after_s: float = 0.0
) -> RecordingFeatures:
    """Compute the feature frames of a recording as a live stream would.

    Args:
        encoder: an encoder, which is reset, or the name of one, which stays loaded for the next call.
        samples: [T] mono at 16 kHz.
        silence_after_s: silence appended, which the last frames need as look-ahead.

    Raises:
        EncoderError: the encoder is unknown or not installed.
        ValueError: the recording is too short for a single frame.
    """
    frames = encode_recording(encoder, samples, silence_after_s=silence_after_s)
    return RecordingFeatures(
        values=np.stack([frame.values for frame in frames]),
        times_s=np.array([frame.center_ns for frame in frames], np.int64) / NS_PER_S,
        voice_probability=np.array([frame.voice_probability for frame in frames], np.float32),
    )


def encode_recording(
    encoder: str | Encoder, samples: Float32Array, *, start_ns: int = 0, silence_after_s: float = 0.0
) -> list[AudioFrame]:
    """Return the frames that a streaming encoder emits for a recording, in order of time.

    Args:
        encoder: an encoder, which is reset, or the name of one, which stays loaded for the next call.
        samples: [T] mono at 16 kHz.
        start_ns: time of the first sample.
        silence_after_s: silence appended, which the last frames need as look-ahead.

    Raises:
        EncoderError: the encoder is unknown or not installed.
    """
    stream = _shared_encoder(encoder) if isinstance(encoder, str) else encoder
    stream.reset()
    padded = np.pad(samples, (0, round(silence_after_s * SAMPLE_RATE)))
    return stream.push(AudioChunk(padded, SAMPLE_RATE, start_ns))


@cache
def _shared_encoder(name: str) -> Encoder:
    """Load an encoder once a process: loading its network takes longer than encoding a sentence."""
    return encoder(name)
