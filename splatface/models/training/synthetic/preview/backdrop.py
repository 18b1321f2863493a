"""What stands behind the actor: the gradient that stands behind the film's, lightest behind the head."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatface.models.camera import Camera
from splatface.models.training.synthetic.preview.develop import light_of

__all__ = ["backdrop"]

_CENTER = np.array([0.80, 0.83, 0.86])  # sRGB
_CORNER = np.array([0.60, 0.65, 0.70])


def backdrop(camera: Camera, block: int) -> NDArray[Any]:
    """Linear light [H * block, W * block, 3] f32 of the empty view; all samples of a pixel are alike."""
    x = (np.arange(camera.width) + 0.5) / camera.width - 0.5
    y = (np.arange(camera.height) + 0.5) / camera.height - 0.5
    far = np.clip(np.hypot(*np.meshgrid(x, y + 0.08)) / 0.75, 0, 1)[..., None] ** 1.5
    # Dithered: 8 bits alone would show rings.
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (camera.height, camera.width, 1)) / 255
    light = light_of(_CENTER * (1 - far) + _CORNER * far + noise).astype(np.float32)
    fine: NDArray[Any] = np.repeat(np.repeat(light, block, axis=0), block, axis=1)
    return fine
