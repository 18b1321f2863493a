"""Smoothing without lag: as much as the measured noise asks for, and nothing that is an event.

Whittaker's smoother (1923; Eilers 2003) on third differences, its stiffness chosen so that what it takes away
is as large as the noise.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solveh_banded

from splatface.models.typing import AnyArray

__all__ = ["SHORT", "noise_of", "penalty_bands", "preserve_outliers", "smooth"]


_LEAST, _MOST = -2.0, 6.0  # log10 of the stiffness: none .. about 0.6 s at 25 Hz
_HALVINGS = 12
_PENALTY = np.array([1.0, -3.0, 3.0, -1.0])  # third difference
SHORT = 8  # moments below which nothing is smoothed


def noise_of(values: AnyArray) -> AnyArray:
    """Standard deviation [C] of white noise on tracks [F, C], from third differences."""
    if len(values) < SHORT:
        return np.zeros(values.shape[1])
    third = np.diff(values, 3, axis=0)
    spread: AnyArray = 1.4826 * np.median(np.abs(third - np.median(third, axis=0)), axis=0)
    return np.asarray(spread / np.sqrt(20.0))


def smooth(values: AnyArray, noise: AnyArray, begins: NDArray[np.bool_] | None = None) -> AnyArray:
    """Tracks [F, C] without their noise [C]; no lag, straight lines stay.

    `begins` [F] marks moments before which the film was cut: nothing is smoothed across.
    """
    if len(values) < SHORT:
        return values.copy()
    bands = penalty_bands(_PENALTY, np.zeros(len(values), bool) if begins is None else begins)
    columns = [_smoothed(values[:, c], float(noise[c]), bands) for c in range(values.shape[1])]
    return np.stack(columns, axis=1)


def penalty_bands(steps: AnyArray, begins: NDArray[np.bool_], weights: AnyArray | None = None) -> AnyArray:
    """Upper bands [n, F] of D'WD; D takes differences by n coefficients, none across a new beginning.

    Args:
        steps: [n] coefficients of the difference.
        begins: [F] moments before which the film was cut.
        weights: [F - n + 1] of each difference; 1 where they are left out.
    """
    count, reach = len(begins), len(steps)
    across = np.lib.stride_tricks.sliding_window_view(begins[1:], reach - 1).any(axis=1)
    kept = np.where(across, 0.0, 1.0 if weights is None else weights)
    bands = np.zeros((reach, count))
    for row in range(reach):
        for column in range(row, reach):
            products = steps[row] * steps[column] * kept
            bands[reach - 1 - (column - row), column : count - reach + 1 + column] += products
    return bands


def preserve_outliers(raw: AnyArray, smoothed: AnyArray, noise: AnyArray) -> AnyArray:
    """Smoothed tracks [F, C], but what leaves them by more than three times the noise [C] stays as it was."""
    away = raw - smoothed
    beyond = np.sign(away) * np.maximum(np.abs(away) - 2.0 * noise, 0)
    share = np.clip((np.abs(away) / np.maximum(noise, 1e-12) - 2.0), 0, 1)
    kept: AnyArray = smoothed + beyond * (1 - share) + away * share
    return kept


def _smoothed(track: AnyArray, noise: float, bands: AnyArray) -> AnyArray:
    if noise <= 1e-12:
        return track.copy()
    low, high = _LEAST, _MOST
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        taken = track - _solved(track, bands, 10.0**middle)
        # The median, so that an event neither counts as noise nor keeps the rest from being smoothed.
        spread = 1.4826 * float(np.median(np.abs(taken)))
        low, high = (middle, high) if spread < noise else (low, middle)
    return _solved(track, bands, 10.0**low)


def _solved(track: AnyArray, bands: AnyArray, stiffness: float) -> AnyArray:
    system = stiffness * bands
    system[3] += 1.0
    solved: AnyArray = solveh_banded(system, track)
    return solved
