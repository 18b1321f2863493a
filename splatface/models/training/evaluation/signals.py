"""How well one signal over time follows another: correlation, strength, lateness, trembling."""

import numpy as np

from splatface.models.peak import parabolic_peak_offset
from splatface.models.typing import AnyArray

__all__ = ["LARGEST_LAG_MS", "amplitude_ratio", "correlation", "excess_jitter", "lag_ms"]


LARGEST_LAG_MS = 240.0
_STILL = 1e-6  # a signal that spreads less says nothing
_FEWEST = 8  # values that a correlation is taken of


def correlation(truth: AnyArray, found: AnyArray) -> float:
    """Pearson's r of two signals [F] where both are known (NaN = unknown).

    NaN when one of them stands still, or fewer than 8 moments are known.
    """
    x, y = _both(truth, found)
    if len(x) < _FEWEST or min(x.std(), y.std()) < _STILL:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def amplitude_ratio(truth: AnyArray, found: AnyArray) -> float:
    """Standard deviation of `found` over that of `truth` [F], where both are known: 1 = just as strong.

    The ratio of spreads and not the slope of a regression, which is this times the correlation, so that
    a mouth that moves enough at the wrong time is not called weak. NaN when the truth stands still.
    """
    x, y = _both(truth, found)
    if len(x) < _FEWEST or x.std() < _STILL:
        return float("nan")
    return float(y.std() / x.std())


def lag_ms(truth: AnyArray, found: AnyArray, step_ms: float) -> float:
    """By how much `found` [F] comes after `truth` [F], both sampled every step_ms; negative: before.

    The shift within ±240 ms at which they correlate best, refined between steps by the parabola through
    the best and its two neighbors. NaN when they do not correlate at any shift, or best at the last one.
    """
    most = int(LARGEST_LAG_MS / step_ms + 1e-9)
    shifts = np.arange(-most, most + 1)
    fits = np.array([correlation(*_shifted(truth, found, int(shift))) for shift in shifts])
    if not np.isfinite(fits).any():
        return float("nan")
    best = int(np.nanargmax(fits))
    near = fits[max(best - 1, 0) : best + 2]
    if fits[best] <= 0 or len(near) < 3 or not np.isfinite(near).all():
        return float("nan")
    return float(step_ms * (shifts[best] + parabolic_peak_offset(*near.tolist())))


def excess_jitter(truth: AnyArray, found: AnyArray) -> float:
    """How much places [F, L, 2] tremble that the truth [F, L, 2] does not, in their unit; NaN = unknown.

    Root mean square of the second difference over time of (found - truth), divided by √6: a trembling
    of s in each coordinate, new in every picture, counts s; a constant or a slow error counts nothing.
    """
    error = np.asarray(found, np.float64) - truth
    bend = error[2:] - 2 * error[1:-1] + error[:-2]
    known = np.isfinite(bend).all(axis=(1, 2))
    return float(np.sqrt(np.mean(np.square(bend[known])) / 6)) if known.any() else float("nan")


def _both(truth: AnyArray, found: AnyArray) -> tuple[AnyArray, AnyArray]:
    known = np.isfinite(truth) & np.isfinite(found)
    return np.asarray(truth, np.float64)[known], np.asarray(found, np.float64)[known]


def _shifted(truth: AnyArray, found: AnyArray, late: int) -> tuple[AnyArray, AnyArray]:
    """Where `found`, `late` steps later, lies over `truth`."""
    if late >= 0:
        return truth[: len(truth) - late], found[late:]
    return truth[-late:], found[:late]
