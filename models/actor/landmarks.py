"""The 68 points of iBUG's scheme as fixed vertices of the rig."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["IBUG68"]

IBUG68: NDArray[np.int64] = np.zeros(68, np.int64)
