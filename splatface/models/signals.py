"""Two figures of sampled signals: Pearson's correlation and the peak between samples."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["parabolic_peak_offset", "pearson"]


def pearson(one: NDArray[Any], other: NDArray[Any], *, still: float = 1e-6) -> float:
    """Pearson's r of two signals [F]; 0 where one of them spreads less than `still`, or has no two."""
    if len(one) < 2 or min(one.std(), other.std()) < still:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])


def parabolic_peak_offset(left: float, top: float, right: float) -> float:
    """Where the parabola through three neighbors, the middle one highest, peaks: steps from it, -1/2..1/2.

    0 where they lie on a line, or one of them is no number.
    """
    bend = left - 2 * top + right
    return 0.5 * (left - right) / bend if bend < 0 else 0.0
