"""The bend in our small nets."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["CUBIC", "STEEP", "gelu"]

STEEP, CUBIC = math.sqrt(2 / math.pi), 0.044715


def gelu(x: NDArray[Any]) -> NDArray[Any]:
    """GELU in its tanh form (Hendrycks and Gimpel 2016), any shape, in the precision of x."""
    y: NDArray[Any] = 0.5 * x * (1 + np.tanh(STEEP * (x + CUBIC * x * x * x)))
    return y
