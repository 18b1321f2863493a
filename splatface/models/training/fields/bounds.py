"""The box that grids span, and places within it."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from splatface.models.errors import TrainingError

__all__ = ["Bounds", "Box", "bounds_of"]


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


def bounds_of(means: Tensor, margin: float = 0.05) -> Bounds:
    """The box around points [N, 3] m, wider by a share of its size on every side.

    The margin leaves room for Gaussians that training moves; further out they see the border's features.
    """
    low, high = means.detach().amin(0), means.detach().amax(0)
    room = margin * (high - low) + 1e-3
    return Bounds(tuple((low - room).tolist()), tuple((high + room).tolist()))


class Box(nn.Module):
    """Metres to 0..1 within bounds, kept with a field's weights."""

    low: Tensor
    size: Tensor

    def __init__(self, bounds: Bounds) -> None:
        super().__init__()
        low = torch.tensor(bounds.low)
        self.register_buffer("low", low)
        self.register_buffer("size", torch.tensor(bounds.high) - low)

    def forward(self, means: Tensor) -> Tensor:
        """Places [N, 3]; outside the box below 0 or above 1."""
        return (means - self.low) / self.size
