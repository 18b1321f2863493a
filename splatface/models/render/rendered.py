"""What a renderer returns, and what it draws on."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from splatface.models.camera import Camera
from splatface.models.errors import RenderError
from splatface.models.head.splats import Splats

__all__ = ["RenderOutput", "as_background", "check_extra", "check_splats"]


@dataclass(frozen=True, slots=True)
class RenderOutput:
    """A picture, and how much of the background is seen through it."""

    image: NDArray[np.float32]  # [H, W, 3] RGB, background included; 0..1 where the colors are
    transmittance: NDArray[np.float32]  # [H, W] 1 = nothing drawn here, 0 = opaque
    extra: NDArray[np.float32] | None = None  # [H, W, C] the extra channels, on a background of 0

    def as_uint8(self) -> NDArray[np.uint8]:
        """The picture [H, W, 3], rounded to 0..255."""
        return (np.clip(self.image, 0.0, 1.0) * np.float32(255) + np.float32(0.5)).astype(np.uint8)


def as_background(background: ArrayLike, camera: Camera) -> NDArray[np.float32]:
    """A color as [1, 1, 3] or a picture as [H, W, 3], contiguous float32.

    Raises RenderError when it is neither a color [3] nor a picture of the camera's size.
    """
    array = np.asarray(background, dtype=np.float32)
    if array.shape == (3,):
        return np.ascontiguousarray(array.reshape(1, 1, 3))
    if array.shape == (camera.height, camera.width, 3):
        return np.ascontiguousarray(array)
    raise RenderError(
        f"background: expected a color [3] or a picture [{camera.height}, {camera.width}, 3], "
        f"found shape {list(array.shape)}: resize the picture to the camera"
    )


def check_splats(splats: Splats) -> Splats:
    """The splats themselves, or RenderError where a shape, a type or the memory layout does not fit."""
    count = len(splats.means)
    fits: dict[str, Callable[[tuple[int, ...]], bool]] = {
        "means": lambda shape: shape == (count, 3),
        "quats": lambda shape: shape == (count, 4),
        "scales": lambda shape: shape == (count, 3),
        "opacities": lambda shape: shape == (count,),
        "sh": lambda shape: (
            len(shape) == 3 and shape[0] == count and shape[1] in (1, 4, 9, 16) and shape[2] == 3
        ),
    }
    for name, fit in fits.items():
        array = getattr(splats, name)
        if not (fit(array.shape) and array.dtype == np.float32 and array.flags.c_contiguous):
            raise RenderError(
                f"splats.{name}: expected contiguous float32 for {count} Gaussians (sh [N, 1|4|9|16, 3]), "
                f"found {array.dtype} {list(array.shape)}: use np.ascontiguousarray(x, np.float32)"
            )
    return splats


def check_extra(extra: NDArray[np.float32] | None, count: int) -> NDArray[np.float32]:
    """Extra channels [N, C], with C = 0 when there are none; RenderError when they do not fit."""
    if extra is None:
        return np.empty((count, 0), np.float32)
    if extra.ndim != 2 or len(extra) != count or extra.dtype != np.float32 or not extra.flags.c_contiguous:
        raise RenderError(
            f"extra: expected contiguous float32 [{count}, C], found {extra.dtype} {list(extra.shape)}: "
            "one row per Gaussian"
        )
    return extra
