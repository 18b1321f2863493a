"""The film that drawn ones are measured against."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatface.models.training.dataset.types import Dataset
from splatface.models.typing import Float64Array

__all__ = ["Truth"]


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """The true film, seen once for all heads."""

    dataset: Dataset
    rows: NDArray[np.intp]  # [F] of the frame table
    silent: NDArray[np.bool_]  # [F]
    landmarks: Float64Array | None  # [F, 478, 3] px
    sampled: frozenset[int]  # places in `rows` where the costly tools look
