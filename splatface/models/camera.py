"""A pinhole camera in OpenCV axes (x right, y down, z into the scene), meters and pixels."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["Camera"]


def _identity() -> NDArray[np.float64]:
    return np.eye(4)


@dataclass(frozen=True, slots=True)
class Camera:
    """Pixel (0, 0) covers 0..1 in both directions: its center is at (0.5, 0.5)."""

    width: int
    height: int
    fx: float  # px
    fy: float  # px
    cx: float  # px
    cy: float  # px
    T_camera_world: NDArray[np.float64] = field(default_factory=_identity)  # [4, 4]

    def project(self, points_m: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where points [..., 3] of the world are seen [..., 2] px; nonsense for those behind the camera."""
        seen = points_m @ self.T_camera_world[:3, :3].T + self.T_camera_world[:3, 3]
        places: NDArray[np.float64] = seen[..., :2] / seen[..., 2:] * (self.fx, self.fy) + (self.cx, self.cy)
        return places

    def scaled_to(self, width: int, height: int) -> "Camera":
        """The same view on another canvas: the image's shorter relative side is kept whole.

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
