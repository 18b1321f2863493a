# SPDX-License-Identifier: Apache-2.0
"""The condition vector of a field: windows of audio features smoothed twice, or motion in their place.

Both papers smooth audio in two steps: a small net over each window of 16 feature frames, then attention over
8 neighboring windows (AD-NeRF's AudioNet and AudioAttNet, VOCA's windows). Theirs look as far ahead as back.
Ours end `lookahead_ms` after the image: nothing later is ever read.
"""

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from splatface.models.audio2motion.audio_to_mouth import CONTROLS, FRAME_NS, MOUTH_MODES
from splatface.models.audio2motion.mouth_inference import resample_window
from splatface.models.errors import TrainingError
from splatface.models.training.fields.field import Condition
from splatface.models.training.fields.field_config import ConditioningConfig
from splatface.models.training.fields.layers import linear, mlp

__all__ = [
    "AudioWindowEncoder",
    "ConditionEncoder",
    "MotionConditionEncoder",
    "audio_windows",
    "make_condition_encoder",
]

NS_PER_MS = 1_000_000
NEGATIVE_SLOPE = 0.02  # of the leaky ReLUs, as in AD-NeRF
CHANNELS = (32, 32, 64, 64)  # of AudioNet's convolutions, each halving the window
SMOOTHERS = (16, 8, 4, 2, 1)  # of AudioAttNet's


class ConditionEncoder(Protocol):
    """A torch module from a condition to one vector."""

    def forward(self, condition: Condition) -> Tensor:
        """Return the vector [width]."""


def audio_windows(
    values: NDArray[np.float32], centers_ns: NDArray[np.int64], time_ns: int, config: ConditioningConfig
) -> NDArray[np.float32]:
    """Return windows [S, W, D] for `Condition.audio` at an image's time, the newest last, 20 ms apart.

    Args:
        values: [n, D] feature frames, n >= 1.
        centers_ns: [n] their centers, rising.
        time_ns: of the image.
        config: S, W and the look-ahead.

    Sampled by time as live code does: the newest row stands `lookahead_ms` after the image. Of later
    frames only the next is read, as the other end of the interpolation, and none if a frame stands there.
    """
    newest_ns = time_ns + round(config.lookahead_ms * NS_PER_MS)
    frames_needed = max(int(np.searchsorted(centers_ns, newest_ns + FRAME_NS)), 1)
    rows = config.windows + config.frames - 1
    sampled = resample_window(values[:frames_needed], centers_ns[:frames_needed], newest_ns, rows)
    window_view = np.lib.stride_tricks.sliding_window_view(sampled, config.frames, axis=0)
    return np.ascontiguousarray(window_view.transpose(0, 2, 1))


def make_condition_encoder(
    config: ConditioningConfig, width: int, feature_dim: int, generator: torch.Generator, *, controls: bool
) -> nn.Module:
    """Make the ConditionEncoder that `config` asks for; TrainingError if it needs features and has none."""
    if config.drive == "motion":
        return MotionConditionEncoder(width, generator, controls=controls)
    if feature_dim < 1:
        raise TrainingError(
            f"drive sound: expected the size of an encoder's features, found {feature_dim}: "
            "name an encoder whose features the data set holds"
        )
    return AudioWindowEncoder(config, width, feature_dim, generator, controls=controls)


class MotionConditionEncoder(nn.Module):
    """Encodes the motion space instead of audio: mouth modes [8], and controls [8] if asked, by an MLP."""

    def __init__(self, width: int, generator: torch.Generator, *, controls: bool) -> None:
        super().__init__()
        self.controls = controls
        inputs = len(MOUTH_MODES) + (len(CONTROLS) if controls else 0)
        self.net = mlp((inputs, 64, width), generator, zero=False)

    def forward(self, condition: Condition) -> Tensor:
        """Return the vector [width]."""
        encoded: Tensor = self.net(_with_controls(condition.mouth, condition, self.controls))
        return encoded


