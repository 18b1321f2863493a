"""Sound at any moments: a windowed sinc between the samples (J. O. Smith, "Digital audio resampling")."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["TAPS", "SincResampler"]

TAPS = 32  # samples that one moment is made of
_PHASES = 4096  # places between two samples: taking the nearest one is an error of -80 dB at 4 kHz
_BETA = 8.0  # Kaiser: side lobes at -80 dB


class SincResampler:
    """From a stream of samples to another rate that may change from block to block.

    Args:
        step: samples of the stream for one that comes out; above 1 what would fold is filtered out.
    """

    def __init__(self, step: float) -> None:
        cutoff = 0.94 * min(1.0, 1.0 / step)  # of half the rate: the filter needs some room to fall
        offsets = np.arange(TAPS) - TAPS // 2 + 1
        places = offsets[None, :] - np.arange(_PHASES + 1)[:, None] / _PHASES
        window = np.i0(_BETA * np.sqrt(np.clip(1 - (places / (TAPS / 2)) ** 2, 0, 1))) / np.i0(_BETA)
        kernel = cutoff * np.sinc(cutoff * places) * window
        # Each phase passes a constant as it is.
        self._kernel = (kernel / kernel.sum(axis=1, keepdims=True)).astype(np.float32)

    def span(self, position: float, step: float, count: int) -> tuple[int, int]:
        """First sample of the stream, and how many, that `count` moments from `position` on are made of."""
        first = int(np.floor(position)) - TAPS // 2 + 1
        last = int(np.floor(position + step * (count - 1))) + TAPS // 2
        return first, last - first + 2  # one more, for rounding in `at`

    def at(
        self, samples: NDArray[np.float32], position: float, step: float, count: int
    ) -> NDArray[np.float32]:
        """The sound [count] at `position`, `position + step`, ..., given the samples that `span` names."""
        # Fractions are kept small: positions of hours would lose their last digits.
        moments = position - np.floor(position) + step * np.arange(count)
        whole = np.floor(moments).astype(np.int64)
        phases = np.rint((moments - whole) * _PHASES).astype(np.int64)
        near = np.lib.stride_tricks.sliding_window_view(samples, TAPS)[whole]
        out: NDArray[np.float32] = np.einsum("ij,ij->i", near, self._kernel[phases])
        return out
