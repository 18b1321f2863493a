# SPDX-License-Identifier: Apache-2.0
"""Array types of the whole project: the element type in the name, the shape in each docstring or comment."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "AnyArray",
    "BoolArray",
    "Float32Array",
    "Float64Array",
    "FloatArray",
    "GenericArray",
    "Int64Array",
    "UInt8Array",
]

AnyArray: TypeAlias = NDArray[Any]
GenericArray: TypeAlias = NDArray[np.generic]
FloatArray: TypeAlias = NDArray[np.floating[Any]]  # float32 or float64
Float32Array: TypeAlias = NDArray[np.float32]
Float64Array: TypeAlias = NDArray[np.float64]
Int64Array: TypeAlias = NDArray[np.int64]
UInt8Array: TypeAlias = NDArray[np.uint8]
BoolArray: TypeAlias = NDArray[np.bool_]
