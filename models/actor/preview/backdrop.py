"""What stands behind the actor: a soft round brightness, as a studio's paper under a spot."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatface.models.camera import Camera

__all__ = ["backdrop"]

_MIDDLE = np.array([0.66, 0.74, 0.82])
_EDGE = np.array([0.24, 0.33, 0.43])
_BRIGHTNESS = 0.85


def backdrop(camera: Camera, samples: int) -> NDArray[Any]:
    """Linear RGB [H * samples, W * samples, 3] f32 of the empty view."""
    height, width = camera.height * samples, camera.width * samples
    x = (np.arange(width) + 0.5) / width * 2 - 1
    y = (np.arange(height) + 0.5) / height * 2 - 1
    away = np.clip(np.hypot(*np.meshgrid(x, y + 0.1)) / 1.7, 0, 1)[..., None] ** 1.5
    light: NDArray[Any] = (_BRIGHTNESS * (_MIDDLE * (1 - away) + _EDGE * away)).astype(np.float32)
    return light
