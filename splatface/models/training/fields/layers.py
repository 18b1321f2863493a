# SPDX-License-Identifier: Apache-2.0
"""Layers of the fields: linear layers with seeded initial weights, MLPs, and the heads that give deltas."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from splatface.models.head.head import DELTA_CHANNELS
from splatface.models.training.fields.field_config import DELTA_PARTS

__all__ = ["DELTA_UNITS", "PART_CHANNELS", "DeltaHeads", "delta_units", "linear", "mlp"]


def linear(inputs: int, outputs: int, generator: torch.Generator, *, zero: bool = False) -> nn.Linear:
    """Return a layer with weights of variance 1 / inputs and no bias; all zero if asked."""
    layer = nn.Linear(inputs, outputs)
    random_weights = torch.randn(outputs, inputs, generator=generator) / inputs**0.5
    layer.weight.data.copy_(torch.zeros_like(random_weights) if zero else random_weights)
    layer.bias.data.zero_()
    return layer


def mlp(sizes: Sequence[int], generator: torch.Generator, *, zero: bool = True) -> nn.Sequential:
    """Return linear layers with ReLU between; the last starts at zero by default."""
    layers: list[nn.Module] = []
    for i, (inputs, outputs) in enumerate(pairwise(sizes)):
        last = i == len(sizes) - 2
        layers.append(linear(inputs, outputs, generator, zero=zero and last))
        if not last:
            layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


# Channels of each part in a row of deltas (see DELTA_CHANNELS).
PART_CHANNELS = {
    "mean": slice(0, 3),
    "rotation": slice(3, 7),
    "scale": slice(7, 10),
    "opacity": slice(10, 11),
    "color": slice(11, 14),
}
# Scale of an output of 1: a large yet ordinary movement, so that one learning rate suits all parts.
# Meters, quaternion, log-scale, opacity logit, SH degree 0. (The paper's heads have no units.)
DELTA_UNITS = {"mean": 0.01, "rotation": 0.1, "scale": 0.2, "opacity": 1.0, "color": 0.2}


def delta_units(parts: tuple[str, ...]) -> Tensor:
    """Return the unit of each channel [14], 0 where its part does not move."""
    units = torch.zeros(DELTA_CHANNELS)
    for part in parts:
        units[PART_CHANNELS[part]] = DELTA_UNITS[part]
    return units


class DeltaHeads(nn.Module):
    """MLPs for delta mu, r, s, alpha and SH (GaussianTalker, section 3.3): width -> hidden -> part.

    GaussianTalker moves all SH coefficients; a head file stores deltas of degree 0 alone, so ours do too.
    Separate MLPs run as one: their first layers side by side, their second as one block matrix.
    """

    units: Tensor

    def __init__(
        self, sizes: tuple[int, int], parts: tuple[str, ...], generator: torch.Generator, *, shared: bool
    ) -> None:
        super().__init__()
        width, hidden = sizes
        self._parts = tuple(part for part in DELTA_PARTS if part in parts)
        self.first = linear(width, hidden if shared else hidden * len(self._parts), generator)
        self.second = nn.ParameterDict()
        self._hidden, self._shared = hidden, shared
        for part in self._parts:
            channels = PART_CHANNELS[part]
            self.second[part] = nn.Parameter(torch.zeros(channels.stop - channels.start, hidden))
        self.bias = nn.Parameter(torch.zeros(DELTA_CHANNELS))
        self.register_buffer("units", delta_units(parts))

    def forward(self, features: Tensor) -> Tensor:
        """Return deltas [N, 14] for features [N, width]."""
        return torch.relu_(self.first(features)) @ self._second().T + self.bias * self.units

    def _second(self) -> Tensor:
        """Return [14, hidden of all]: each part reads its own hidden features, or all read the same."""
        rows = []
        for part in DELTA_PARTS:
            channels = PART_CHANNELS[part]
            row = self.bias.new_zeros(channels.stop - channels.start, self.first.out_features)
            if part in self._parts:
                start = 0 if self._shared else self._parts.index(part) * self._hidden
                row = nn.functional.pad(
                    self.second[part], (start, self.first.out_features - start - self._hidden)
                )
            rows.append(row)
        return torch.cat(rows) * self.units[:, None]
