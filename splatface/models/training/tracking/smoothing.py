# SPDX-License-Identifier: Apache-2.0
"""Smoothing of trajectories without lag: Whittaker smoother, maximum likelihood smoother, head poses.

`smooth` is Whittaker's smoother (1923; Eilers 2003) on third differences, with a stiffness chosen so that
what it removes is as large as the noise.

`smooth_trajectories` assumes white acceleration plus a detector error that lasts about a syllable, since the
detector errs with the mouth's motion (autoregressive of order one, Box and Jenkins 1970). The variances of
both are those of maximum likelihood (Whittle 1953), so a head at rest is held still and a nodding one may
nod. One banded system then gives the trajectory.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from scipy.linalg import solveh_banded
from scipy.spatial.transform import Rotation

from splatface.models.training.dataset.body_poses import neck_joint
from splatface.models.training.tracking.face_model import FacePoses
from splatface.models.typing import AnyArray, BoolArray

__all__ = [
    "MIN_SAMPLES",
    "SampleWeights",
    "estimate_noise",
    "fit_noise_model",
    "interpolate_gaps",
    "penalty_bands",
    "preserve_outliers",
    "smooth",
    "smooth_poses",
    "smooth_trajectories",
]

MIN_SAMPLES = 8  # below which nothing is smoothed
_MIN_LOG_STIFFNESS, _MAX_LOG_STIFFNESS = -2.0, 6.0  # log10: none .. about 0.6 s at 25 Hz
_BISECTIONS = 12
_THIRD_DIFFERENCE = np.array([1.0, -3.0, 3.0, -1.0])
_SECOND_DIFFERENCE: Final = np.array([1.0, -2.0, 1.0])
_ERROR_TIME_S: Final = 0.08  # measured on actors that talk and hold their heads still
_BINS = 160
_LOG_NOISES = np.linspace(-2.0, 1.5, 36)  # log of the error's standard deviation over the expected one
_LOG_VARIANCES = np.linspace(-20.0, 5.0, 64)  # log variance of the second difference, in expected errors
_LOG_NOISE_STD = 0.2  # of a detector's error from video to video
# Chosen on an actor who stands still and on optical flow of a lively real head: a trajectory that is too
# stiff costs more than one that is too lively, and a head may rest and then turn quickly.
_PROCESS_VARIANCE_FACTOR, _LOCAL_VARIANCE_FRACTION = 4.0, 0.7
_REWEIGHTINGS, _LOCAL_WINDOW_S = 5, 0.3
_MIN_WEIGHT = 1e-4  # keeps the system solvable
_ROTATION_ERROR_RAD: Final = np.radians([0.3, 0.2, 0.125])
_LATERAL_ERROR_M: Final = np.array([0.00015, 0.00015])
_DEPTH_ERROR: Final = 0.002  # fraction of the distance: a face seems larger when it speaks
_DEPTH_OUTLIER = 4.0  # of these errors, at which a depth counts a quarter


@dataclass(frozen=True, slots=True, eq=False)
class SampleWeights:
    """Times and weights of the F samples of a trajectory."""

    fps: float
    weight: AnyArray  # [F] 0..1
    segment_start: BoolArray  # [F] samples before which the video was cut


def smooth(values: AnyArray, noise: AnyArray, segment_start: BoolArray | None = None) -> AnyArray:
    """Remove noise of standard deviation [C] from tracks [F, C]; no lag, straight lines stay.

    `segment_start` [F] marks samples before which the video was cut: nothing is smoothed across.
    """
    if len(values) < MIN_SAMPLES:
        return values.copy()
    starts = np.zeros(len(values), bool) if segment_start is None else segment_start
    bands = penalty_bands(_THIRD_DIFFERENCE, starts)
    columns = [_smooth_to_noise(values[:, c], float(noise[c]), bands) for c in range(values.shape[1])]
    return np.stack(columns, axis=1)


def smooth_trajectories(tracks: AnyArray, expected_error: AnyArray, samples: SampleWeights) -> AnyArray:
    """Estimate the trajectories behind tracks [F, C] with expected errors [C]; NaN is not allowed."""
    if len(tracks) < MIN_SAMPLES:
        return tracks.copy()
    columns = [_smooth_track(tracks[:, c], float(expected_error[c]), samples) for c in range(tracks.shape[1])]
    return np.stack(columns, axis=1)


def smooth_poses(poses: FacePoses, samples: SampleWeights) -> FacePoses:
    """Smooth head poses [F].

    Rotations are smoothed by themselves; of translations that of the neck joint, which hardly moves while the
    head turns about it.
    """
    rotations = Rotation.from_matrix(poses.rotations)
    mean = rotations.mean(np.maximum(samples.weight, 1e-6))
    vectors = (mean.inv() * rotations).as_rotvec()
    smoothed = mean * Rotation.from_rotvec(smooth_trajectories(vectors, _ROTATION_ERROR_RAD, samples))
    T = np.tile(np.eye(4), (len(poses), 1, 1))
    T[:, :3, :3], T[:, :3, 3] = (mean.inv() * rotations).as_matrix(), mean.inv().apply(poses.translations_m)
    joint = neck_joint(T[samples.weight > 0.2])
    necks = poses.translations_m + rotations.apply(joint)
    error = np.r_[_LATERAL_ERROR_M, _DEPTH_ERROR * float(np.median(poses.translations_m[:, 2]))]
    translations = smooth_trajectories(necks, error, samples)
    # A sudden change of depth is a detector error: it gets a low weight in a second pass.
    outlier = np.abs(necks[:, 2] - translations[:, 2]) / (_DEPTH_OUTLIER * error[2])
    reweighted = replace(samples, weight=samples.weight / (1 + outlier**2) ** 2)
    translations[:, 2:] = smooth_trajectories(necks[:, 2:], error[2:], reweighted)
    return FacePoses(smoothed.as_matrix(), translations - smoothed.apply(joint), poses.motion)


def estimate_noise(values: AnyArray) -> AnyArray:
    """Estimate the standard deviation [C] of white noise on tracks [F, C], from third differences."""
    if len(values) < MIN_SAMPLES:
        return np.zeros(values.shape[1])
    third = np.diff(values, 3, axis=0)
    spread: AnyArray = 1.4826 * np.median(np.abs(third - np.median(third, axis=0)), axis=0)
    return np.asarray(spread / np.sqrt(20.0))


def preserve_outliers(raw: AnyArray, smoothed: AnyArray, noise: AnyArray) -> AnyArray:
    """Return smoothed tracks [F, C] with raw values where they differ by more than 3 times the noise [C]."""
    residual = raw - smoothed
    excess = np.sign(residual) * np.maximum(np.abs(residual) - 2.0 * noise, 0)
    fraction = np.clip((np.abs(residual) / np.maximum(noise, 1e-12) - 2.0), 0, 1)
    kept: AnyArray = smoothed + excess * (1 - fraction) + residual * fraction
    return kept


def interpolate_gaps(values: AnyArray, weight: AnyArray, min_weight: float = 0.25) -> AnyArray:
    """Return tracks [F, C], linear in time over samples of a weight [F] below `min_weight`."""
    good = weight >= min_weight
    if good.all() or not good.any():
        return values
    samples = np.arange(len(values))
    columns = [np.interp(samples, samples[good], values[good, c]) for c in range(values.shape[1])]
    return np.stack(columns, axis=1)


def penalty_bands(
    coefficients: AnyArray, segment_start: BoolArray, weights: AnyArray | None = None
) -> AnyArray:
    """Compute upper bands [n, F] of D'WD; D takes differences, none across the start of a segment.

    Args:
        coefficients: [n] of the difference.
        segment_start: [F] samples before which the video was cut.
        weights: [F - n + 1] of each difference; 1 when left out.
    """
    count, length = len(segment_start), len(coefficients)
    across = np.lib.stride_tricks.sliding_window_view(segment_start[1:], length - 1).any(axis=1)
    kept = np.where(across, 0.0, 1.0 if weights is None else weights)
    bands = np.zeros((length, count))
    for row in range(length):
        for column in range(row, length):
            products = coefficients[row] * coefficients[column] * kept
            bands[length - 1 - (column - row), column : count - length + 1 + column] += products
    return bands


def fit_noise_model(track: AnyArray, expected_error: float, fps: float) -> tuple[float, float]:
    """Fit the error's standard deviation and the variance of the second difference to a track [F]."""
    density, count, angle = _periodogram(np.diff(track, 2) / expected_error)
    second = np.abs(1 - np.exp(-1j * angle)) ** 4
    correlation = _error_correlation(fps)
    error = second * (1 - correlation**2) / np.abs(1 - correlation * np.exp(-1j * angle)) ** 2
    # [noise, variance, bin]
    spectra = np.exp(_LOG_VARIANCES)[:, None] + np.exp(2 * _LOG_NOISES)[:, None, None] * error
    cost = (count * (np.log(spectra) + density / spectra)).sum(axis=2)
    cost += 0.5 * (_LOG_NOISES[:, None] / _LOG_NOISE_STD) ** 2
    noise, variance = np.unravel_index(int(np.argmin(cost)), cost.shape)
    error_std = expected_error * float(np.exp(_LOG_NOISES[noise]))
    return error_std, expected_error**2 * float(np.exp(_LOG_VARIANCES[variance]))


