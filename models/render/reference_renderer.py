"""The reference as a renderer like the others: numpy in, numpy out."""

from dataclasses import fields

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from ..camera import Camera
from ..head.splats import Splats
from .reference import SplatTensors, draw_reference
from .rendered import Rendered, as_background, check_splats

__all__ = ["ReferenceRenderer"]


class ReferenceRenderer:
    """Draws by the definition, in float64; seconds per picture."""

    def __init__(self, *, supersample: int = 1) -> None:
        self.supersample = supersample

    def draw(
        self,
        splats: Splats,
        camera: Camera,
        background: ArrayLike,
        extra: NDArray[np.float32] | None = None,
    ) -> Rendered:
        """The picture, its transmittance and, with `extra` [N, C], the extra channels."""
        check_splats(splats)
        arrays = {f.name: torch.from_numpy(getattr(splats, f.name)).double() for f in fields(splats)}
        tensors = SplatTensors(**arrays, extra=None if extra is None else torch.from_numpy(extra).double())
        fine = camera.scaled_to(camera.width * self.supersample, camera.height * self.supersample)
        with torch.no_grad():
            planes = draw_reference(tensors, fine, torch.zeros(1, 1, 3, dtype=torch.float64))
        colour, through, others = (self._averaged(plane.numpy()) for plane in planes)
        image = colour + through[..., None] * as_background(background, camera)
        return Rendered(
            image.astype(np.float32),
            through.astype(np.float32),
            None if extra is None else others.astype(np.float32),
        )

    def _averaged(self, plane: NDArray[np.float64]) -> NDArray[np.float64]:
        step = self.supersample
        height, width = plane.shape[0] // step, plane.shape[1] // step
        averaged: NDArray[np.float64] = plane.reshape(height, step, width, step, *plane.shape[2:]).mean(
            axis=(1, 3)
        )
        return averaged
