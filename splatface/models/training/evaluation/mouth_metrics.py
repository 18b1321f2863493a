# SPDX-License-Identifier: Apache-2.0
"""Mouth metrics: lip landmarks and mouth modes, driven against true, over time."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES
from splatface.models.signals import parabolic_peak_offset
from splatface.models.training.dataset.types import Dataset
from splatface.models.training.evaluation.live_path import AudioToMouth
from splatface.models.training.tracking.face_detection import LIPS
from splatface.models.typing import AnyArray, Float64Array

__all__ = [
    "LARGEST_LAG_MS",
    "STEADY",
    "LandmarkScore",
    "LandmarkSequences",
    "MotionScore",
    "amplitude_ratio",
    "correlation",
    "excess_jitter",
    "lag_ms",
    "lip_distance_px",
    "lip_score",
    "motion_score",
    "mouth_opening",
]

LARGEST_LAG_MS = 240.0
_STILL = 1e-6  # a signal that spreads less says nothing
_FEWEST = 8  # values that a correlation is taken of


def correlation(truth: AnyArray, found: AnyArray) -> float:
    """Return Pearson's r of two signals [F] where both are known (NaN = unknown).

    NaN when one of them stands still, or fewer than 8 moments are known.
    """
    x, y = _both(truth, found)
    if len(x) < _FEWEST or min(x.std(), y.std()) < _STILL:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def amplitude_ratio(truth: AnyArray, found: AnyArray) -> float:
    """Return the standard deviation of `found` over that of `truth` [F], where both are known: 1 = equal.

    The ratio of spreads and not the gradient of a regression, which is this times the correlation, so that
    a mouth that moves enough at the wrong time is not called weak. NaN when the truth stands still.
    """
    x, y = _both(truth, found)
    if len(x) < _FEWEST or x.std() < _STILL:
        return float("nan")
    return float(y.std() / x.std())


def lag_ms(truth: AnyArray, found: AnyArray, step_ms: float) -> float:
    """Return by how many ms `found` [F] comes after `truth` [F], sampled every step_ms; negative: before.

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
    """Return the jitter of positions [F, L, 2] that the truth [F, L, 2] does not have; NaN = unknown.

    Root mean square of the second difference over time of (found - truth), divided by √6: a jitter
    of s in each coordinate, new in every image, counts s; a constant or a slow error counts nothing.
    """
    error = np.asarray(found, np.float64) - truth
    second_difference = error[2:] - 2 * error[1:-1] + error[:-2]
    known = np.isfinite(second_difference).all(axis=(1, 2))
    return float(np.sqrt(np.mean(np.square(second_difference[known])) / 6)) if known.any() else float("nan")


def _both(truth: AnyArray, found: AnyArray) -> tuple[AnyArray, AnyArray]:
    known = np.isfinite(truth) & np.isfinite(found)
    return np.asarray(truth, np.float64)[known], np.asarray(found, np.float64)[known]


def _shifted(truth: AnyArray, found: AnyArray, late: int) -> tuple[AnyArray, AnyArray]:
    """Return the overlapping parts of both signals when `found` is `late` steps later."""
    if late >= 0:
        return truth[: len(truth) - late], found[late:]
    return truth[-late:], found[:late]


_UPPER, _LOWER = (82, 13, 312), (87, 14, 317)
# Top of the forehead to the root of the nose's septum. To the chin the height would grow with the mouth.
_TOP, _NOSE = 10, 2
# Skin that neither mouth, brows nor lids move: bridge of the nose, temples, corners of the eyes.
STEADY = (6, 197, 195, 5, 4, 127, 356, 33, 133, 362, 263, 10, 338, 109)
_SIDE_PX = 512  # figures are given as if images were so large


@dataclass(frozen=True, slots=True, eq=False)
class LandmarkSequences:
    """Landmarks of the same F moments in the true and in the rendered images, NaN where no face was found."""

    truth: Float64Array  # [F, 478, 3] px
    found: Float64Array  # [F, 478, 3] px
    side_px: int  # the longer side of the images
    time_ns: NDArray[np.int64]  # [F] rising
    step_ms: float  # between two images of the video
    silent: NDArray[np.bool_]  # [F] moments at which nobody speaks


@dataclass(frozen=True, slots=True)
class LandmarkScore:
    """Agreement of the rendered mouth with the true one; NaN where it cannot be measured."""

    lmd_px: float  # mean distance of the 40 lip landmarks, px of 512
    opening_correlation: float
    opening_amplitude: float  # rendered / true spread
    opening_lag_ms: float  # positive: the rendered mouth is late
    head_jitter_px: float  # jitter of steady skin, px of 512
    lip_jitter_px: float
    rest_error: float  # how far lips in silence are from the true ones, as fraction of a full opening
    missed_truth: int  # images without a face
    missed_found: int

    @property
    def jitter_px(self) -> float:
        """Jitter of head and lips together, px of 512."""
        return float(np.hypot(self.head_jitter_px, self.lip_jitter_px) / np.sqrt(2))


def mouth_opening(landmarks: Float64Array) -> Float64Array:
    """Return the opening [F] of the inner lips over the height from nose to forehead."""
    positions = landmarks[..., :2]
    gap = np.linalg.norm(positions[:, _LOWER] - positions[:, _UPPER], axis=-1).mean(axis=1)
    height = np.linalg.norm(positions[:, _NOSE] - positions[:, _TOP], axis=-1)
    opening: Float64Array = gap / height
    return opening


