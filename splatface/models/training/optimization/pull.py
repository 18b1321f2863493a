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
from splatface.models.render.gradients import PictureSlopes, SplatSlopes, draw_backward
from splatface.models.render.rendered import Rendered
from splatface.models.training.optimization.config import LossConfig
from splatface.models.training.optimization.likeness import add_opinion, opinion_of
from splatface.models.training.optimization.loss_kernels import Comparison
from splatface.models.training.optimization.losses import Target
from splatface.models.training.optimization.skin_kernels import skin, skin_backward

__all__ = ["Easel", "Moves", "Slopes"]

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Moves:
    """What is drawn in one picture, before the bones."""

    table: Floats  # [N, W] see packed.py
    rows: NDArray[np.int64]  # [R] Gaussians that move
    deltas: Floats  # [R, 14]
    dynamism: Floats | None = None  # [R] 0..1, where the mask's loss is asked for


@dataclass(frozen=True, slots=True, eq=False)
class Slopes:
    """A loss, and dL/d of what was drawn."""

    loss: float
    squared_error: float
    table: Floats  # [N, W]
    deltas: Floats  # [R, 14]
    dynamism: Floats | None  # [R]
    pose: Floats  # [2, POSE]
    centres: Floats  # [N, 2] per px

    @property
    def finite(self) -> bool:
        """Whether a step may follow them."""
        sums = (self.loss, self.table.sum(dtype=np.float64), self.deltas.sum(dtype=np.float64))
        others = () if self.dynamism is None else (self.dynamism.sum(dtype=np.float64),)
        return bool(np.isfinite([*sums, *others, self.pose.sum(dtype=np.float64)]).all())


class Easel:
    """Draws and compares pictures of one camera before one background; keeps its buffers."""

    def __init__(self, camera: Camera, background: Floats, config: LossConfig, threads: int) -> None:
        self.camera = camera
        self.renderer = CpuRenderer(threads)
        self.workers = self.renderer.workers
        self._background = np.ascontiguousarray(background, np.float32)
        self._compare = Comparison(camera.height, camera.width, config, self.workers)
        self._opinion = opinion_of(config)

    def draw(self, moves: Moves, pose: NDArray[np.float64]) -> Floats:
        """The picture [H, W, 3] in a pose [2, POSE], see `pose_rows`."""
        moved = skin(moves.table, moves.rows, moves.deltas, pose, self.workers)
        return self.renderer.draw(moved.splats, self.camera, self._background).image

    def pull(self, moves: Moves, pose: NDArray[np.float64], target: Target) -> Slopes:
        """Compare the picture in a pose [2, POSE] with its target, and go back to what it is made of."""
        moved = skin(moves.table, moves.rows, moves.deltas, pose, self.workers)
        extra = self._extra(moves)
        drawn = self.renderer.draw(moved.splats, self.camera, self._background, extra)
        found = self._compare(drawn, target)
        loss = found.value
        if self._opinion:
            loss += add_opinion(self._opinion, drawn.image, target.picture, found.slopes)
        above = PictureSlopes(found.slopes, found.slopes_transmittance, found.slopes_dynamism)
        below = self._back(moved.splats, extra, drawn, above)
        slopes = skin_backward(moved, moves.rows, below, self.workers)
        return Slopes(
            loss=loss,
            squared_error=found.squared_error,
            table=slopes.table,
            deltas=slopes.deltas,
            dynamism=None if extra is None else below.extra[moves.rows, 0],
            pose=slopes.pose,
            centres=below.centres,
        )

    def _extra(self, moves: Moves) -> Floats | None:
        if moves.dynamism is None:
            return None
        extra = np.zeros((len(moves.table), 1), np.float32)
        extra[moves.rows, 0] = moves.dynamism
        return extra

    def _back(
        self, splats: Splats, extra: Floats | None, drawn: Rendered, above: PictureSlopes
    ) -> SplatSlopes:
        return draw_backward(self.renderer, (splats, self.camera), extra, drawn, above)
