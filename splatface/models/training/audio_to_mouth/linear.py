"""Linear regression as a net, and two nets as one: a second opinion against knowing the voices by heart.

A net trained on few voices learns them by heart; a regression cannot. Their mean is better than either on
strangers, and because gelu(x) - gelu(-x) = x a CoefficientNet holds both exactly.
"""

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES, AudioToMouthNet
from splatface.models.errors import HeadError
from splatface.models.training.audio_to_mouth.dataset import Clips
from splatface.models.typing import Float32Array

__all__ = ["blend", "linear_net"]


_WINDOW = 5  # frames
_EVERY, _BLOCK = 3, 8000  # neighboring frames say the same; so many are looked at together
_FRAME_MS = 20.0


def linear_net(clips: Clips, lookahead: int, *, strength: float = 0.2) -> AudioToMouthNet:
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


def blend(one: AudioToMouthNet, other: AudioToMouthNet, share: float = 0.5) -> AudioToMouthNet:
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
