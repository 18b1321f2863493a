"""The question that every field answers: how do these Gaussians move under this condition?"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

__all__ = ["Condition", "Deformation", "Field", "GaussianTensors"]


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
    """What the person does in one picture."""

    mouth: Tensor  # [8] MOUTH_MODES
    controls: Tensor  # [8] CONTROLS
    pose: Tensor  # [6] head: yaw, pitch, roll (rad, REP 103) and shift x, y, z (m, canonical axes)
    audio: Tensor | None  # [S, W, D] S windows 20 ms apart (newest last) of W feature frames, or None


@dataclass(frozen=True, slots=True)
class Deformation:
    """How N Gaussians differ from their canonical state."""

    deltas: Tensor  # [N, 14] see DELTA_CHANNELS
    dynamism: Tensor | None  # [N] 0..1, or None where the field has none


class Field(Protocol):
    """A torch module. It also may predict the canonical state itself (GaussianTalker's F_can)."""

    def canonical(self, gaussians: GaussianTensors) -> GaussianTensors:
        """The canonical Gaussians; most fields hand back what they get."""

    def forward(self, means: Tensor, condition: Condition, rows: Tensor | None = None) -> Deformation:
        """Movement of the canonical Gaussians at `means` [N, 3] under the condition.

        With `rows` [M] (int64) only these are asked for: deltas [M, 14], dynamism [M].
        """

    def bind_positions(self, means: Tensor, rows: Tensor | None = None) -> Callable[[Condition], Deformation]:
        """`forward` with what depends on the places alone done once: for many conditions at one state."""
