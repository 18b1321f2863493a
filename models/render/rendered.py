"""What a renderer returns, and what it draws on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from splatface.models.camera import Camera
from splatface.models.errors import RenderError

__all__ = ["Rendered", "as_background"]


@dataclass(frozen=True, slots=True)
class Rendered:
    """A picture, and how much of the background is seen through it."""

    image: NDArray[np.float32]  # [H, W, 3] RGB, background included; 0..1 where the colours are
    transmittance: NDArray[np.float32]  # [H, W] 1 = nothing drawn here, 0 = opaque
    extra: NDArray[np.float32] | None = None  # [H, W, C] the extra channels, on a background of 0


def as_background(background: ArrayLike, camera: Camera) -> NDArray[np.float32]:
    """A colour as [1, 1, 3] or a picture as [H, W, 3], contiguous float32.

    Raises RenderError when it is neither a colour [3] nor a picture of the camera's size.
    """
    array = np.asarray(background, dtype=np.float32)
    if array.shape == (3,):
        return np.ascontiguousarray(array.reshape(1, 1, 3))
    if array.shape == (camera.height, camera.width, 3):
        return np.ascontiguousarray(array)
    raise RenderError(
        f"background: expected a colour [3] or a picture [{camera.height}, {camera.width}, 3], "
        f"found shape {list(array.shape)}: resize the picture to the camera"
    )