def _smooth_to_noise(track: AnyArray, noise: float, bands: AnyArray) -> AnyArray:
    if noise <= 1e-12:
        return track.copy()
    low, high = _MIN_LOG_STIFFNESS, _MAX_LOG_STIFFNESS
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        removed = track - _solve_whittaker(track, bands, 10.0**middle)
        # The median, so that an event neither counts as noise nor keeps the rest from being smoothed.
        spread = 1.4826 * float(np.median(np.abs(removed)))
        low, high = (middle, high) if spread < noise else (low, middle)
    return _solve_whittaker(track, bands, 10.0**low)


def _solve_whittaker(track: AnyArray, bands: AnyArray, stiffness: float) -> AnyArray:
    system = stiffness * bands
    system[3] += 1.0
    solved: AnyArray = solveh_banded(system, track)
    return solved


def _smooth_track(track: AnyArray, expected_error: float, samples: SampleWeights) -> AnyArray:
    error_std, variance = fit_noise_model(track, expected_error, samples.fps)
    variance *= _PROCESS_VARIANCE_FACTOR
    precision = _noise_precision_bands(samples)
    right = precision[2] * track
    right[1:] += precision[1, 1:] * track[:-1]
    right[:-1] += precision[1, 1:] * track[1:]
    smoothed, weights = track, np.ones(len(track) - 2)
    for _ in range(_REWEIGHTINGS):
        penalty = penalty_bands(
            _SECOND_DIFFERENCE, samples.segment_start, weights * (error_std**2 / variance)
        )
        smoothed = solveh_banded(precision + penalty, right)
        weights = 1 / _local_process_variance(smoothed, variance, samples.fps)
    return smoothed


