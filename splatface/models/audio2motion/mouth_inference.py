"""What a net hears at a time: features sampled by time, and a gate that closes the mouth in silence."""

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


NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceGate:
    """How long and how strongly one frame of voice lets the mouth move.

    hold + release is 150 ms: so soon after the last frame of voice, or after the stream was cut off
    by an interruption, the mouth is at rest.
    """

    closed_below: float = 0.15  # voice probability
    open_above: float = 0.45
    attack_ms: float = 30.0
    hold_ms: float = 60.0
    release_ms: float = 90.0


# For encoders whose frames carry no voice probability; the mouth still rests when the stream ends.
ALWAYS_OPEN = VoiceGate(closed_below=-1.0, open_above=-0.5)


def resample_window(
    values: Float32Array, centers_ns: NDArray[np.int64], newest_ns: int, window: int
) -> Float32Array:
    """Sample feature frames every 20 ms up to `newest_ns`: [W, D], oldest first.

    Args:
        values: [F, D] feature frames, F >= 1.
        centers_ns: [F] their centers, rising.
        newest_ns: time of the last row.
        window: W.

    Between two frames the features are interpolated linearly, before the first and after the last
    they stand still: so the rate of pictures is free and nothing is counted by index.
    """
    # Differences in integers: float64 cannot hold today's ROS time to the nanosecond.
    wanted = np.arange(1 - window, 1, dtype=np.int64) * FRAME_NS + (newest_ns - centers_ns[0])
    known = centers_ns - centers_ns[0]
    after = np.clip(np.searchsorted(known, wanted, side="right"), 1, max(len(known) - 1, 1))
    after = np.minimum(after, len(known) - 1)
    before = np.maximum(after - 1, 0)
    span = np.maximum(known[after] - known[before], 1)
    share = np.clip((wanted - known[before]) / span, 0.0, 1.0).astype(np.float32)[:, None]
    sampled: Float32Array = values[before] * (1 - share) + values[after] * share
    return sampled


def gate_openness(
    gate: VoiceGate, probabilities: Float32Array, centers_ns: NDArray[np.int64], time_ns: int
) -> float:
    """0 (mouth at rest) .. 1 (free) at `time_ns`, from frames [F] that lie before it.

    The largest of all frames' voice, each rising over `attack`, held, and falling over `release`:
    causal, continuous in time, and a function of the last 150 ms alone.
    """
    age_ms = (time_ns - centers_ns) / NS_PER_MS
    rise = age_ms / gate.attack_ms
    fall = (gate.hold_ms + gate.release_ms - age_ms) / gate.release_ms
    share = np.clip(np.minimum(rise, fall), 0.0, 1.0)
    voice = np.clip((probabilities - gate.closed_below) / (gate.open_above - gate.closed_below), 0.0, 1.0)
    openness = float(np.max(share * voice, initial=0.0))
    return openness * openness * (3 - 2 * openness)  # smoothstep: no jerk at either end


def receptive_field_ns(net: AudioToMouthNet, gate: VoiceGate) -> int:
    """How far before a picture's time its frames are needed; older ones change nothing."""
    heard = net.window * FRAME_NS - net.lookahead_ms * NS_PER_MS
    return round(max(heard, (gate.hold_ms + gate.release_ms) * NS_PER_MS)) + FRAME_NS


def predict_mouth(
    net: AudioToMouthNet, frames: Sequence[AudioFrame], gate: VoiceGate, time_ns: int
) -> Float32Array:
    """Coefficients [n] at `time_ns` from the frames around it (rising in time); zeros where there are none.

    Of frames later than the net's look-ahead only the next is used, as the other end of the
    interpolation: a picture at a frame's own time minus the look-ahead needs no later sound at all.
    Encoders grow at the end: a net that knows fewer features than they give takes the first ones.
    """
    newest_ns = time_ns + round(net.lookahead_ms * NS_PER_MS)
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
    heard: Float32Array = net(resample_window(values, centers_ns, newest_ns, net.window)) * np.float32(
        openness
    )
    # One broken frame must not take the face away: it counts as silence.
    return heard if np.isfinite(heard).all() else np.zeros(net.outputs, np.float32)


def _check_frames(net: AudioToMouthNet, frames: Sequence[AudioFrame]) -> None:
    for frame in frames:
        if frame.encoder != net.encoder or len(frame.values) < net.feature_dim:
            raise HeadError(
                f"audio features: expected encoder '{net.encoder}' ({net.feature_dim}-d), found "
                f"'{frame.encoder}' ({len(frame.values)}-d): start the graph with encoder:={net.encoder}"
            )
