"""Small functions of arrays that painting and combing need."""

import numpy as np
from numpy.typing import ArrayLike

from splatface.models.typing import AnyArray

__all__ = ["bump", "coordinates", "lerp", "smooth_noise", "smoothstep"]


def coordinates(points: AnyArray) -> tuple[AnyArray, AnyArray, AnyArray]:
    """Canonical points [..., 3] as (across, back, up): to the picture's right, into the scene, upwards."""
    return points[..., 0], points[..., 2], -points[..., 1]


def smoothstep(start: float, end: float, values: AnyArray) -> AnyArray:
    """0 at `start`, 1 at `end` (which may lie below), smooth between."""
    t = np.clip((values - start) / (end - start), 0.0, 1.0)
    step: AnyArray = t * t * (3 - 2 * t)
    return step


def lerp(colors: AnyArray, other: ArrayLike, amount: AnyArray) -> AnyArray:
    """Blend colors [N, 3] to others by amounts [N]."""
    mixed: AnyArray = colors * (1 - amount[:, None]) + np.asarray(other) * amount[:, None]
    return mixed


def bump(points: AnyArray, center: ArrayLike, width: float, depth: float = 0.6) -> AnyArray:
    """A Gaussian bell [N] about a canonical point; distances in depth count `depth` times."""
    away = (points - np.asarray(center)) * np.array([1.0, 1.0, depth]) / width
    bell: AnyArray = np.exp(-(away**2).sum(-1))
    return bell


def smooth_noise(points: AnyArray, frequency: float, seed: int) -> AnyArray:
    """Noise [N] of about unit variance that varies over 1/frequency meters: a sum of plane waves."""
    rng = np.random.default_rng(seed)
    waves = rng.normal(size=(3, 24)) * frequency
    total: AnyArray = np.sin(points @ waves + rng.uniform(0, 2 * np.pi, 24)).sum(1) / np.sqrt(24)
    return total
