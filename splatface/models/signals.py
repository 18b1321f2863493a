# SPDX-License-Identifier: Apache-2.0
"""Two figures of sampled signals: Pearson's correlation and the peak between samples."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["parabolic_peak_offset", "pearson"]


def pearson(first: NDArray[Any], second: NDArray[Any], *, still: float = 1e-6) -> float:
    """Return Pearson's r of two signals [F]; 0 where one spreads less than `still`, or has fewer than two."""
    if len(first) < 2 or min(first.std(), second.std()) < still:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def parabolic_peak_offset(left: float, top: float, right: float) -> float:
    """Return the offset -1/2..1/2 of the peak of the parabola through three samples, the middle highest.

    0 where they lie on a line, or one of them is no number.
    """
    curvature = left - 2 * top + right
    return 0.5 * (left - right) / curvature if curvature < 0 else 0.0
