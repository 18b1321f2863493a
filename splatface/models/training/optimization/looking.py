"""What refinement of poses and of motion have in common: which pictures are looked at, and what they say."""

import numpy as np

from splatface.models.camera import Camera
from splatface.models.typing import Float64Array

__all__ = ["DAMPING", "effective_residual_count", "nearest_psd"]


DAMPING = 0.2  # Levenberg and Marquardt: share of the curvature's diagonal
_ONE_RESIDUAL_PX = 150.0  # neighboring pixels are missed alike
_LEAST = 1e-3  # eigenvalue of a curvature, share of the mean


def effective_residual_count(camera: Camera) -> float:
    """How many independent residuals a picture has."""
    return camera.width * camera.height / _ONE_RESIDUAL_PX


def nearest_psd(bend: Float64Array) -> Float64Array:
    """The nearest symmetric matrix to a measured curvature [m, m] that bends upward in all directions."""
    values, ways = np.linalg.eigh((bend + bend.T) / 2)
    values = np.maximum(values, _LEAST * max(float(values.mean()), 1e-12))
    found: Float64Array = (ways * values) @ ways.T
    return found
