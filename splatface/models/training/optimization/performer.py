"""A trained person as baking sees it: canonical Gaussians, and how they move in each picture."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from splatface.models.render.autograd import DifferentiableRenderer
from splatface.models.training.dataset.types import Dataset
from splatface.models.training.optimization.skin import pose_rows, skin_gaussians_torch

__all__ = ["DatasetRenderer", "DeformationSource"]


@dataclass(frozen=True, slots=True, eq=False)
class DeformationSource:
    """Whatever was trained, asked row by row. On the CPU."""

    table: Tensor  # [N, row_width] canonical Gaussians with skin logits, see packed.py
    deltas: Callable[[int], Tensor]  # row of the data set -> movement [N, 14], no graph


class DatasetRenderer:
    """Where a performer is drawn: one film, one camera, one background, one renderer."""

    def __init__(self, dataset: Dataset, threads: int = 1) -> None:
        self._camera, self._frames = dataset.camera, dataset.frames
        self._background = torch.from_numpy(np.ascontiguousarray(dataset.background, np.float32))
        self._renderer = DifferentiableRenderer(threads)

    def picture(self, table: Tensor, deltas: Tensor, row: int) -> Tensor:
        """The picture [H, W, 3] of Gaussians moved by deltas [N, 14] in a row's pose; keeps the graph."""
        head, torso = self._frames.T_world_head[row], self._frames.T_world_torso[row]
        pose = torch.from_numpy(pose_rows(head, torso)).to(table.dtype)
        return self._renderer.draw(
            skin_gaussians_torch(table, deltas, pose), self._camera, self._background
        ).image
