# SPDX-License-Identifier: Apache-2.0
"""The interface of all fields: Gaussians and a condition in, deltas out; and the box that grids span."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from splatface.models.errors import TrainingError

__all__ = ["Bounds", "Box", "Condition", "Deformation", "Field", "GaussianTensors", "bounding_box"]


@dataclass(frozen=True, slots=True)
class GaussianTensors:
    """`Gaussians` as tensors: unconstrained, canonical frame."""

    means: Tensor  # [N, 3] m
    quats: Tensor  # [N, 4] wxyz
    log_scales: Tensor  # [N, 3]
    opacity_logits: Tensor  # [N]
    sh: Tensor  # [N, (d + 1)^2, 3]


@dataclass(frozen=True, slots=True)
class Condition:
    """Motion, pose and audio of the person in one frame."""

    mouth: Tensor  # [8] MOUTH_MODES
    controls: Tensor  # [8] CONTROLS
    pose: Tensor  # [6] head: yaw, pitch, roll (rad, REP 103) and shift x, y, z (m, canonical axes)
    audio: Tensor | None  # [S, W, D] S windows 20 ms apart (newest last) of W feature frames, or None


@dataclass(frozen=True, slots=True)
class Deformation:
    """Differences of N Gaussians from their canonical state."""

    deltas: Tensor  # [N, 14] see DELTA_CHANNELS
    dynamism: Tensor | None  # [N] 0..1, or None where the field has none


class Field(Protocol):
    """A torch module that deforms Gaussians and may predict the canonical state (GaussianTalker's F_can)."""

    def canonical(self, gaussians: GaussianTensors) -> GaussianTensors:
        """Return the canonical Gaussians; most fields return their input."""

    def forward(self, means: Tensor, condition: Condition, rows: Tensor | None = None) -> Deformation:
        """Return the deformation of the canonical Gaussians at `means` [N, 3] under the condition.

        With `rows` [M] (int64) only these are asked for: deltas [M, 14], dynamism [M].
        """

    def bind_positions(self, means: Tensor, rows: Tensor | None = None) -> Callable[[Condition], Deformation]:
        """Return `forward` for fixed means, with what depends on them alone computed once."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """A box in the canonical frame, meters."""

    low: tuple[float, float, float]
    high: tuple[float, float, float]

    def __post_init__(self) -> None:
        if not all(a < b for a, b in zip(self.low, self.high, strict=True)):
            raise TrainingError(
                f"bounds: expected low < high along every axis, found {self.low} and {self.high}: "
                "give points that span a volume"
            )


def bounding_box(means: Tensor, margin: float = 0.05) -> Bounds:
    """Return the box around points [N, 3] m, wider by a fraction of its size on every side.

    The margin leaves room for Gaussians that training moves; further out they see the border's features.
    """
    low, high = means.detach().amin(0), means.detach().amax(0)
    margin_m = margin * (high - low) + 1e-3
    return Bounds(tuple((low - margin_m).tolist()), tuple((high + margin_m).tolist()))


class Box(nn.Module):
    """Meters to 0..1 within bounds, kept with a field's weights."""

    low: Tensor
    size: Tensor

    def __init__(self, bounds: Bounds) -> None:
        super().__init__()
        low = torch.tensor(bounds.low)
        self.register_buffer("low", low)
        self.register_buffer("size", torch.tensor(bounds.high) - low)

    def forward(self, means: Tensor) -> Tensor:
        """Return positions [N, 3] in the box; outside it below 0 or above 1."""
        return (means - self.low) / self.size
