"""Small functions of arrays that painting and combing need."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["bump", "coordinates", "lerp", "smooth_noise", "smoothstep"]

Array = NDArray[Any]


def coordinates(points: Array) -> tuple[Array, Array, Array]:
    """Canonical points [..., 3] as (across, back, up): to the picture's right, into the scene, upwards."""
    return points[..., 0], points[..., 2], -points[..., 1]


def smoothstep(start: float, end: float, values: Array) -> Array:
    """0 at `start`, 1 at `end` (which may lie below), smooth between."""
    t = np.clip((values - start) / (end - start), 0.0, 1.0)
    step: Array = t * t * (3 - 2 * t)
    return step


def lerp(colours: Array, other: ArrayLike, amount: Array) -> Array:
    """Blend colours [N, 3] to others by amounts [N]."""
    mixed: Array = colours * (1 - amount[:, None]) + np.asarray(other) * amount[:, None]
    return mixed


def bump(points: Array, centre: ArrayLike, width: float, depth: float = 0.6) -> Array:
    """A Gaussian bell [N] about a canonical point; distances in depth count `depth` times."""
    away = (points - np.asarray(centre)) * np.array([1.0, 1.0, depth]) / width
    bell: Array = np.exp(-(away**2).sum(-1))
    return bell


def smooth_noise(points: Array, frequency: float, seed: int) -> Array:
    """Noise [N] of about unit variance that varies over 1/frequency metres: a sum of plane waves."""
    rng = np.random.default_rng(seed)
    waves = rng.normal(size=(3, 24)) * frequency
    total: Array = np.sin(points @ waves + rng.uniform(0, 2 * np.pi, 24)).sum(1) / np.sqrt(24)
    return total
