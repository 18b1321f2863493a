# SPDX-License-Identifier: Apache-2.0
"""Network from a window of audio features to mouth coefficients, in plain numpy."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from splatface.models.array_checks import expect, expect_range
from splatface.models.errors import HeadError
from splatface.models.typing import AnyArray, Float32Array

__all__ = [
    "CONTROLS",
    "CONTROL_RANGES",
    "FRAME_NS",
    "GELU_CUBIC",
    "GELU_SCALE",
    "MOUTH_MODES",
    "AudioToMouthNet",
    "Convolution",
    "check_net",
    "gelu",
    "net_from_tensors",
    "net_to_tensors",
    "zero_net",
]

GELU_SCALE, GELU_CUBIC = math.sqrt(2 / math.pi), 0.044715


def gelu(x: AnyArray) -> AnyArray:
    """Return GELU in its tanh form (Hendrycks and Gimpel 2016), any shape, in the precision of x."""
    y: AnyArray = 0.5 * x * (1 + np.tanh(GELU_SCALE * (x + GELU_CUBIC * x * x * x)))
    return y


@dataclass(frozen=True, slots=True, eq=False)
class Convolution:
    """Causal convolution over time; needs k - 1 frames before the first.

    The first A values of a frame become B: gelu(bias + sum of weight[i]ᵀ x_i), i = 0 the oldest of k frames,
    and where A = B the newest frame's own values are added (the identity shortcut of He et al. 2016, eq. 1).
    Values beyond A are passed through.
    """

    weight: Float32Array  # [k, A, B]
    bias: Float32Array  # [B]

    @property
    def kernel(self) -> int:
        """Kernel size k, frames."""
        return len(self.weight)

    @property
    def added_channels(self) -> int:
        """Number of channels B - A that a frame gains."""
        return int(self.weight.shape[2] - self.weight.shape[1])

    def __call__(self, frames: Float32Array) -> Float32Array:
        """Convolve frames [F, P], P >= A and F >= k, to frames [F - k + 1, P - A + B]."""
        kernel, channels_in, channels_out = self.weight.shape
        taps = sliding_window_view(frames[:, :channels_in], kernel, axis=0).transpose(0, 2, 1)
        out = gelu(taps.reshape(-1, kernel * channels_in) @ self.weight.reshape(-1, channels_out) + self.bias)
        newest = frames[kernel - 1 :]
        if not self.added_channels:
            out += newest[:, :channels_in]
        return np.concatenate([out, newest[:, channels_in:]], axis=1)


MOUTH_MODES = ("open", "wide", "round", "press", "upper_lip", "lower_lip", "funnel", "smile")
CONTROL_RANGES = {  # 0 open .. 1 shut or full; eyes turn about 35 degrees (rad) before the head helps
    "blink_left": (0.0, 1.0),
    "blink_right": (0.0, 1.0),
    "gaze_yaw": (-0.6, 0.6),
    "gaze_pitch": (-0.6, 0.6),
    "brow_up": (0.0, 1.0),
    "brow_down": (0.0, 1.0),
    "smile": (0.0, 1.0),
    "jaw_side": (-1.0, 1.0),  # lips and jaw to the face's left; independent of the audio
}
CONTROLS = tuple(CONTROL_RANGES)
FRAME_NS = 20_000_000  # all encoders emit one feature frame per 20 ms


_TENSORS = ("mean", "std", "project", "w1", "b1", "w2", "b2")


@dataclass(frozen=True, slots=True, eq=False)
class AudioToMouthNet:
    """Network from the features of one encoder to the first n coefficients of a head (mouth modes first).

    `net(window)` = b2 + w2ᵀ gelu(b1 + w1ᵀ flatten(convs(((window - mean) / std) @ project))), GELU in its
    tanh form (torch: `nn.GELU(approximate="tanh")`), rows of the window oldest first and 20 ms apart.
    The newest row is `lookahead_ms` after the image's time.
    """

    encoder: str
    lookahead_ms: float  # center of the newest frame minus time of the image, >= 0
    mean: Float32Array  # [D]
    std: Float32Array  # [D], > 0
    project: Float32Array  # [D, P]
    w1: Float32Array  # [V * Q, H], V = W and Q = P without convolutions
    b1: Float32Array  # [H]
    w2: Float32Array  # [H, n]
    b2: Float32Array  # [n]
    convs: tuple[Convolution, ...] = ()  # one after the other

    @property
    def feature_dim(self) -> int:
        """Number of features D of a frame."""
        return len(self.mean)

    @property
    def window(self) -> int:
        """Number of frames W of the window."""
        return self.context_frames + sum(conv.kernel - 1 for conv in self.convs)

    @property
    def context_frames(self) -> int:
        """Number of frames V that the hidden layer uses."""
        return int(len(self.w1) // self.width)

    @property
    def width(self) -> int:
        """Number of values Q of a frame that the hidden layer uses."""
        return int(self.project.shape[1]) + sum(conv.added_channels for conv in self.convs)

    @property
    def outputs(self) -> int:
        """Number of coefficients n."""
        return len(self.b2)

    def __call__(self, window: Float32Array) -> Float32Array:
        """Return the coefficients [n], about 0..1, 0 at rest, of a window [W, D]."""
        return self.forward_hidden(self.hidden_input(window).reshape(-1))

    def hidden_input(self, values: Float32Array) -> Float32Array:
        """Return the hidden layer's input frames [F - W + V, Q] of features [F, D], F >= W."""
        frames: Float32Array = np.asarray(((values - self.mean) / self.std) @ self.project, np.float32)
        for conv in self.convs:
            frames = conv(frames)
        return frames

    def forward_hidden(self, frames: Float32Array) -> Float32Array:
        """Return the coefficients [..., n] of the hidden layer's input [..., V * Q], oldest frame first."""
        coefficients: Float32Array = gelu(frames @ self.w1 + self.b1) @ self.w2 + self.b2
        return coefficients