def lip_distance_px(landmarks: LandmarkSequences) -> Float64Array:
    """Return the mean distance [F] of the 40 lip landmarks, px of 512; NaN where a face is missing.

    (LMD of Chen et al. 2018, on mediapipe's lips; head motion is not taken out: where the mouth is counts.)
    """
    apart = landmarks.found[:, LIPS, :2] - landmarks.truth[:, LIPS, :2]
    distance: Float64Array = np.linalg.norm(apart, axis=-1).mean(axis=1) * (_SIDE_PX / landmarks.side_px)
    return distance


def lip_score(landmarks: LandmarkSequences) -> LandmarkScore:
    """Compute all lip metrics."""
    grid_index = _grid_index(landmarks)
    true_opening, opening = mouth_opening(landmarks.truth), mouth_opening(landmarks.found)
    return LandmarkScore(
        lmd_px=_mean(lip_distance_px(landmarks)),
        opening_correlation=correlation(true_opening, opening),
        opening_amplitude=amplitude_ratio(true_opening, opening),
        opening_lag_ms=lag_ms(
            _spread(true_opening, grid_index), _spread(opening, grid_index), landmarks.step_ms
        ),
        head_jitter_px=_jitter_px(landmarks, STEADY, grid_index),
        lip_jitter_px=_jitter_px(landmarks, LIPS, grid_index),
        rest_error=_rest_error(true_opening, opening, landmarks.silent),
        missed_truth=int(np.isnan(true_opening).sum()),
        missed_found=int(np.isnan(opening).sum()),
    )


def _jitter_px(landmarks: LandmarkSequences, which: tuple[int, ...], grid_index: NDArray[np.int64]) -> float:
    truth, found = (
        _spread(positions[:, which, :2], grid_index) for positions in (landmarks.truth, landmarks.found)
    )
    return excess_jitter(truth, found) * _SIDE_PX / landmarks.side_px


def _rest_error(true_opening: Float64Array, opening: Float64Array, silent: NDArray[np.bool_]) -> float:
    """Return mean |rendered - true| opening in silence over the range of the true opening."""
    at_rest = silent & np.isfinite(true_opening) & np.isfinite(opening)
    if not at_rest.any():
        return float("nan")
    opening_range = np.nanpercentile(true_opening, 98) - np.median(true_opening[at_rest])
    if opening_range < 1e-3:  # the mouth never opens
        return float("nan")
    return float(np.abs(opening - true_opening)[at_rest].mean() / opening_range)


def _grid_index(landmarks: LandmarkSequences) -> NDArray[np.int64]:
    """Return the nearest step of an even grid for each frame."""
    steps = (landmarks.time_ns - landmarks.time_ns[0]) / (landmarks.step_ms * 1e6)
    index: NDArray[np.int64] = np.round(steps).astype(np.int64)
    return index


def _spread(values: Float64Array, grid_index: NDArray[np.int64]) -> Float64Array:
    """Return values [F, ...] on an even grid [G, ...], NaN where there is no frame."""
    grid = np.full((int(grid_index[-1]) + 1, *values.shape[1:]), np.nan)
    grid[grid_index] = values
    return grid


def _mean(values: Float64Array) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


_LEAST_MODE_SPREAD = 0.02  # a mode that spreads less is not spoken with


@dataclass(frozen=True, slots=True)
class MotionScore:
    """The predicted mouth against the tracked one, over the dense motion track; None where nothing moves."""

    mode_correlations: dict[str, float | None]  # by MOUTH_MODES
    mean_correlation: float | None  # of the modes that move
    open_amplitude: float | None  # predicted / tracked spread of the mode "open"
    open_lag_ms: float | None  # positive: the predicted mouth is late
    moments: int


def motion_score(dataset: Dataset, audio_to_mouth: AudioToMouth, span_ns: tuple[int, int]) -> MotionScore:
    """Compare predicted and tracked mouth modes within a span of video time (both ends included)."""
    track = dataset.motion
    inside = (track.time_ns >= span_ns[0]) & (track.time_ns <= span_ns[1])
    times_ns, truth = track.time_ns[inside], track.mouth[inside].astype(np.float64)
    if not len(times_ns):
        return MotionScore(dict.fromkeys(MOUTH_MODES), None, None, None, 0)
    predicted = np.stack([audio_to_mouth(int(time_ns)) for time_ns in times_ns]).astype(np.float64)
    fits = [
        _known(correlation(truth[:, k], predicted[:, k]) if _moves(truth[:, k]) else np.nan)
        for k in range(len(MOUTH_MODES))
    ]
    moving = [fit for fit in fits if fit is not None]
    step_ms = float(np.median(np.diff(times_ns))) / 1e6 if len(times_ns) > 1 else 1000 / dataset.fps
    return MotionScore(
        mode_correlations=dict(zip(MOUTH_MODES, fits, strict=True)),
        mean_correlation=float(np.mean(moving)) if moving else None,
        open_amplitude=_known(amplitude_ratio(truth[:, 0], predicted[:, 0])),
        open_lag_ms=_known(lag_ms(truth[:, 0], predicted[:, 0], step_ms)),
        moments=len(times_ns),
    )


def _moves(mode: NDArray[np.float64]) -> bool:
    known = mode[np.isfinite(mode)]
    return len(known) > 1 and float(known.std()) > _LEAST_MODE_SPREAD


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
