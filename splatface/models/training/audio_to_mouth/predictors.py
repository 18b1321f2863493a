"""Anything that turns sound into a mouth, as a plain function: the nets and what they must beat."""

from collections.abc import Callable
from functools import partial

import numpy as np

from splatface.models.audio.encoder import encoder
from splatface.models.audio.offline_features import FeatureExtractor, features
from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES, AudioToMouthNet
from splatface.models.audio2motion.mouth_inference import VoiceGate, predict_mouth
from splatface.models.messages import NS_PER_S, SAMPLE_RATE, AudioChunk
from splatface.models.typing import Float32Array, Float64Array

__all__ = [
    "FeatureExtractor",
    "Predictor",
    "gated_predictor",
    "loudness_baseline",
    "net_predictor",
    "predict_frames",
    "predict_recording",
]


Predictor = Callable[
    [Float32Array], tuple[Float32Array, Float64Array]
]  # samples -> (modes [F, n], their times in s)

_HOP_S, _LEVEL_MEMORY_S = 0.02, 1.0


def predict_recording(
    net: AudioToMouthNet, samples: Float32Array, ear: FeatureExtractor = features
) -> tuple[Float32Array, Float64Array]:
    """Modes [F, n] that the net hears in a recording [T] at 16 kHz, and their times [F], s."""
    values, centers_s = ear(net.encoder, samples)
    return predict_frames(net, values), centers_s - net.lookahead_ms / 1000


def predict_frames(net: AudioToMouthNet, values: Float32Array) -> Float32Array:
    """What `net(window)` says [F, n] of the window that ends at each frame of values [F, D], all at once."""
    # Before the first frame the graph repeats it.
    padded = np.concatenate([np.repeat(values[:1], net.window - 1, axis=0), values])[:, : net.feature_dim]
    windows = np.lib.stride_tricks.sliding_window_view(net.frames(padded), net.context_frames, axis=0)
    return net.forward_hidden(windows.transpose(0, 2, 1).reshape(len(values), -1)).astype(np.float32)


def net_predictor(net: AudioToMouthNet, ear: FeatureExtractor = features) -> Predictor:
    """The net, without a voice gate."""
    return partial(predict_recording, net, ear=ear)


def gated_predictor(net: AudioToMouthNet) -> Predictor:
    """The net behind the voice gate, frame by frame, as a running face asks it."""
    ear = encoder(net.encoder)

    def listen(samples: Float32Array) -> tuple[Float32Array, Float64Array]:
        ear.reset()
        frames = ear.push(AudioChunk(samples, SAMPLE_RATE, 0))
        times_ns = [frame.center_ns - round(net.lookahead_ms * 1e6) for frame in frames]
        modes = [predict_mouth(net, frames, VoiceGate(), time_ns) for time_ns in times_ns]
        return np.stack(modes), np.array(times_ns, np.int64) / NS_PER_S

    return listen


def loudness_baseline(samples: Float32Array) -> tuple[Float32Array, Float64Array]:
    """The mouth of puppets and avatars: opens by loudness against the loudest of the last second."""
    hop = round(_HOP_S * SAMPLE_RATE)
    power = np.square(samples[: len(samples) // hop * hop].reshape(-1, hop)).mean(axis=1)
    level = np.convolve(np.pad(10 * np.log10(power + 1e-9), 1, "edge"), np.ones(3) / 3, "valid")
    memory = round(_LEVEL_MEMORY_S / _HOP_S)
    past = np.lib.stride_tricks.sliding_window_view(np.pad(level, (memory - 1, 0), "edge"), memory)
    loudest = np.maximum(past.max(axis=1), -45.0)
    modes = np.zeros((len(level), len(MOUTH_MODES)), np.float32)
    modes[:, MOUTH_MODES.index("open")] = 0.6 * np.clip((level - loudest) / 25 + 1, 0, 1)
    return modes, np.arange(0.5, len(level)) * _HOP_S
