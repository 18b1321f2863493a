"""The torch twin of CoefficientNet, on runs of frames: made of one, trained, and made one again."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from splatface.models.audio2motion.audio_to_mouth import AudioToMouthNet
from splatface.models.audio2motion.convolution import Convolution

__all__ = ["TorchNet"]


class TorchNet(nn.Module):
    """A CoefficientNet that learns.

    Args:
        net: where it starts.
        dropout: of projected features, whole frames' features at once.
        dropout_within: of what later layers see.
    """

    def __init__(self, net: AudioToMouthNet, *, dropout: float, dropout_within: float) -> None:
        super().__init__()
        self._encoder, self._lookahead_ms = net.encoder, net.lookahead_ms
        self.window, self._view = net.window, net.context_frames
        self.register_buffer("mean", _tensor(net.mean))
        self.register_buffer("std", _tensor(net.std))
        self.project = nn.Parameter(_tensor(net.project))
        self.conv_weights = nn.ParameterList(
            [nn.Parameter(_tensor(conv.weight).permute(2, 1, 0).contiguous()) for conv in net.convs]
        )
        self.conv_biases = nn.ParameterList([nn.Parameter(_tensor(conv.bias)) for conv in net.convs])
        self.w1, self.b1 = nn.Parameter(_tensor(net.w1)), nn.Parameter(_tensor(net.b1))
        self.w2, self.b2 = nn.Parameter(_tensor(net.w2)), nn.Parameter(_tensor(net.b2))
        self._dropout, self._dropout_within = nn.Dropout(dropout), nn.Dropout(dropout_within)

    def forward(self, values: Tensor) -> Tensor:
        """Modes [B, L - W + 1, n] of runs of features [B, L, D]."""
        # Whole frames' features are dropped, not a window's inputs: a sixteenth of the dice to throw.
        frames = self._dropout(((values - self.mean) / self.std) @ self.project).transpose(1, 2)
        for number, (weight, bias) in enumerate(zip(self.conv_weights, self.conv_biases, strict=True)):
            taken, kernel = weight.shape[1], weight.shape[2]
            inputs, passed = frames[:, :taken], frames[:, taken:, kernel - 1 :]
            outputs = _gelu(
                nn.functional.conv1d(self._dropout_within(inputs) if number else inputs, weight, bias)
            )
            if weight.shape[0] == taken:  # not a wider one, as Convolution has it
                outputs = outputs + inputs[:, :, kernel - 1 :]
            frames = torch.cat([outputs, passed], dim=1)
        windows = frames.unfold(2, self._view, 1).permute(0, 2, 3, 1).flatten(2)
        modes: Tensor = self._dropout_within(_gelu(windows @ self.w1 + self.b1)) @ self.w2 + self.b2
        return modes

    def plain(self) -> AudioToMouthNet:
        """The net as it is now."""
        convs = zip(self.conv_weights, self.conv_biases, strict=True)
        return AudioToMouthNet(
            encoder=self._encoder,
            lookahead_ms=self._lookahead_ms,
            mean=_array(self.mean),
            std=_array(self.std),
            project=_array(self.project),
            w1=_array(self.w1),
            b1=_array(self.b1),
            w2=_array(self.w2),
            b2=_array(self.b2),
            convs=tuple(Convolution(_array(weight.permute(2, 1, 0)), _array(bias)) for weight, bias in convs),
        )


def _gelu(x: Tensor) -> Tensor:
    return nn.functional.gelu(x, approximate="tanh")


def _tensor(array: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(np.array(array, np.float32))


def _array(tensor: Any) -> NDArray[np.float32]:
    return np.ascontiguousarray(tensor.detach().numpy().astype(np.float32))
