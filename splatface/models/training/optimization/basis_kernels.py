"""Products with a basis, in compiled loops on a few threads (a BLAS spins its own threads between calls)."""

import numba
import numpy as np

from splatface.models.render.workers import Workers
from splatface.models.typing import Float32Array

__all__ = ["apply_rows", "coefficient_grad"]


f4 = np.float32
_OPTIONS = {"cache": True, "nogil": True, "fastmath": True, "error_model": "numpy", "boundscheck": False}


def apply_rows(basis: Float32Array, coefficients: Float32Array, workers: Workers) -> Float32Array:
    """basis [M, 14, K] @ coefficients [K] = [M, 14]."""
    count, channels, width = basis.shape
    flat, out = basis.reshape(count * channels, width), np.empty(count * channels, f4)

    def part(k: int) -> None:
        _apply(*_share(len(flat), k, workers), flat, coefficients, out)

    workers.run(part)
    return out.reshape(count, channels)


def coefficient_grad(basis: Float32Array, slopes: Float32Array, workers: Workers) -> Float32Array:
    """dL/d(coefficients) [K] of dL/d(movements) [M, 14]."""
    count, channels, width = basis.shape
    flat, above = basis.reshape(count * channels, width), np.ascontiguousarray(slopes).reshape(-1)
    sums = np.zeros((workers.threads, width), f4)

    def part(k: int) -> None:
        _gather(*_share(len(flat), k, workers), flat, above, sums[k])

    workers.run(part)
    total: Float32Array = sums.sum(axis=0)
    return total


def _share(count: int, k: int, workers: Workers) -> tuple[int, int]:
    return k * count // workers.threads, (k + 1) * count // workers.threads


@numba.njit(**_OPTIONS)
def _apply(first, last, flat, coefficients, out):  # type: ignore[no-untyped-def]
    for i in range(first, last):
        row, total = flat[i], f4(0)
        for k in range(len(coefficients)):
            total += row[k] * coefficients[k]
        out[i] = total


@numba.njit(**_OPTIONS)
def _gather(first, last, flat, above, sums):  # type: ignore[no-untyped-def]
    for i in range(first, last):
        row, slope = flat[i], above[i]
        if slope != f4(0):
            for k in range(len(sums)):
                sums[k] += slope * row[k]
