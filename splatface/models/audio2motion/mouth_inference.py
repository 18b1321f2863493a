# SPDX-License-Identifier: Apache-2.0
"""Mouth coefficients at a time: features resampled by time, and a gate that closes the mouth in silence."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio2motion.audio_to_mouth import FRAME_NS, AudioToMouthNet
from splatface.models.errors import HeadError
from splatface.models.messages import AudioFrame
from splatface.models.typing import Float32Array

__all__ = [
    "ALWAYS_OPEN",
    "VoiceGate",
    "gate_openness",
    "predict_mouth",
    "receptive_field_ns",
    "resample_window",
]


_NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceGate:
    """Envelope by which a frame of voice lets the mouth move.

    hold + release is 150 ms: after this time without voice, or after an interruption of the stream, the mouth
    is at rest.
    """

    closed_below: float = 0.15  # voice probability
    open_above: float = 0.45
    attack_ms: float = 30.0
    hold_ms: float = 60.0
    release_ms: float = 90.0


# For encoders without voice probability; the mouth still rests when the stream ends.
ALWAYS_OPEN = VoiceGate(closed_below=-1.0, open_above=-0.5)


def resample_window(
    values: Float32Array, centers_ns: NDArray[np.int64], newest_ns: int, window: int
) -> Float32Array:
    """Resample feature frames every 20 ms up to `newest_ns`: [W, D], oldest first.

    Args:
        values: [F, D] feature frames, F >= 1.
        centers_ns: [F] their centers, increasing.
        newest_ns: time of the last row.
        window: W.

    Between two frames the features are interpolated linearly, before the first and after the last they are
    constant: so any image rate is possible and nothing is counted by index.
    """
    # Differences in integers: float64 cannot hold today's ROS time to the nanosecond.
    targets = np.arange(1 - window, 1, dtype=np.int64) * FRAME_NS + (newest_ns - centers_ns[0])
    known = centers_ns - centers_ns[0]
    after = np.clip(np.searchsorted(known, targets, side="right"), 1, max(len(known) - 1, 1))
    after = np.minimum(after, len(known) - 1)
    before = np.maximum(after - 1, 0)
    span = np.maximum(known[after] - known[before], 1)
    weight = np.clip((targets - known[before]) / span, 0.0, 1.0).astype(np.float32)[:, None]
    resampled: Float32Array = values[before] * (1 - weight) + values[after] * weight
    return resampled


def gate_openness(
    gate: VoiceGate, probabilities: Float32Array, centers_ns: NDArray[np.int64], time_ns: int
) -> float:
    """Return 0 (mouth at rest) .. 1 (free) at `time_ns`, from the frames [F] before it.

    The maximum over the frames of voice times envelope, which rises over `attack`, holds, and falls over
    `release`: causal, continuous in time, and a function of the last 150 ms alone.
    """
    age_ms = (time_ns - centers_ns) / _NS_PER_MS
    rise = age_ms / gate.attack_ms
    fall = (gate.hold_ms + gate.release_ms - age_ms) / gate.release_ms
    envelope = np.clip(np.minimum(rise, fall), 0.0, 1.0)
    voice = np.clip((probabilities - gate.closed_below) / (gate.open_above - gate.closed_below), 0.0, 1.0)
    openness = float(np.max(envelope * voice, initial=0.0))
    return openness * openness * (3 - 2 * openness)  # smoothstep


def receptive_field_ns(net: AudioToMouthNet, gate: VoiceGate) -> int:
    """Return the time before an image from which its frames are needed; older ones have no effect."""
    window_ns = net.window * FRAME_NS - net.lookahead_ms * _NS_PER_MS
    return round(max(window_ns, (gate.hold_ms + gate.release_ms) * _NS_PER_MS)) + FRAME_NS


def predict_mouth(
    net: AudioToMouthNet, frames: Sequence[AudioFrame], gate: VoiceGate, time_ns: int
) -> Float32Array:
    """Return the coefficients [n] at `time_ns` from the frames around it (in order); zeros without frames.

    Of frames later than the network's look-ahead only the next is used, for the interpolation: an image at a
    frame's own time minus the look-ahead needs no later audio at all. Encoders grow at the end: a network
    trained on fewer features uses the first ones.
    """
    newest_ns = time_ns + round(net.lookahead_ms * _NS_PER_MS)
    oldest_ns = time_ns - receptive_field_ns(net, gate)
    near = [frame for frame in frames if oldest_ns <= frame.center_ns < newest_ns + FRAME_NS]
    if not near:
        return np.zeros(net.outputs, np.float32)
    _check_frames(net, near)
    centers_ns = np.array([frame.center_ns for frame in near], np.int64)
    voice = np.array([frame.voice_probability for frame in near], np.float32)
    openness = gate_openness(gate, voice, centers_ns, newest_ns)
    if openness == 0.0:
        return np.zeros(net.outputs, np.float32)
    values = np.stack([frame.values[: net.feature_dim] for frame in near])
    window = resample_window(values, centers_ns, newest_ns, net.window)
    coefficients: Float32Array = net(window) * np.float32(openness)
    # A frame with non-finite values counts as silence.
    return coefficients if np.isfinite(coefficients).all() else np.zeros(net.outputs, np.float32)


def _check_frames(net: AudioToMouthNet, frames: Sequence[AudioFrame]) -> None:
    for frame in frames:
        if frame.encoder != net.encoder or len(frame.values) < net.feature_dim:
            raise HeadError(
                f"audio features: expected encoder '{net.encoder}' ({net.feature_dim}-d), found "
                f"'{frame.encoder}' ({len(frame.values)}-d): start the graph with encoder:={net.encoder}"
            )
