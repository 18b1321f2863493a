# SPDX-License-Identifier: Apache-2.0
"""Predict the mouth from a recording: the nets with and without the voice gate, and the loudness baseline."""

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import numpy as np

from splatface.models.audio.offline_features import FeatureExtractor, encode_recording, extract_features
from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES, AudioToMouthNet
from splatface.models.audio2motion.mouth_inference import VoiceGate, predict_mouth
from splatface.models.messages import NS_PER_S, SAMPLE_RATE
from splatface.models.typing import Float32Array, Float64Array

__all__ = [
    "Predictor",
    "gated_predictor",
    "loudness_baseline",
    "net_predictor",
    "predict_frames",
    "predict_recording",
]


# samples [T] at 16 kHz -> (modes [F, n], their times [F] in s)
Predictor: TypeAlias = Callable[[Float32Array], tuple[Float32Array, Float64Array]]

_HOP_S = 0.02
_LOUDNESS_WINDOW_S = 1.0
_LOUDNESS_FLOOR_DB = -45.0
_LOUDNESS_RANGE_DB = 25.0
_MAX_OPENING = 0.6


def predict_recording(
    net: AudioToMouthNet, samples: Float32Array, extractor: FeatureExtractor = extract_features
) -> tuple[Float32Array, Float64Array]:
    """Predict modes [F, n] of a recording [T] at 16 kHz, without a voice gate, and their times [F] in s."""
    features = extractor(net.encoder, samples)
    return predict_frames(net, features.values), features.times_s - net.lookahead_ms / 1000


def predict_frames(net: AudioToMouthNet, values: Float32Array) -> Float32Array:
    """Apply `net(window)` to the window that ends at each frame of values [F, D], in one batch: [F, n]."""
    # As in the live graph, the first frame is repeated before the beginning.
    padded = np.concatenate([np.repeat(values[:1], net.window - 1, axis=0), values])[:, : net.feature_dim]
    windows = np.lib.stride_tricks.sliding_window_view(net.hidden_input(padded), net.context_frames, axis=0)
    return net.forward_hidden(windows.transpose(0, 2, 1).reshape(len(values), -1)).astype(np.float32)


def net_predictor(net: AudioToMouthNet, extractor: FeatureExtractor = extract_features) -> Predictor:
    """Return `predict_recording` with a net."""
    return partial(predict_recording, net, extractor=extractor)


def gated_predictor(net: AudioToMouthNet) -> Predictor:
    """Return the net behind the voice gate, evaluated frame by frame as in a running face."""

    def predict(samples: Float32Array) -> tuple[Float32Array, Float64Array]:
        frames = encode_recording(net.encoder, samples)
        times_ns = [frame.center_ns - round(net.lookahead_ms * 1e6) for frame in frames]
        modes = [predict_mouth(net, frames, VoiceGate(), time_ns) for time_ns in times_ns]
        return np.stack(modes), np.array(times_ns, np.int64) / NS_PER_S

    return predict


def loudness_baseline(samples: Float32Array) -> tuple[Float32Array, Float64Array]:
    """Open the mouth by loudness relative to the loudest of the last second, as simple avatars do."""
    hop = round(_HOP_S * SAMPLE_RATE)
    power = np.square(samples[: len(samples) // hop * hop].reshape(-1, hop)).mean(axis=1)
    level = np.convolve(np.pad(10 * np.log10(power + 1e-9), 1, "edge"), np.ones(3) / 3, "valid")
    window = round(_LOUDNESS_WINDOW_S / _HOP_S)
    past = np.lib.stride_tricks.sliding_window_view(np.pad(level, (window - 1, 0), "edge"), window)
    loudest = np.maximum(past.max(axis=1), _LOUDNESS_FLOOR_DB)
    modes = np.zeros((len(level), len(MOUTH_MODES)), np.float32)
    opening = np.clip((level - loudest) / _LOUDNESS_RANGE_DB + 1, 0, 1)
    modes[:, MOUTH_MODES.index("open")] = _MAX_OPENING * opening
    return modes, np.arange(0.5, len(level)) * _HOP_S
