"""What refinement of poses and of motion have in common: which pictures are looked at, and what they say."""

import numpy as np
from numpy.typing import NDArray

from splatface.models.camera import Camera

__all__ = ["DAMPING", "effective_residual_count", "interior_subsample", "nearest_psd", "subsample_frames"]

Doubles = NDArray[np.float64]
Rows = NDArray[np.int64]
DAMPING = 0.2  # Levenberg and Marquardt: share of the curvature's diagonal
_ONE_RESIDUAL_PX = 150.0  # neighbouring pixels are missed alike
_LEAST = 1e-3  # eigenvalue of a curvature, share of the mean


def subsample_frames(known: Rows, most: int) -> Rows:
    """At most so many of the rows, evenly spread."""
    every = -(-len(known) // most)
    return known[::every]


def interior_subsample(rows: Rows, count: int) -> Rows:
    """At most so many of the rows, at least one, evenly spread, none of the ends where there are enough."""
    picked = rows[np.unique(np.linspace(0, len(rows) - 1, count + 2).round().astype(int))[1:-1]]
    return picked if len(picked) else rows[:1]


def effective_residual_count(camera: Camera) -> float:
    """How many independent residuals a picture has."""
    return camera.width * camera.height / _ONE_RESIDUAL_PX


def nearest_psd(bend: Doubles) -> Doubles:
    """The nearest symmetric matrix to a measured curvature [m, m] that bends upward in all directions."""
    values, ways = np.linalg.eigh((bend + bend.T) / 2)
    values = np.maximum(values, _LEAST * max(float(values.mean()), 1e-12))
    found: Doubles = (ways * values) @ ways.T
    return found