def zero_net(encoder: str, dim: int, *, window: int = 16, lookahead_ms: float = 0.0) -> AudioToMouthNet:
    """Return a network that keeps the mouth at rest for any audio: an initial one."""

    def zeros(*shape: int) -> Float32Array:
        return np.zeros(shape, np.float32)

    width, hidden, outputs = 32, 64, len(MOUTH_MODES)
    return AudioToMouthNet(
        encoder=encoder,
        lookahead_ms=lookahead_ms,
        mean=zeros(dim),
        std=np.ones(dim, np.float32),
        project=zeros(dim, width),
        w1=zeros(window * width, hidden),
        b1=zeros(hidden),
        w2=zeros(hidden, outputs),
        b2=zeros(outputs),
    )


def check_net(net: AudioToMouthNet) -> None:
    """Raise HeadError unless the net's tensors fit each other and hold finite numbers."""
    prefix = f"net.{net.encoder}."
    expect(prefix + "project", net.project, (net.feature_dim, None))
    width = _check_convolutions(net, prefix)
    if not width or not net.feature_dim or not len(net.w1) or len(net.w1) % width:
        raise HeadError(
            f"{prefix}w1: expected a multiple of {width} values a frame as first size, "
            f"found {list(net.w1.shape)}: train the head again"
        )
    hidden, outputs = len(net.b1), len(net.b2)
    expect(prefix + "mean", net.mean, (None,))
    expect(prefix + "std", net.std, (net.feature_dim,))
    expect_range(prefix + "std", net.std, 1e-9, np.inf)
    expect(prefix + "w1", net.w1, (None, hidden))
    expect(prefix + "b1", net.b1, (None,))
    expect(prefix + "w2", net.w2, (hidden, outputs))
    expect(prefix + "b2", net.b2, (None,))
    if not 0.0 <= net.lookahead_ms <= 1000.0:
        raise HeadError(
            f"{prefix}lookahead_ms: expected 0..1000 ms, found {net.lookahead_ms}: correct it in head.yaml"
        )


def _check_convolutions(net: AudioToMouthNet, prefix: str) -> int:
    """Check the convolutions; return the number of values of a frame after the last."""
    width = int(net.project.shape[1])
    for number, conv in enumerate(net.convs):
        expect(f"{prefix}conv{number}", conv.weight, (None, None, None))
        kernel, channels_in, channels_out = conv.weight.shape
        expect(f"{prefix}conv{number}_bias", conv.bias, (channels_out,))
        if not kernel or not 0 < channels_in <= width:
            raise HeadError(
                f"{prefix}conv{number}: expected [k, A, B] of at least one frame and at most {width} values, "
                f"found {list(conv.weight.shape)}: train the head again"
            )
        width += channels_out - channels_in
    return width


def net_to_tensors(net: AudioToMouthNet) -> dict[str, Float32Array]:
    """Return tensors named `net.<encoder>.<name>`, as in head.safetensors."""
    tensors = {f"net.{net.encoder}.{name}": getattr(net, name) for name in _TENSORS}
    for number, conv in enumerate(net.convs):
        weight, bias = _conv_names(net.encoder, number)
        tensors |= {weight: conv.weight, bias: conv.bias}
    return tensors


def net_from_tensors(
    encoder: str, lookahead_ms: float, tensors: Mapping[str, Float32Array]
) -> AudioToMouthNet:
    """Return the network of one encoder from named tensors; HeadError when one is missing or does not fit."""
    missing = [name for name in _TENSORS if f"net.{encoder}.{name}" not in tensors]
    if missing:
        raise HeadError(
            f"net.{encoder}: expected the tensors {', '.join(_TENSORS)}, found none called "
            f"{', '.join(missing)}: train the head again for this encoder"
        )
    parts = {name: tensors[f"net.{encoder}.{name}"] for name in _TENSORS}
    net = AudioToMouthNet(encoder=encoder, lookahead_ms=lookahead_ms, convs=_convs(encoder, tensors), **parts)
    check_net(net)
    return net


def _convs(encoder: str, tensors: Mapping[str, Float32Array]) -> tuple[Convolution, ...]:
    convs: list[Convolution] = []
    while (names := _conv_names(encoder, len(convs)))[0] in tensors:
        if names[1] not in tensors:
            raise HeadError(f"{names[0]}: expected {names[1]} beside it, found none: train the head again")
        convs.append(Convolution(*(tensors[name] for name in names)))
    return tuple(convs)


def _conv_names(encoder: str, number: int) -> tuple[str, str]:
    """Return the names of a convolution's tensors."""
    return f"net.{encoder}.conv{number}", f"net.{encoder}.conv{number}_bias"
