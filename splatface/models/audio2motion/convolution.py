"""One convolution over time of a net that hears, in plain numpy."""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from splatface.models.audio2motion.gelu import gelu
from splatface.models.typing import Float32Array

__all__ = ["Convolution"]


@dataclass(frozen=True, slots=True, eq=False)
class Convolution:
    """What k frames mean together; needs k - 1 frames before the first.

    The first A values of a frame become B: gelu(bias + sum of weight[i]ᵀ x_i), i = 0 the oldest of k frames,
    and where A = B the newest frame's own values are added (the identity shortcut of He et al. 2016, eq. 1).
    Values beyond A go by untouched.
    """

    weight: Float32Array  # [k, A, B]
    bias: Float32Array  # [B]

    @property
    def kernel(self) -> int:
        """k, frames it looks at."""
        return len(self.weight)

    @property
    def added_channels(self) -> int:
        """B - A, values that a frame gains."""
        return int(self.weight.shape[2] - self.weight.shape[1])

    def __call__(self, frames: Float32Array) -> Float32Array:
        """Frames [F, P], P >= A and F >= k, to frames [F - k + 1, P - A + B]."""
        kernel, taken, given = self.weight.shape
        taps = sliding_window_view(frames[:, :taken], kernel, axis=0).transpose(0, 2, 1)
        meant = gelu(taps.reshape(-1, kernel * taken) @ self.weight.reshape(-1, given) + self.bias)
        newest = frames[kernel - 1 :]
        if not self.added_channels:
            meant += newest[:, :taken]
        return np.concatenate([meant, newest[:, taken:]], axis=1)
