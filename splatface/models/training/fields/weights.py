"""Layers whose start is drawn from a generator: the same seed gives the same field."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

__all__ = ["linear", "mlp"]


def linear(inputs: int, outputs: int, generator: torch.Generator, *, zero: bool = False) -> nn.Linear:
    """A layer with weights of variance 1 / inputs and no bias; all zero if asked."""
    layer = nn.Linear(inputs, outputs)
    drawn = torch.randn(outputs, inputs, generator=generator) / inputs**0.5
    layer.weight.data.copy_(torch.zeros_like(drawn) if zero else drawn)
    layer.bias.data.zero_()
    return layer


def mlp(sizes: Sequence[int], generator: torch.Generator, *, zero: bool = True) -> nn.Sequential:
    """Layers with ReLU between. The last starts at zero unless told otherwise: a field begins at rest."""
    layers: list[nn.Module] = []
    for i, (inputs, outputs) in enumerate(pairwise(sizes)):
        last = i == len(sizes) - 2
        layers.append(linear(inputs, outputs, generator, zero=zero and last))
        if not last:
            layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)
