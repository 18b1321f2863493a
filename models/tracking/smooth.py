"""Smoothing without lag: as much as the measured noise asks for, and nothing that is an event.

Whittaker's smoother (1923; Eilers 2003) on third differences, its stiffness chosen so that what it takes away
is as large as the noise.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solveh_banded

__all__ = ["keep_events", "noise_of", "smooth", "smooth_turns"]

Array = NDArray[Any]

_LEAST, _MOST = -2.0, 6.0  # log10 of the stiffness: none .. about 0.6 s at 25 Hz
_HALVINGS = 12
_PENALTY = np.array([1.0, -3.0, 3.0, -1.0])  # third difference
_SHORT = 8  # moments below which nothing is smoothed


def noise_of(values: Array) -> Array:
    """Standard deviation [C] of white noise on tracks [F, C], from third differences, which motion hardly has."""
    if len(values) < _SHORT:
        return np.zeros(values.shape[1])
    third = np.diff(values, 3, axis=0)
    spread: Array = 1.4826 * np.median(np.abs(third - np.median(third, axis=0)), axis=0)
    return spread / np.sqrt(20.0)


def smooth(values: Array, noise: Array | None = None) -> Array:
    """Tracks [F, C] without their noise [C] (measured where not given); no lag, straight lines stay."""
    if len(values) < _SHORT:
        return values.copy()
    level = noise_of(values) if noise is None else noise
    columns = [_smoothed(values[:, c], float(level[c])) for c in range(values.shape[1])]
    return np.stack(columns, axis=1)


def keep_events(raw: Array, smoothed: Array, noise: Array) -> Array:
    """Smoothed tracks [F, C], but what leaves them by more than three times the noise [C] stays as it was."""
    away = raw - smoothed
    beyond = np.sign(away) * np.maximum(np.abs(away) - 2.0 * noise, 0)
    share = np.clip((np.abs(away) / np.maximum(noise, 1e-12) - 2.0), 0, 1)
    kept: Array = smoothed + beyond * (1 - share) + away * share
    return kept


def smooth_turns(turns: Array) -> Array:
    """Rotations [F, 3, 3] smoothed as vectors from their median; fit for turns of less than half a circle."""
    from scipy.spatial.transform import Rotation

    middle = Rotation.from_matrix(turns[len(turns) // 2])
    vectors = (middle.inv() * Rotation.from_matrix(turns)).as_rotvec()
    calm: Array = (middle * Rotation.from_rotvec(smooth(vectors))).as_matrix()
    return calm


def _smoothed(track: Array, noise: float) -> Array:
    if noise <= 1e-12:
        return track.copy()
    bands = _bands(len(track))
    low, high = _LEAST, _MOST
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        taken = track - _solved(track, bands, 10.0**middle)
        low, high = (middle, high) if float(np.sqrt(np.mean(taken**2))) < noise else (low, middle)
    return _solved(track, bands, 10.0**low)


def _bands(count: int) -> Array:
    """Upper diagonals [4, F] of D'D, D the third difference."""
    bands = np.zeros((4, count))
    for row in range(4):
        for column in range(row, 4):
            products = np.zeros(count)
            products[column : count - 3 + column] = _PENALTY[row] * _PENALTY[column]
            bands[3 - (column - row)] += products
    return bands


def _solved(track: Array, bands: Array, stiffness: float) -> Array:
    system = stiffness * bands
    system[3] += 1
    solved: Array = solveh_banded(system, track)
    return solved
