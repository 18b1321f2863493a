# SPDX-License-Identifier: Apache-2.0
"""Checks of arrays: shape, dtype, finiteness and range."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import HeadError

__all__ = ["expect", "expect_range"]

REMEDY = "the head is damaged or made by another program: take an intact copy or train it again"


def expect(
    name: str,
    array: NDArray[np.generic],
    shape: Sequence[int | None],
    dtype: type[np.generic] = np.float32,
    remedy: str = REMEDY,
) -> None:
    """Raise HeadError unless `array` has this shape (None: any length), this dtype and finite values."""
    wanted = "[" + ", ".join("any" if n is None else str(n) for n in shape) + "]"
    found = f"{list(array.shape)} {array.dtype}"
    fits = array.ndim == len(shape) and all(n in (None, m) for n, m in zip(shape, array.shape, strict=True))
    if not fits or array.dtype != dtype:
        raise HeadError(f"{name}: expected {wanted} {np.dtype(dtype)}, found {found}: {remedy}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = int(array.size - np.isfinite(array).sum())
        raise HeadError(
            f"{name}: expected finite numbers, found {bad} NaN or infinite of {array.size}: {remedy}"
        )


def expect_range(
    name: str, array: NDArray[np.generic], low: float, high: float, remedy: str = REMEDY
) -> None:
    """Raise HeadError unless every value lies in low..high (an empty array does)."""
    if array.size and not (array.min() >= low and array.max() <= high):
        found = f"{array.min()}..{array.max()}"
        raise HeadError(f"{name}: expected values in {low:g}..{high:g}, found {found}: {remedy}")
