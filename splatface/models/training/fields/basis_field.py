# SPDX-License-Identifier: Apache-2.0
"""A linear basis trained directly: what is trained is what a head file stores."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor, nn

from splatface.models.errors import TrainingError
from splatface.models.head.head import DELTA_CHANNELS, MOTION_SIZE, MotionMap
from splatface.models.training.fields.field import Condition, Deformation, GaussianTensors
from splatface.models.training.fields.field_config import BasisConfig
from splatface.models.training.fields.layers import delta_units

__all__ = ["BasisField", "MotionNet", "PointModes", "apply_basis", "gelu", "start_basis"]


def gelu(x: Tensor) -> Tensor:
    """Return GELU in its tanh form (Hendrycks and Gimpel 2016), any shape."""
    return nn.functional.gelu(x, approximate="tanh")


class MotionNet(nn.Module):
    """c = x @ linear + (gelu(x @ w1 + b1) - gelu(b1)) @ w2, x = [mouth, controls], c = 0 in the rest pose."""

    def __init__(self, coefficients: int, hidden: int, generator: torch.Generator) -> None:
        """Start with c[:16] = x; the bend drives the others, whose rows of the basis are still zero."""
        super().__init__()
        self.linear = nn.Parameter(torch.eye(MOTION_SIZE, coefficients))
        self.w1 = nn.Parameter(torch.randn(MOTION_SIZE, hidden, generator=generator))
        self.b1 = nn.Parameter(torch.rand(hidden, generator=generator) - 0.5)
        w2 = torch.randn(hidden, coefficients, generator=generator) / max(hidden, 1) ** 0.5
        w2[:, :MOTION_SIZE] = 0
        self.w2 = nn.Parameter(w2)

    def forward(self, condition: Condition) -> Tensor:
        """Return coefficients [K]."""
        x = torch.cat([condition.mouth, condition.controls])
        nonlinear = gelu(x @ self.w1 + self.b1) - gelu(self.b1)
        c: Tensor = x @ self.linear + nonlinear @ self.w2
        return c

    def motion_map(self) -> MotionMap:
        """Return the same map as arrays, to be stored with a head."""
        arrays = {name: tensor.detach().float().numpy().copy() for name, tensor in self.named_parameters()}
        return MotionMap(**arrays)


LEAST_MOVEMENT_M = 2e-4  # per unit of any mode: a fifth of a pixel on a 512 x 512 image of a head


@dataclass(frozen=True, slots=True, eq=False)
class PointModes:
    """Motion of P points of a person: the part of a data set's `Points` that a basis starts from."""

    means: NDArray[Any]  # [P, 3] m, canonical frame
    mouth_modes: NDArray[Any]  # [P, 8, 3] m per unit
    control_modes: NDArray[Any]  # [P, 8, 3] m per unit
    dynamic: NDArray[np.bool_]  # [P] change their looks even where nothing moves them: eyes, lips, mouth

    def __post_init__(self) -> None:
        shapes = tuple(a.shape for a in (self.means, self.mouth_modes, self.control_modes, self.dynamic))
        count = len(self.means)
        if count == 0 or shapes != ((count, 3), (count, 8, 3), (count, 8, 3), (count,)):
            raise TrainingError(
                f"point modes: expected [P, 3], [P, 8, 3], [P, 8, 3] and [P] with P > 0, found {shapes}: "
                "make the data set's points again"
            )


def start_basis(means: Tensor, modes: PointModes | None, coefficients: int) -> tuple[Tensor, Tensor]:
    """Return basis [M, 14, K] and dynamic [M] (rising) for Gaussians at `means` [N, 3] m.

    Means move by the modes of the nearest point, mouth modes first, then controls; all else starts at zero.
    Dynamic are those whose point is, or moves with some mode. Without points all Gaussians are dynamic and
    start in the rest pose.
    """
    if modes is None:
        return torch.zeros(len(means), DELTA_CHANNELS, coefficients), torch.arange(len(means))
    _, nearest = cKDTree(modes.means).query(means.detach().cpu().numpy())
    by_mode = np.concatenate([modes.mouth_modes, modes.control_modes], axis=1)[nearest]  # [N, 16, 3]
    is_moving = np.linalg.norm(by_mode, axis=2).max(axis=1) > LEAST_MOVEMENT_M
    dynamic = np.flatnonzero(is_moving | modes.dynamic[nearest])
    basis = torch.zeros(len(dynamic), DELTA_CHANNELS, coefficients)
    basis[:, :3, :MOTION_SIZE] = torch.from_numpy(by_mode[dynamic].transpose(0, 2, 1)).float()
    return basis, torch.from_numpy(dynamic)


DYNAMISM_START = 2.0  # logit: 0.88, so that what is given moves nearly as given and may still be held back


