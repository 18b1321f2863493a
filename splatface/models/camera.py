# SPDX-License-Identifier: Apache-2.0
"""A pinhole camera in OpenCV axes (x right, y down, z into the scene), meters and pixels."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["Camera"]


def _identity() -> NDArray[np.float64]:
    return np.eye(4)


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole camera. Pixel (0, 0) covers 0..1 in both directions: its center is at (0.5, 0.5)."""

    width: int
    height: int
    fx: float  # px
    fy: float  # px
    cx: float  # px
    cy: float  # px
    T_camera_world: NDArray[np.float64] = field(default_factory=_identity)  # [4, 4]

    def project(self, points_m: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the pixels [..., 2] of world points [..., 3]; meaningless for those behind the camera."""
        camera_points = points_m @ self.T_camera_world[:3, :3].T + self.T_camera_world[:3, 3]
        pixels: NDArray[np.float64] = camera_points[..., :2] / camera_points[..., 2:] * (self.fx, self.fy) + (
            self.cx,
            self.cy,
        )
        return pixels

    def scaled_to(self, width: int, height: int) -> "Camera":
        """Return the same view on another canvas, with the whole old image inside.

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