def _error_correlation(fps: float) -> float:
    """Compute the correlation of the errors of neighboring frames."""
    return float(np.exp(-1 / (fps * _ERROR_TIME_S)))


def _periodogram(values: AnyArray) -> tuple[AnyArray, AnyArray, AnyArray]:
    """Compute mean density, number and angle of the frequencies of values [n] in at most 160 bins."""
    window = np.hanning(len(values) + 2)[1:-1]
    density = np.abs(np.fft.rfft(values * window)[1:]) ** 2 / (window**2).sum()
    angle = 2 * np.pi * np.arange(1, len(density) + 1) / len(values)
    edges = np.unique(np.geomspace(1, len(density) + 1, _BINS).astype(int)) - 1
    count = np.diff(edges)
    means = [np.add.reduceat(part, edges[:-1]) / count for part in (density, angle)]
    return means[0], count, means[1]


def _local_process_variance(smoothed: AnyArray, variance: float, fps: float) -> AnyArray:
    """Compute the local variance of the second difference [F - 2], relative to the global one."""
    second = np.diff(smoothed, 2) ** 2 / variance
    window = np.hanning(min(max(round(_LOCAL_WINDOW_S * fps), 3), len(second)) + 2)
    local: AnyArray = np.convolve(second, window / window.sum(), mode="same")[: len(second)]
    return 1 - _LOCAL_VARIANCE_FRACTION + _LOCAL_VARIANCE_FRACTION * local


def _noise_precision_bands(samples: SampleWeights) -> AnyArray:
    """Compute upper bands [3, F] of the weighted inverse covariance of errors of unit variance."""
    weight = np.maximum(samples.weight, _MIN_WEIGHT)
    correlation = _error_correlation(samples.fps)
    joined = np.r_[0.0, ~samples.segment_start[1:]]  # with the sample before
    scale = 1 / (1 - correlation**2)
    bands = np.zeros((3, len(weight)))
    bands[2] = weight * (1 + scale * correlation**2 * (joined + np.r_[joined[1:], 0.0]))
    bands[1, 1:] = -scale * correlation * np.sqrt(weight[1:] * weight[:-1]) * joined[1:]
    return bands
