"""Closed-form steps after training: ridge regression as a net, blending of nets, variance matching."""

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES, AudioToMouthNet
from splatface.models.errors import HeadError
from splatface.models.training.audio_to_mouth.encoded_clips import Clips, delay_modes
from splatface.models.training.audio_to_mouth.predictors import predict_frames
from splatface.models.typing import Float32Array

__all__ = ["blend_nets", "opening_correlation", "ridge_net", "scale_outputs", "variance_gains"]

_WINDOW = 5  # frames
_EVERY, _BLOCK = 3, 8000  # neighboring frames say the same; so many are looked at together
_FRAME_MS = 20.0


def ridge_net(clips: Clips, lookahead: int, *, strength: float = 0.2) -> AudioToMouthNet:
    """Ridge regression from five frames of an encoder to the mouth modes.

    Args:
        clips: the mouth at the center of each frame.
        lookahead: frames of 20 ms that the newest of the five stands after the mouth, 0 .. 4.
        strength: of the ridge, against features of variance 1.
    """
    sample = clips.values[:: max(len(clips.values) // 20000, 1)].astype(np.float32)
    mean, std = sample.mean(axis=0), sample.std(axis=0) + np.float32(1e-2)
    at = _moments(clips, lookahead)
    bias = clips.modes[at].mean(axis=0)
    dims = _WINDOW * len(mean)
    square, product = np.zeros((dims, dims)), np.zeros((dims, len(bias)))
    for first in range(0, len(at), _BLOCK):
        block = at[first : first + _BLOCK]
        steps = [clips.values[block + lookahead - _WINDOW + 1 + k] for k in range(_WINDOW)]
        x = np.concatenate([(step.astype(np.float32) - mean) / std for step in steps], axis=1)
        square += x.T @ x
        product += x.T @ (clips.modes[block] - bias)
    weights = np.linalg.solve(square + strength * len(at) * np.eye(dims), product)
    return _as_net(clips.encoder, lookahead, (mean, std), weights.astype(np.float32), bias)


def _moments(clips: Clips, lookahead: int) -> NDArray[np.int64]:
    """Frames whose window lies within their clip."""
    spans = zip(clips.starts[:-1], clips.starts[1:], strict=True)
    moments: NDArray[np.int64] = np.concatenate(
        [np.arange(a + _WINDOW, b - lookahead, _EVERY) for a, b in spans]
    )
    known: NDArray[np.int64] = moments[clips.known_frames()[moments]]
    return known


def _as_net(
    encoder: str,
    lookahead: int,
    scale: tuple[Float32Array, Float32Array],
    weights: Float32Array,
    bias: Float32Array,
) -> AudioToMouthNet:
    modes = len(MOUTH_MODES)
    used = np.flatnonzero(np.abs(weights).max(axis=0) > 0)
    taps = weights.reshape(_WINDOW, -1, modes)[:, :, used]  # [W, D, used]
    count = len(used)
    project = np.concatenate(list(taps), axis=1)  # [D, W * used]: every frame is asked for every tap
    gather = np.zeros((_WINDOW, _WINDOW, count, count), np.float32)
    gather[np.arange(_WINDOW), np.arange(_WINDOW)] = np.eye(count)  # and only its own tap is taken
    summed = gather.reshape(_WINDOW * _WINDOW * count, count)
    out = np.zeros((count, modes), np.float32)
    out[np.arange(count), used] = 1
    return AudioToMouthNet(
        encoder=encoder,
        lookahead_ms=_FRAME_MS * lookahead,
        mean=scale[0],
        std=scale[1],
        project=np.ascontiguousarray(project),
        w1=np.concatenate([summed, -summed], axis=1),
        b1=np.zeros(2 * count, np.float32),
        w2=np.concatenate([out, -out]),
        b2=bias.astype(np.float32),
    )


def blend_nets(one: AudioToMouthNet, other: AudioToMouthNet, share: float = 0.5) -> AudioToMouthNet:
    """One net that answers share * (what `one` answers) + (1 - share) * (what `other` answers).

    Args:
        one: its convolutions go on as they are.
        other: has none.
        share: of `one`.

    Raises HeadError unless both hear by the same encoder and with the same look-ahead, and `other` has no
    convolutions.
    """
    if (one.encoder, one.lookahead_ms, one.outputs) != (other.encoder, other.lookahead_ms, other.outputs):
        raise HeadError(
            f"blend: expected two nets of encoder {one.encoder} with {one.lookahead_ms:g} ms of look-ahead, "
            f"found {other.encoder} with {other.lookahead_ms:g} ms: train both alike"
        )
    if other.convs:
        raise HeadError(
            "blend: expected a second net without convolutions: swap the two, or use a regression"
        )
    window = max(one.context_frames, other.context_frames)
    # The other's features, from features in the scale of the first.
    turned = other.project * (one.std / other.std)[:, None]
    offset = ((one.mean - other.mean) / other.std) @ other.project
    first, second = (_taps(net, window) for net in (one, other))
    second_bias = other.b1 + np.einsum("p,kph->h", offset, _taps(other, other.context_frames))
    shape = (window, first.shape[1] + second.shape[1], first.shape[2] + second.shape[2])
    w1 = np.zeros(shape, np.float32)
    w1[:, : first.shape[1], : first.shape[2]] = first
    w1[:, first.shape[1] :, first.shape[2] :] = second
    return AudioToMouthNet(
        encoder=one.encoder,
        lookahead_ms=one.lookahead_ms,
        mean=one.mean,
        std=one.std,
        project=np.concatenate([one.project, turned], axis=1).astype(np.float32),
        w1=w1.reshape(-1, shape[2]),
        b1=np.concatenate([one.b1, second_bias]).astype(np.float32),
        w2=np.concatenate([share * one.w2, (1 - share) * other.w2]).astype(np.float32),
        b2=(share * one.b2 + (1 - share) * other.b2).astype(np.float32),
        convs=one.convs,
    )


def _taps(net: AudioToMouthNet, window: int) -> Float32Array:
    """[window, P, H]: what each frame adds to the hidden layer, older frames than the net's own nothing."""
    taps = net.w1.reshape(net.context_frames, net.width, -1)
    return np.pad(taps, ((window - net.context_frames, 0), (0, 0), (0, 0)))


_GAINS = (1.0, 1.3)
# Robotic voices, which are what there is to spare, are heard more muted than natural ones: half the way (in
# decibels) leaves both near their amplitude, the whole way makes natural voices shout.
_SHARE = 0.5
_MOVES = 0.02
_OPEN = MOUTH_MODES.index("open")


def variance_gains(net: AudioToMouthNet, clips: Clips) -> NDArray[np.float32]:
    """Gains [n] towards the spread of the truth, mode by mode, on clips of voices the net was not trained on.

    1 for a mode that does not move; never above 1.3, where noise would be heard as speech.
    """
    heard, true = _spoken(net, clips)
    spread_heard, spread_true = heard.std(axis=0), true.std(axis=0)
    gains = np.where(spread_true > _MOVES, spread_true / np.maximum(spread_heard, 1e-3), 1.0)
    limited: NDArray[np.float32] = np.clip(gains**_SHARE, *_GAINS).astype(np.float32)
    return limited


def opening_correlation(net: AudioToMouthNet, clips: Clips) -> float:
    """Correlation of the opening heard with the true one, where someone speaks."""
    heard, true = _spoken(net, clips)
    return float(np.corrcoef(heard[:, _OPEN], true[:, _OPEN])[0, 1])


def _spoken(net: AudioToMouthNet, clips: Clips) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Modes heard and true [F, n] of the clips in which someone speaks."""
    clips = delay_modes(clips, round(net.lookahead_ms / _FRAME_MS))
    heard, true = [], []
    for start, end in zip(clips.starts[:-1], clips.starts[1:], strict=True):
        if clips.modes[start:end].any():
            heard.append(predict_frames(net, clips.values[start:end].astype(np.float32)))
            true.append(clips.modes[start:end])
    return np.concatenate(heard), np.concatenate(true)


def scale_outputs(net: AudioToMouthNet, gain: ArrayLike, bias: ArrayLike = 0.0) -> AudioToMouthNet:
    """The net whose every answer is gain * (what `net` answers) + bias, at no cost when it listens.

    Args:
        net: left as it is.
        gain: one number or [n], n = net.outputs: above 1 articulates more strongly; >= 0.
        bias: one number or [n]: where the mouth rests.

    Raises:
        HeadError: other shapes, negative gains, numbers that are not finite.
    """
    scale, shift = (np.asarray(x, np.float32) for x in (gain, bias))
    for name, x in (("gain", scale), ("bias", shift)):
        if x.shape not in ((), (net.outputs,)) or not np.isfinite(x).all():
            raise HeadError(
                f"calibrate {name}: expected one finite number or {net.outputs}, found {list(x.shape)}: "
                "give one for every mode"
            )
    if (scale < 0).any():
        raise HeadError(
            f"calibrate gain: expected 0 or more, found {scale.min():g}: no mouth moves backwards"
        )
    return replace(
        net,
        w2=np.ascontiguousarray(net.w2 * scale, np.float32),
        b2=np.ascontiguousarray(net.b2 * scale + shift, np.float32),
    )
