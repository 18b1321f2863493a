"""The few directions in which many numbers move together: weighted principal components."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import TrainingError
from splatface.models.typing import Float64Array

__all__ = ["PcaResult", "weighted_pca"]


_BLOCK = 4096  # features looked at together: float64 copies stay in the tens of MB


@dataclass(frozen=True, slots=True, eq=False)
class PcaResult:
    """samples = mean + codes @ basis.T, as nearly as K directions can say it."""

    mean: NDArray[np.float32]  # [D]
    basis: NDArray[np.float32]  # [D, K]
    codes: Float64Array  # [F, K] of mean square 1 (a direction in which nothing moves: 0)
    explained_variance: Float64Array  # [K] mean square of what each direction adds, in units of the weights
    lost: float  # share 0..1 of the weighted variance that no direction holds


def weighted_pca(samples: NDArray[np.float32], weights: NDArray[np.float32], count: int) -> PcaResult:
    """The `count` directions that lose least of weights * (samples - mean), squared (Eckart, Young 1936).

    Args:
        samples: [F, D] F moments of D features; D may be a hundred thousand, F about a thousand.
        weights: [D] >= 0, how much an error of each feature counts.
        count: K >= 1; what F moments cannot fill is left 0.

    The economical way: eigenvectors of the Gram matrix [F, F], summed over blocks of features in float64.

    Raises:
        TrainingError: when nothing is given, or something is not finite.
    """
    frames = len(samples)
    if frames == 0 or count < 1 or not (np.isfinite(samples).all() and np.isfinite(weights).all()):
        raise TrainingError(
            f"bake: expected moments of finite movement and 1 or more directions, found {frames} moments "
            f"and {count} directions: train the field again, its movement may have run away"
        )
    mean = samples.mean(axis=0, dtype=np.float64)
    gram = np.zeros((frames, frames))
    for block, deviation in _deviations(samples, mean):
        weighted = deviation * weights[block]
        gram += weighted @ weighted.T
    squares, vectors = np.linalg.eigh(gram)
    largest = np.argsort(squares)[::-1][:count]
    found = largest[squares[largest] > 1e-12 * max(float(squares[-1]), 1e-300)]
    unit, length = vectors[:, found], np.sqrt(squares[found])
    codes, energies = np.zeros((frames, count)), np.zeros(count)
    codes[:, : len(found)] = unit * np.sqrt(frames)
    energies[: len(found)] = length**2 / frames
    basis = np.zeros((samples.shape[1], count), np.float32)
    for block, deviation in _deviations(samples, mean):
        # Regression of the plain samples on the codes: no division by a weight that may be 0.
        basis[block, : len(found)] = deviation.T @ unit / np.sqrt(frames)
    total = float(np.trace(gram))
    lost = max(0.0, 1.0 - float(squares[found].sum()) / total) if total > 0 else 0.0
    return PcaResult(mean.astype(np.float32), basis, codes, energies, lost)


def _deviations(samples: NDArray[np.float32], mean: Float64Array) -> Iterator[tuple[slice, Float64Array]]:
    for first in range(0, samples.shape[1], _BLOCK):
        block = slice(first, first + _BLOCK)
        yield block, samples[:, block] - mean[block]