class AudioWindowEncoder(nn.Module):
    """Encodes windows of audio features [S, W, D], normalized and smoothed twice."""

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        config: ConditioningConfig,
        width: int,
        feature_dim: int,
        generator: torch.Generator,
        *,
        controls: bool,
    ) -> None:
        super().__init__()
        self.config, self.controls = config, controls
        self.register_buffer("mean", torch.zeros(feature_dim))
        self.register_buffer("std", torch.ones(feature_dim))
        self.window_net = AudioNet(feature_dim, config.frames, generator)
        self.smoother = AudioAttNet(config.windows, generator) if config.smoothing == "attention" else None
        self.out = mlp((64 + (len(CONTROLS) if controls else 0), 64, width), generator, zero=False)

    def fit_normalization(self, values: Tensor) -> None:
        """Store the mean and standard deviation per dimension of training features [n, D]."""
        self.mean.copy_(values.mean(0))
        self.std.copy_(values.std(0).clamp(min=1e-3))

    def forward(self, condition: Condition) -> Tensor:
        """Return the vector [width]."""
        windows = self._checked(condition.audio)
        if self.smoother is None:
            smooth = self.window_net((windows[-1:] - self.mean) / self.std)[0]
        else:
            smooth = self.smoother(self.window_net((windows - self.mean) / self.std))
        encoded: Tensor = self.out(_with_controls(smooth, condition, self.controls))
        return encoded

    def _checked(self, audio: Tensor | None) -> Tensor:
        expected_shape = (self.config.windows, self.config.frames, len(self.mean))
        if audio is None or tuple(audio.shape) != expected_shape:
            found = "none" if audio is None else str(list(audio.shape))
            raise TrainingError(
                f"condition.audio: expected {list(expected_shape)} (windows, frames, features), "
                f"found {found}: "
                "make it with audio_windows from the features of the encoder this field was made for"
            )
        return audio


class AudioNet(nn.Module):
    """First smoothing (AD-NeRF's AudioNet): convolutions halve a window until one frame is left, [S, 64]."""

    def __init__(self, feature_dim: int, frames: int, generator: torch.Generator) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs, frames_left = feature_dim, frames
        for outputs in CHANNELS:
            layers += [_convolution(inputs, outputs, 2, generator), nn.LeakyReLU(NEGATIVE_SLOPE)]
            inputs, frames_left = outputs, (frames_left + 1) // 2
        self.convolutions = nn.Sequential(*layers)
        self.out = nn.Sequential(
            linear(inputs * frames_left, 64, generator),
            nn.LeakyReLU(NEGATIVE_SLOPE),
            linear(64, 64, generator),
        )

    def forward(self, windows: Tensor) -> Tensor:
        """Return [S, 64] of windows [S, W, D]."""
        encoded: Tensor = self.out(self.convolutions(windows.transpose(1, 2)).flatten(1))
        return encoded


class AudioAttNet(nn.Module):
    """Second smoothing (AD-NeRF's AudioAttNet): a weighted mean of neighboring windows, [64].

    The weights come from the windows themselves and add up to 1.
    """

    def __init__(self, windows: int, generator: torch.Generator) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 64
        for outputs in SMOOTHERS:
            layers += [_convolution(inputs, outputs, 1, generator), nn.LeakyReLU(NEGATIVE_SLOPE)]
            inputs = outputs
        self.convolutions = nn.Sequential(*layers)
        self.score = linear(windows, windows, generator)

    def weights(self, windows: Tensor) -> Tensor:
        """Return weights [S], adding up to 1."""
        scores = self.score(self.convolutions(windows.T[None])[0, 0])
        return torch.softmax(scores, dim=0)

    def forward(self, windows: Tensor) -> Tensor:
        """Return [64] of windows [S, 64]."""
        return self.weights(windows) @ windows


def _convolution(inputs: int, outputs: int, stride: int, generator: torch.Generator) -> nn.Conv1d:
    layer = nn.Conv1d(inputs, outputs, kernel_size=3, stride=stride, padding=1)
    layer.weight.data.copy_(torch.randn(layer.weight.shape, generator=generator) * (2 / (3 * inputs)) ** 0.5)
    layer.bias.data.zero_()
    return layer


def _with_controls(encoded: Tensor, condition: Condition, expected_shape: bool) -> Tensor:
    return torch.cat([encoded, condition.controls]) if expected_shape else encoded
