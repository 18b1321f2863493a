"""One picture drawn, compared, and traced back: how each Gaussian, movement and bone should change.

Compiled kernels end to end; the definitions are `skin_splats`, `draw_reference` and `picture_loss`, and
autograd through them says the same.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatface.models.camera import Camera
from splatface.models.head.splats import Splats
from splatface.models.render.cpu import CpuRenderer
from splatface.models.render.gradients import ImageGrads, SplatGrads, rasterize_backward
from splatface.models.render.rendered import RenderOutput
from splatface.models.training.optimization.config import LossConfig
from splatface.models.training.optimization.likeness import add_perceptual_loss, make_perceptual_loss
from splatface.models.training.optimization.loss_kernels import ImageLoss
from splatface.models.training.optimization.losses import Target
from splatface.models.training.optimization.skin_kernels import skin_backward, skin_gaussians
from splatface.models.typing import Float32Array

__all__ = ["DeformedGaussians", "Gradients", "RenderLoss"]


@dataclass(frozen=True, slots=True, eq=False)
class DeformedGaussians:
    """What is drawn in one picture, before the bones."""

    table: Float32Array  # [N, W] see packed.py
    rows: NDArray[np.int64]  # [R] Gaussians that move
    deltas: Float32Array  # [R, 14]
    dynamism: Float32Array | None = None  # [R] 0..1, where the mask's loss is asked for


@dataclass(frozen=True, slots=True, eq=False)
class Gradients:
    """A loss, and dL/d of what was drawn."""

    loss: float
    squared_error: float
    table: Float32Array  # [N, W]
    deltas: Float32Array  # [R, 14]
    dynamism: Float32Array | None  # [R]
    pose: Float32Array  # [2, POSE]
    means2d_grad: Float32Array  # [N, 2] per px

    @property
    def finite(self) -> bool:
        """Whether a step may follow them."""
        sums = (self.loss, self.table.sum(dtype=np.float64), self.deltas.sum(dtype=np.float64))
        others = () if self.dynamism is None else (self.dynamism.sum(dtype=np.float64),)
        return bool(np.isfinite([*sums, *others, self.pose.sum(dtype=np.float64)]).all())


class RenderLoss:
    """Draws and compares pictures of one camera before one background; keeps its buffers."""

    def __init__(self, camera: Camera, background: Float32Array, config: LossConfig, threads: int) -> None:
        self.camera = camera
        self.renderer = CpuRenderer(threads)
        self.workers = self.renderer.workers
        self._background = np.ascontiguousarray(background, np.float32)
        self._compare = ImageLoss(camera.height, camera.width, config, self.workers)
        self._opinion = make_perceptual_loss(config)

    def draw(self, moves: DeformedGaussians, pose: NDArray[np.float64]) -> Float32Array:
        """The picture [H, W, 3] in a pose [2, POSE], see `pose_rows`."""
        moved = skin_gaussians(moves.table, moves.rows, moves.deltas, pose, self.workers)
        return self.renderer.draw(moved.splats, self.camera, self._background).image

    def loss_and_grads(
        self, moves: DeformedGaussians, pose: NDArray[np.float64], target: Target
    ) -> Gradients:
        """Compare the picture in a pose [2, POSE] with its target, and go back to what it is made of."""
        moved = skin_gaussians(moves.table, moves.rows, moves.deltas, pose, self.workers)
        extra = self._extra(moves)
        drawn = self.renderer.draw(moved.splats, self.camera, self._background, extra)
        found = self._compare(drawn, target)
        loss = found.value
        if self._opinion:
            loss += add_perceptual_loss(self._opinion, drawn.image, target.picture, found.slopes)
        above = ImageGrads(found.slopes, found.slopes_transmittance, found.slopes_dynamism)
        below = self._back(moved.splats, extra, drawn, above)
        slopes = skin_backward(moved, moves.rows, below, self.workers)
        return Gradients(
            loss=loss,
            squared_error=found.squared_error,
            table=slopes.table,
            deltas=slopes.deltas,
            dynamism=None if extra is None else below.extra[moves.rows, 0],
            pose=slopes.pose,
            means2d_grad=below.centers,
        )

    def _extra(self, moves: DeformedGaussians) -> Float32Array | None:
        if moves.dynamism is None:
            return None
        extra = np.zeros((len(moves.table), 1), np.float32)
        extra[moves.rows, 0] = moves.dynamism
        return extra

    def _back(
        self, splats: Splats, extra: Float32Array | None, drawn: RenderOutput, above: ImageGrads
    ) -> SplatGrads:
        return rasterize_backward(self.renderer, (splats, self.camera), extra, drawn, above)
