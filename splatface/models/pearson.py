"""How alike two signals move."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["pearson"]


def pearson(one: NDArray[Any], other: NDArray[Any], *, still: float = 1e-6) -> float:
    """Pearson's r of two signals [F]; 0 where one of them spreads less than `still`, or has no two."""
    if len(one) < 2 or min(one.std(), other.std()) < still:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])
