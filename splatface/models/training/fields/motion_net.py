"""The motion map as a torch module: the trained twin of `MotionMap` in models/head."""

import torch
from torch import Tensor, nn

from splatface.models.head.motion_map import MOTION_SIZE, MotionMap
from splatface.models.training.fields.field import Condition
from splatface.models.training.fields.gelu import gelu

__all__ = ["MotionNet"]


class MotionNet(nn.Module):
    """c = x @ linear + (gelu(x @ w1 + b1) - gelu(b1)) @ w2, x = [mouth, controls], c = 0 at rest."""

    def __init__(self, coefficients: int, hidden: int, generator: torch.Generator) -> None:
        """At first c[:16] = x; the bend drives the others, whose rows of the basis are still zero."""
        super().__init__()
        self.linear = nn.Parameter(torch.eye(MOTION_SIZE, coefficients))
        self.w1 = nn.Parameter(torch.randn(MOTION_SIZE, hidden, generator=generator))
        self.b1 = nn.Parameter(torch.rand(hidden, generator=generator) - 0.5)
        w2 = torch.randn(hidden, coefficients, generator=generator) / max(hidden, 1) ** 0.5
        w2[:, :MOTION_SIZE] = 0
        self.w2 = nn.Parameter(w2)

    def forward(self, condition: Condition) -> Tensor:
        """Coefficients [K]."""
        x = torch.cat([condition.mouth, condition.controls])
        bend = gelu(x @ self.w1 + self.b1) - gelu(self.b1)
        c: Tensor = x @ self.linear + bend @ self.w2
        return c

    def motion_map(self) -> MotionMap:
        """The same map as arrays, to be stored with a head."""
        arrays = {name: tensor.detach().float().numpy().copy() for name, tensor in self.named_parameters()}
        return MotionMap(**arrays)
