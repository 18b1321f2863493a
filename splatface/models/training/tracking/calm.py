"""How a head moved, from measurements whose errors last: the likeliest smooth way, without lag.

A track is a way whose acceleration is white, plus a tracker's error, which lasts about a syllable, since the
tracker errs with what the mouth does (autoregressive of order one, Box and Jenkins 1970). How lively the way
is and how large the error are those under which the track is likeliest (Whittle 1953): a head that stands
still is held still, and one that nods may nod. Both then give the way by one banded system.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solveh_banded

from splatface.models.training.tracking.smooth import SHORT, penalty_bands
from splatface.models.typing import AnyArray

__all__ = ["SampleWeights", "fit_noise_model", "smooth_trajectories"]


_LASTS_S: Final = 0.08  # measured on actors that talk and hold their heads still
_BINS = 160
_NOISES = np.linspace(-2.0, 1.5, 36)  # log of how many times the usual error
_WAYS = np.linspace(-20.0, 5.0, 64)  # log variance of the second difference, in squared usual errors
_SPREAD = 0.2  # of the logarithm of a tracker's error from film to film
_SECOND: Final = np.array([1.0, -2.0, 1.0])
# Chosen on an actor who stands still and on optical flow of a lively real head: a way that is too stiff costs
# more than one that is too lively, and a head that rests and then turns in a moment is two.
_LIVELIER, _OF_BURST = 4.0, 0.7
_ROUNDS, _BURST_S = 5, 0.3
_LEAST_TRUST = 1e-4  # keeps the system solvable


@dataclass(frozen=True, slots=True, eq=False)
class SampleWeights:
    """When the F moments of a track were, and how much each counts."""

    fps: float
    weight: AnyArray  # [F] 0..1
    segment_start: NDArray[np.bool_]  # [F] moments before which the film was cut


def smooth_trajectories(tracks: AnyArray, usual: AnyArray, trail: SampleWeights) -> AnyArray:
    """The ways [F, C] behind tracks [F, C] whose errors are usually so large [C]; NaN is not allowed."""
    if len(tracks) < SHORT:
        return tracks.copy()
    columns = [_calmed(tracks[:, c], float(usual[c]), trail) for c in range(tracks.shape[1])]
    return np.stack(columns, axis=1)


def fit_noise_model(track: AnyArray, usual: float, fps: float) -> tuple[float, float]:
    """The error's standard deviation and the variance of the way's second difference, for a track [F]."""
    density, count, angle = _periodogram(np.diff(track, 2) / usual)
    second = np.abs(1 - np.exp(-1j * angle)) ** 4
    lasting = _lasting(fps)
    error = second * (1 - lasting**2) / np.abs(1 - lasting * np.exp(-1j * angle)) ** 2
    spectra = np.exp(_WAYS)[:, None] + np.exp(2 * _NOISES)[:, None, None] * error  # [noise, way, bin]
    unlikely = (count * (np.log(spectra) + density / spectra)).sum(axis=2)
    unlikely += 0.5 * (_NOISES[:, None] / _SPREAD) ** 2
    noise, way = np.unravel_index(int(np.argmin(unlikely)), unlikely.shape)
    return usual * float(np.exp(_NOISES[noise])), usual**2 * float(np.exp(_WAYS[way]))


def _lasting(fps: float) -> float:
    """Correlation of the errors of neighboring pictures."""
    return float(np.exp(-1 / (fps * _LASTS_S)))


def _periodogram(values: AnyArray) -> tuple[AnyArray, AnyArray, AnyArray]:
    """Mean density, number and angle of the frequencies of values [n] in at most 160 bins."""
    window = np.hanning(len(values) + 2)[1:-1]
    density = np.abs(np.fft.rfft(values * window)[1:]) ** 2 / (window**2).sum()
    angle = 2 * np.pi * np.arange(1, len(density) + 1) / len(values)
    edges = np.unique(np.geomspace(1, len(density) + 1, _BINS).astype(int)) - 1
    count = np.diff(edges)
    sums = [np.add.reduceat(part, edges[:-1]) / count for part in (density, angle)]
    return sums[0], count, sums[1]


def _calmed(track: AnyArray, usual: float, trail: SampleWeights) -> AnyArray:
    noise, way = fit_noise_model(track, usual, trail.fps)
    way *= _LIVELIER
    doubts = _noise_precision_bands(trail)
    right = doubts[2] * track
    right[1:] += doubts[1, 1:] * track[:-1]
    right[:-1] += doubts[1, 1:] * track[1:]
    calmed, weights = track, np.ones(len(track) - 2)
    for _ in range(_ROUNDS):
        penalty = penalty_bands(_SECOND, trail.segment_start, weights * (noise**2 / way))
        calmed = solveh_banded(doubts + penalty, right)
        weights = 1 / _local_process_variance(calmed, way, trail.fps)
    return calmed


def _local_process_variance(calmed: AnyArray, way: float, fps: float) -> AnyArray:
    """How many times its usual variance each second difference [F - 2] has, by those around it."""
    second = np.diff(calmed, 2) ** 2 / way
    window = np.hanning(min(max(round(_BURST_S * fps), 3), len(second)) + 2)
    near: AnyArray = np.convolve(second, window / window.sum(), mode="same")[: len(second)]
    return 1 - _OF_BURST + _OF_BURST * near


def _noise_precision_bands(trail: SampleWeights) -> AnyArray:
    """Upper bands [3, F] of the inverse covariance of errors of unit variance, doubtful moments less."""
    weight = np.maximum(trail.weight, _LEAST_TRUST)
    lasting = _lasting(trail.fps)
    joined = np.r_[0.0, ~trail.segment_start[1:]]  # with the moment before
    scale = 1 / (1 - lasting**2)
    bands = np.zeros((3, len(weight)))
    bands[2] = weight * (1 + scale * lasting**2 * (joined + np.r_[joined[1:], 0.0]))
    bands[1, 1:] = -scale * lasting * np.sqrt(weight[1:] * weight[:-1]) * joined[1:]
    return bands
