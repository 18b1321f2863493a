# SPDX-License-Identifier: Apache-2.0
"""Closed-form steps after training: ridge regression as a net, blending of nets, variance matching.

A net trained on few voices overfits to them; a linear regression cannot. Their mean is better than either on
unseen voices, and because gelu(x) - gelu(-x) = x one AudioToMouthNet represents both exactly.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES, AudioToMouthNet
from splatface.models.errors import HeadError
from splatface.models.training.audio_to_mouth.encoded_clips import Clips, delay_modes
from splatface.models.training.audio_to_mouth.predictors import predict_frames
from splatface.models.typing import Float32Array, Int64Array

__all__ = ["blend_nets", "opening_correlation", "ridge_net", "scale_outputs", "variance_gains"]

_FRAME_MS = 20.0
_RIDGE_WINDOW = 5  # frames
_FRAME_STRIDE = 3  # neighboring frames are nearly equal
_BLOCK_FRAMES = 8000  # in memory at once
_MIN_STD = 0.02  # of a mode; below, it does not move
_GAIN_RANGE = (1.0, 1.3)
# Nets mute robotic voices, of which validation has most, more than natural ones: half of the correction (in
# decibels) leaves both near their amplitude, all of it makes natural voices open too far.
_GAIN_EXPONENT = 0.5
_OPEN = MOUTH_MODES.index("open")


def ridge_net(clips: Clips, lookahead_frames: int, *, ridge: float = 0.2) -> AudioToMouthNet:
    """Fit a ridge regression from five frames of an encoder to the mouth modes.

    Args:
        clips: the mouth at the center of each frame.
        lookahead_frames: of 20 ms, from the mouth to the newest of the five, 0 .. 4.
        ridge: penalty, relative to features of variance 1.
    """
    sample = clips.values[:: max(len(clips.values) // 20000, 1)].astype(np.float32)
    mean, std = sample.mean(axis=0), sample.std(axis=0) + np.float32(1e-2)
    frames = _regression_frames(clips, lookahead_frames)
    bias = clips.modes[frames].mean(axis=0)
    dims = _RIDGE_WINDOW * len(mean)
    gram, product = np.zeros((dims, dims)), np.zeros((dims, len(bias)))
    for first in range(0, len(frames), _BLOCK_FRAMES):
        block = frames[first : first + _BLOCK_FRAMES]
        taps = [clips.values[block + lookahead_frames - _RIDGE_WINDOW + 1 + k] for k in range(_RIDGE_WINDOW)]
        x = np.concatenate([(tap.astype(np.float32) - mean) / std for tap in taps], axis=1)
        gram += x.T @ x
        product += x.T @ (clips.modes[block] - bias)
    weights = np.linalg.solve(gram + ridge * len(frames) * np.eye(dims), product)
    net = _net_from_regression(weights.astype(np.float32))
    return replace(
        net,
        encoder=clips.encoder,
        lookahead_ms=_FRAME_MS * lookahead_frames,
        mean=mean,
        std=std,
        b2=bias.astype(np.float32),
    )


def _regression_frames(clips: Clips, lookahead_frames: int) -> Int64Array:
    """Return the frames with a known mouth whose window is within their clip."""
    spans = zip(clips.starts[:-1], clips.starts[1:], strict=True)
    frames = np.concatenate(
        [np.arange(a + _RIDGE_WINDOW, b - lookahead_frames, _FRAME_STRIDE) for a, b in spans]
    )
    known: Int64Array = frames[clips.known_frames()[frames]]
    return known


def _net_from_regression(weights: Float32Array) -> AudioToMouthNet:
    """Write regression weights [W * D, n] as a net of unscaled features without bias."""
    modes = len(MOUTH_MODES)
    used = np.flatnonzero(np.abs(weights).max(axis=0) > 0)
    taps = weights.reshape(_RIDGE_WINDOW, -1, modes)[:, :, used]  # [W, D, used]
    dims, count = taps.shape[1], len(used)
    project = np.concatenate(list(taps), axis=1)  # [D, W * used]: every frame with every tap's weights
    select = np.zeros((_RIDGE_WINDOW, _RIDGE_WINDOW, count, count), np.float32)
    select[np.arange(_RIDGE_WINDOW), np.arange(_RIDGE_WINDOW)] = np.eye(count)  # and only its own tap is used
    total = select.reshape(_RIDGE_WINDOW * _RIDGE_WINDOW * count, count)
    output = np.zeros((count, modes), np.float32)
    output[np.arange(count), used] = 1
    return AudioToMouthNet(
        encoder="",
        lookahead_ms=0.0,
        mean=np.zeros(dims, np.float32),
        std=np.ones(dims, np.float32),
        project=np.ascontiguousarray(project),
        w1=np.concatenate([total, -total], axis=1),
        b1=np.zeros(2 * count, np.float32),
        w2=np.concatenate([output, -output]),
        b2=np.zeros(modes, np.float32),
    )


def blend_nets(first: AudioToMouthNet, second: AudioToMouthNet, weight: float = 0.5) -> AudioToMouthNet:
    """Make one net whose output is weight * first + (1 - weight) * second.

    Args:
        first: its convolutions are kept.
        second: without convolutions.
        weight: of `first`.

    Raises:
        HeadError: the nets differ in encoder or look-ahead, or `second` has convolutions.
    """
    if (first.encoder, first.lookahead_ms, first.outputs) != (
        second.encoder,
        second.lookahead_ms,
        second.outputs,
    ):
        raise HeadError(
            f"blend: expected two nets of encoder {first.encoder} with {first.lookahead_ms:g} ms of "
            f"look-ahead, found {second.encoder} with {second.lookahead_ms:g} ms: train both alike"
        )
    if second.convs:
        raise HeadError(
            "blend: expected a second net without convolutions: swap the two, or use a regression"
        )
    window = max(first.context_frames, second.context_frames)
    # The second's projection, from features normalized as the first net does.
    project = second.project * (first.std / second.std)[:, None]
    offset = ((first.mean - second.mean) / second.std) @ second.project
    taps = [_hidden_taps(net, window) for net in (first, second)]
    second_b1 = second.b1 + np.einsum("p,kph->h", offset, _hidden_taps(second, second.context_frames))
    (_, width, hidden), (_, second_width, second_hidden) = taps[0].shape, taps[1].shape
    w1 = np.zeros((window, width + second_width, hidden + second_hidden), np.float32)
    w1[:, :width, :hidden] = taps[0]
    w1[:, width:, hidden:] = taps[1]
    return AudioToMouthNet(
        encoder=first.encoder,
        lookahead_ms=first.lookahead_ms,
        mean=first.mean,
        std=first.std,
        project=np.concatenate([first.project, project], axis=1).astype(np.float32),
        w1=w1.reshape(-1, w1.shape[2]),
        b1=np.concatenate([first.b1, second_b1]).astype(np.float32),
        w2=np.concatenate([weight * first.w2, (1 - weight) * second.w2]).astype(np.float32),
        b2=(weight * first.b2 + (1 - weight) * second.b2).astype(np.float32),
        convs=first.convs,
    )


def _hidden_taps(net: AudioToMouthNet, window: int) -> Float32Array:
    """Return the hidden layer's weights by frame [window, P, H], zero for frames older than the net's own."""
    taps = net.w1.reshape(net.context_frames, net.width, -1)
    return np.pad(taps, ((window - net.context_frames, 0), (0, 0), (0, 0)))


def variance_gains(net: AudioToMouthNet, clips: Clips) -> Float32Array:
    """Compute gains [n] towards the target's standard deviation, on clips of voices not trained on.

    1 for a mode that does not move; never above 1.3, where noise would look like speech.
    """
    predicted, target = _predict_speech(net, clips)
    predicted_std, target_std = predicted.std(axis=0), target.std(axis=0)
    gains = np.where(target_std > _MIN_STD, target_std / np.maximum(predicted_std, 1e-3), 1.0)
    limited: Float32Array = np.clip(gains**_GAIN_EXPONENT, *_GAIN_RANGE).astype(np.float32)
    return limited


def opening_correlation(net: AudioToMouthNet, clips: Clips) -> float:
    """Compute the correlation of the predicted opening with the target, where someone speaks."""
    predicted, target = _predict_speech(net, clips)
    return float(np.corrcoef(predicted[:, _OPEN], target[:, _OPEN])[0, 1])


def _predict_speech(net: AudioToMouthNet, clips: Clips) -> tuple[Float32Array, Float32Array]:
    """Return predicted and target modes [F, n] of the clips in which someone speaks."""
    clips = delay_modes(clips, round(net.lookahead_ms / _FRAME_MS))
    predicted, target = [], []
    for start, end in zip(clips.starts[:-1], clips.starts[1:], strict=True):
        if clips.modes[start:end].any():
            predicted.append(predict_frames(net, clips.values[start:end].astype(np.float32)))
            target.append(clips.modes[start:end])
    return np.concatenate(predicted), np.concatenate(target)


def scale_outputs(net: AudioToMouthNet, gain: ArrayLike, bias: ArrayLike = 0.0) -> AudioToMouthNet:
    """Fold a gain and a bias for every mode into the last layer: gain * net(window) + bias.

    Args:
        net: left as it is.
        gain: one number or [n], n = net.outputs, >= 0: above 1 articulates more strongly.
        bias: one number or [n].

    Raises:
        HeadError: other shapes, negative gains, numbers that are not finite.
    """
    scale, offset = (np.asarray(x, np.float32) for x in (gain, bias))
    for name, x in (("gain", scale), ("bias", offset)):
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
        b2=np.ascontiguousarray(net.b2 * scale + offset, np.float32),
    )
