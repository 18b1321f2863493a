# SPDX-License-Identifier: Apache-2.0
"""Audio-Plane's field: space planes times lines times what the sound picks from a book of prototypes."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from splatface.models.head.head import DELTA_CHANNELS
from splatface.models.training.fields.audio_conditioning import make_condition_encoder
from splatface.models.training.fields.factorized_planes import grid_values, make_layout, products
from splatface.models.training.fields.field import Bounds, Box, Condition, Deformation, GaussianTensors
from splatface.models.training.fields.field_config import AudioPlaneConfig
from splatface.models.training.fields.layers import delta_units, linear, mlp

__all__ = ["AudioPlaneField", "PrototypeGrid"]

# (i, j, k) of Eq. 6: a plane over two axes, a line over the third.
AXES = ((0, 1, 2), (0, 2, 1), (1, 2, 0))
DYNAMISM_HIDDEN = 16  # D2 is "a tiny MLP"
PLANE_START, LINE_START = (0.1, 0.5), (0.5, 1.5)


class PrototypeGrid(nn.Module):
    """A^s, a codebook of audio prototypes at one scale, and the selection by a: Eq. 4.

    f_a = softmax(Q K^T / sqrt(d)) V with Q = a and K = V = A; or (table 2) an MLP gives the scores.
    """

    def __init__(self, rows: int, config: AudioPlaneConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.prototypes = nn.Parameter(torch.randn(rows, config.features, generator=generator))
        by_mlp = config.selector == "mlp"
        self.scores = mlp((config.features, 64, rows), generator, zero=False) if by_mlp else None

    def weights(self, a: Tensor) -> Tensor:
        """Return the weight of each prototype [rows] for a [D], adding up to 1."""
        if self.scores is not None:
            return torch.softmax(self.scores(a), dim=-1)
        return torch.softmax(self.prototypes @ a / len(a) ** 0.5, dim=-1)

    def forward(self, a: Tensor) -> Tensor:
        """Return f_a [D] of a [D]."""
        return self.weights(a) @ self.prototypes


class AudioPlaneField(nn.Module):
    """Audio-Plane (Shen et al. 2025), sections 3.3 and 3.4: Eq. 4 to 7.

    What depends on the position alone, Interp(P_ij) * f_k, is one product of grids; what is heard scales its
    features and so folds into the first layers of D1 and D2.
    """

    units: Tensor

    def __init__(
        self, config: AudioPlaneConfig, bounds: Bounds, feature_dim: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.config = config
        self.box = Box(bounds)
        d = config.features
        sizes = [config.resolution * scale for scale in config.scales]
        grid_specs = [[((i, j), size), ((k,), size)] for size in sizes for i, j, k in AXES]
        self.layout = make_layout(d, grid_specs)
        self.values = nn.Parameter(self._first_values(generator))
        self.encoder = make_condition_encoder(
            config.conditioning, d, feature_dim, generator, controls=config.controls
        )
        audio_features = d if config.representation == "concat" else 0
        self.prototypes = nn.ModuleList(
            PrototypeGrid(size, config, generator) for size in sizes if config.representation == "audio_plane"
        )
        self.dynamic = config.dynamism == "learned"
        hidden = config.hidden + (DYNAMISM_HIDDEN if self.dynamic else 0)
        self.first = linear(config.width + audio_features, hidden, generator)  # of D1 and, below it, D2
        self.deltas = linear(config.hidden, DELTA_CHANNELS, generator, zero=True)
        self.dynamism = linear(DYNAMISM_HIDDEN, 1, generator, zero=True) if self.dynamic else None
        self.register_buffer("units", delta_units(config.deltas))

    def _first_values(self, generator: torch.Generator) -> Tensor:
        values = torch.rand(self.layout.count, generator=generator)
        for grid in (grid for product in self.layout.products for grid in product):
            low, high = PLANE_START if len(grid.axes) == 2 else LINE_START
            grid_values(values, grid, self.layout.width).mul_(high - low).add_(low)
        return values

    def canonical(self, gaussians: GaussianTensors) -> GaussianTensors:
        """Return the Gaussians unchanged: this field only deforms them."""
        return gaussians

    def forward(self, means: Tensor, condition: Condition, rows: Tensor | None = None) -> Deformation:
        """See Field."""
        return self.bind_positions(means, rows)(condition)

    def bind_positions(self, means: Tensor, rows: Tensor | None = None) -> Callable[[Condition], Deformation]:
        """See Field: planes and lines are read once."""
        positions = self.box(means if rows is None else means[rows])
        spatial = products(self.values, self.layout, positions)
        return lambda condition: self._deform(spatial, condition)

    def features(self, means: Tensor, condition: Condition) -> Tensor:
        """Return f [N, width] of Eq. 6, written out: what D1 and D2 get, without folding."""
        spatial = products(self.values, self.layout, self.box(means))
        a = self.encoder(condition)
        if not len(self.prototypes):
            return torch.cat([self._fuse(spatial), a.expand(len(means), -1)], dim=1)
        return self._fuse(spatial * self._column_audio_features(a))

    def _column_audio_features(self, a: Tensor) -> Tensor:
        """Return f_a of every column of the spatial features: [scales * 3 * D]."""
        return torch.cat([grid(a).repeat(len(AXES)) for grid in self.prototypes])

    def _fuse(self, features: Tensor) -> Tensor:
        """Combine the three (i, j, k): [N, width]."""
        if self.config.fusion == "concat":
            return features
        per_axes = features.view(len(features), len(self.config.scales), len(AXES), self.config.features)
        if self.config.fusion == "add":
            return per_axes.sum(2).flatten(1)
        return (per_axes[:, :, 0] * per_axes[:, :, 1] * per_axes[:, :, 2]).flatten(1)

    def _first_layer(self, spatial: Tensor, a: Tensor) -> Tensor:
        weight, bias = self.first.weight, self.first.bias
        if not len(self.prototypes):
            width = self.config.width
            return torch.addmm(bias + weight[:, width:] @ a, self._fuse(spatial), weight[:, :width].T)
        audio_features = self._column_audio_features(a)
        if self.config.fusion == "multiply":
            return torch.addmm(bias, self._fuse(spatial * audio_features), weight.T)
        if self.config.fusion == "add":  # the sum over (i, j, k) is a weight repeated three times
            scales, d = len(self.config.scales), self.config.features
            weight = weight.view(-1, scales, 1, d).expand(-1, -1, len(AXES), -1).reshape(len(weight), -1)
        return torch.addmm(bias, spatial, (weight * audio_features).T)

    def _deform(self, spatial: Tensor, condition: Condition) -> Deformation:
        hidden = torch.relu_(self._first_layer(spatial, self.encoder(condition)))
        hidden_deltas, hidden_dynamism = hidden.split(
            [self.config.hidden, hidden.shape[1] - self.config.hidden], 1
        )
        deltas = self.deltas(hidden_deltas) * self.units
        if self.dynamism is None:
            return Deformation(deltas=deltas, dynamism=None)
        dynamism = torch.sigmoid(self.dynamism(hidden_dynamism))  # Eq. 7: G' = G + d * delta G
        return Deformation(deltas=dynamism * deltas, dynamism=dynamism[:, 0])
