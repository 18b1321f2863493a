"""What the mouth does, from landmarks of mediapipe's face mesh in the true and in the drawn pictures."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatface.models.training.evaluation.signals import amplitude_ratio, correlation, excess_jitter, lag_ms
from splatface.models.training.tracking.landmarks import LIPS
from splatface.models.typing import Float64Array

__all__ = ["STEADY", "LandmarkPair", "LipScore", "lip_distance_px", "lip_score", "mouth_opening"]


_UPPER, _LOWER = (82, 13, 312), (87, 14, 317)
# Top of the forehead to the root of the nose's septum. To the chin the height would grow with the mouth.
_TOP, _NOSE = 10, 2
# Skin that neither mouth, brows nor lids move: bridge of the nose, temples, corners of the eyes.
STEADY = (6, 197, 195, 5, 4, 127, 356, 33, 133, 362, 263, 10, 338, 109)
_SIDE_PX = 512  # figures are given as if pictures were so large


@dataclass(frozen=True, slots=True, eq=False)
class LandmarkPair:
    """Landmarks of the same F moments in the true and in the drawn pictures, NaN where no face was found."""

    truth: Float64Array  # [F, 478, 3] px
    found: Float64Array  # [F, 478, 3] px
    side_px: int  # the longer side of the pictures
    time_ns: NDArray[np.int64]  # [F] rising
    step_ms: float  # between two pictures of the film
    silent: NDArray[np.bool_]  # [F] moments at which nobody speaks


@dataclass(frozen=True, slots=True)
class LipScore:
    """How well the drawn mouth follows the true one. NaN where it cannot be said."""

    lmd_px: float  # mean distance of the 40 lip landmarks, px of 512
    opening_correlation: float
    opening_amplitude: float  # drawn / true spread
    opening_lag_ms: float  # positive: the drawn mouth is late
    head_jitter_px: float  # trembling of steady skin, px of 512
    lip_jitter_px: float
    rest_error: float  # how far lips in silence are from the true ones, as share of a full opening
    missed_truth: int  # pictures without a face
    missed_found: int

    @property
    def jitter_px(self) -> float:
        """Trembling of head and lips together, px of 512."""
        return float(np.hypot(self.head_jitter_px, self.lip_jitter_px) / np.sqrt(2))


def mouth_opening(landmarks: Float64Array) -> Float64Array:
    """Opening [F] of the inner lips over the height from nose to forehead; landmarks [F, 478, 2 or 3]."""
    places = landmarks[..., :2]
    gap = np.linalg.norm(places[:, _LOWER] - places[:, _UPPER], axis=-1).mean(axis=1)
    height = np.linalg.norm(places[:, _NOSE] - places[:, _TOP], axis=-1)
    opening: Float64Array = gap / height
    return opening


def lip_distance_px(sight: LandmarkPair) -> Float64Array:
    """Mean distance [F] of the 40 lip landmarks in px of a picture of 512; NaN where a face is missing.

    (LMD of Chen et al. 2018, on mediapipe's lips; head motion is not taken out: where the mouth is counts.)
    """
    apart = sight.found[:, LIPS, :2] - sight.truth[:, LIPS, :2]
    distance: Float64Array = np.linalg.norm(apart, axis=-1).mean(axis=1) * (_SIDE_PX / sight.side_px)
    return distance


def lip_score(sight: LandmarkPair) -> LipScore:
    """All figures of the mouth."""
    at = _grid_index(sight)
    true_opening, opening = mouth_opening(sight.truth), mouth_opening(sight.found)
    return LipScore(
        lmd_px=_mean(lip_distance_px(sight)),
        opening_correlation=correlation(true_opening, opening),
        opening_amplitude=amplitude_ratio(true_opening, opening),
        opening_lag_ms=lag_ms(_spread(true_opening, at), _spread(opening, at), sight.step_ms),
        head_jitter_px=_jitter_px(sight, STEADY, at),
        lip_jitter_px=_jitter_px(sight, LIPS, at),
        rest_error=_rest_error(true_opening, opening, sight.silent),
        missed_truth=int(np.isnan(true_opening).sum()),
        missed_found=int(np.isnan(opening).sum()),
    )


def _jitter_px(sight: LandmarkPair, which: tuple[int, ...], at: NDArray[np.int64]) -> float:
    truth, found = (_spread(places[:, which, :2], at) for places in (sight.truth, sight.found))
    return excess_jitter(truth, found) * _SIDE_PX / sight.side_px


def _rest_error(true_opening: Float64Array, opening: Float64Array, silent: NDArray[np.bool_]) -> float:
    """Mean |drawn - true| opening in silence over the true opening's way from rest to its 98th percentile."""
    at_rest = silent & np.isfinite(true_opening) & np.isfinite(opening)
    if not at_rest.any():
        return float("nan")
    way = np.nanpercentile(true_opening, 98) - np.median(true_opening[at_rest])
    if way < 1e-3:  # the mouth never opens
        return float("nan")
    return float(np.abs(opening - true_opening)[at_rest].mean() / way)


def _grid_index(sight: LandmarkPair) -> NDArray[np.int64]:
    """Which step of an even grid each moment is nearest to."""
    steps = (sight.time_ns - sight.time_ns[0]) / (sight.step_ms * 1e6)
    index: NDArray[np.int64] = np.round(steps).astype(np.int64)
    return index


def _spread(values: Float64Array, at: NDArray[np.int64]) -> Float64Array:
    """Values [F, ...] put onto an even grid [G, ...], NaN where no picture was."""
    grid = np.full((int(at[-1]) + 1, *values.shape[1:]), np.nan)
    grid[at] = values
    return grid


def _mean(values: Float64Array) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
