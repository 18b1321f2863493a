"""A pinhole camera in OpenCV axes (x right, y down, z into the scene), metres and pixels."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["Camera"]


def _identity() -> NDArray[np.float64]:
    return np.eye(4)


@dataclass(frozen=True, slots=True)
class Camera:
    """Pixel (0, 0) covers 0..1 in both directions: its centre is at (0.5, 0.5)."""

    width: int
    height: int
    fx: float  # px
    fy: float  # px
    cx: float  # px
    cy: float  # px
    T_camera_world: NDArray[np.float64] = field(default_factory=_identity)  # [4, 4]

    def scaled_to(self, width: int, height: int) -> "Camera":
        """The same view on another canvas: the picture's shorter relative side is kept whole.

        The scale is the larger of the two that fit the old view inside the new canvas, the
        remaining direction shows more (or, where the scene ends, background). Pixels stay square
        if they were.
        """
        scale = min(width / self.width, height / self.height)
        return Camera(
            width=width,
            height=height,
            fx=self.fx * scale,
            fy=self.fy * scale,
            cx=self.cx * scale + (width - self.width * scale) / 2,
            cy=self.cy * scale + (height - self.height * scale) / 2,
            T_camera_world=self.T_camera_world,
        )