class BasisField(nn.Module):
    """deltas = d * (basis @ c) on the dynamic Gaussians, c from the motion map, d one dynamism per Gaussian.

    Audio-Plane predicts dynamism from sound and position; here it belongs to the Gaussian, so that it can be
    multiplied into the basis at the end and decide which Gaussians are dynamic at all.
    The basis belongs to Gaussians by row: after Gaussians were split or removed call `remap_gaussians`.
    """

    dynamic: Tensor
    mask: Tensor

    def __init__(
        self, config: BasisConfig, basis: Tensor, dynamic: Tensor, count: int, generator: torch.Generator
    ) -> None:
        """Start training from `basis` [M, 14, K], whose rows are `dynamic` [M] among `count` Gaussians."""
        super().__init__()
        expected_shape = (len(dynamic), DELTA_CHANNELS, config.coefficients)
        if tuple(basis.shape) != expected_shape:
            raise TrainingError(
                f"basis: expected {list(expected_shape)}, found {list(basis.shape)}: make it anew"
            )
        self.config, self.count = config, count
        self.motion = MotionNet(config.coefficients, config.hidden, generator)
        self.register_buffer("dynamic", dynamic.long())
        self.register_buffer("mask", (delta_units(config.deltas) > 0).float())
        learned = config.dynamism == "learned"
        # The dynamism's start is divided out, so that the basis moves Gaussians as given from the beginning.
        start = torch.sigmoid(torch.tensor(DYNAMISM_START)) if learned else 1.0
        self.basis = nn.Parameter((basis * self.mask[:, None] / start).contiguous())
        self.dynamism = nn.Parameter(torch.full((len(dynamic),), DYNAMISM_START)) if learned else None

    def canonical(self, gaussians: GaussianTensors) -> GaussianTensors:
        """Return the Gaussians unchanged: this field only deforms them."""
        return gaussians

    def forward(self, means: Tensor, condition: Condition, rows: Tensor | None = None) -> Deformation:
        """See Field."""
        return self.bind_positions(means, rows)(condition)

    def bind_positions(self, means: Tensor, rows: Tensor | None = None) -> Callable[[Condition], Deformation]:
        """See Field; positions play no part, only their number is checked."""
        if len(means) != self.count:
            raise TrainingError(
                f"basis field: expected {self.count} Gaussians, found {len(means)}: "
                "call remap_gaussians() after densifying"
            )
        return lambda condition: self._deform(condition, rows)

    def _deform(self, condition: Condition, rows: Tensor | None) -> Deformation:
        deltas_dynamic = apply_basis(self.basis, self.motion(condition)) * self.mask
        dynamism = None
        if self.dynamism is not None:
            d = torch.sigmoid(self.dynamism)
            deltas_dynamic = deltas_dynamic * d[:, None]
            dynamism = deltas_dynamic.new_zeros(self.count).index_copy(0, self.dynamic, d)
        deltas = deltas_dynamic.new_zeros(self.count, DELTA_CHANNELS).index_copy(
            0, self.dynamic, deltas_dynamic
        )
        if rows is None:
            return Deformation(deltas=deltas, dynamism=dynamism)
        return Deformation(deltas=deltas[rows], dynamism=None if dynamism is None else dynamism[rows])

    def motion_map(self) -> MotionMap:
        """Return the map of mouth and controls to coefficients, as a head stores it."""
        return self.motion.motion_map()

    @torch.no_grad()
    def linear_basis(self) -> tuple[Tensor, Tensor]:
        """Return what a head stores: dynamic [M] (rising) and basis [M, 14, K] times the dynamism."""
        basis = self.basis.detach() * self.mask[:, None]
        if self.dynamism is not None:
            basis = basis * torch.sigmoid(self.dynamism)[:, None, None]
        order = torch.argsort(self.dynamic)
        return self.dynamic[order], basis[order].contiguous()

    @torch.no_grad()
    def remap_gaussians(self, source: Tensor) -> Tensor:
        """Take over a new set of Gaussians: `source` [N'] (int64) names the old one that each comes from.

        The basis and dynamism become new parameters. Returns `taken` [M']: which old dynamic row each new one
        continues, to carry the optimizer's state along.
        """
        row_of_gaussian = self.dynamic.new_full((self.count,), -1)
        row_of_gaussian[self.dynamic] = torch.arange(len(self.dynamic), device=row_of_gaussian.device)
        from_row = row_of_gaussian[source]
        dynamic = (from_row >= 0).nonzero()[:, 0]
        self._select_rows(dynamic, from_row[dynamic], len(source))
        return from_row[dynamic]

    def _select_rows(self, dynamic: Tensor, kept_rows: Tensor, count: int) -> None:
        self.dynamic, self.count = dynamic, count
        self.basis = nn.Parameter(self.basis.detach()[kept_rows].contiguous())
        if self.dynamism is not None:
            self.dynamism = nn.Parameter(self.dynamism.detach()[kept_rows].contiguous())


def apply_basis(basis: Tensor, c: Tensor) -> Tensor:
    """Return basis [M, 14, K] @ c [K] = [M, 14]; its gradient is written once, as an outer product."""
    deltas_dynamic: Tensor = _Apply.apply(basis, c)
    return deltas_dynamic


class _Apply(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, basis: Tensor, c: Tensor) -> Tensor:
        ctx.save_for_backward(basis, c)
        return torch.mv(basis.view(-1, len(c)), c).view(basis.shape[:2])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        basis, c = ctx.saved_tensors
        flat = gradient.reshape(-1)
        d_basis = torch.outer(flat, c).view_as(basis) if ctx.needs_input_grad[0] else None
        d_c = flat @ basis.view(-1, len(c)) if ctx.needs_input_grad[1] else None
        return d_basis, d_c
