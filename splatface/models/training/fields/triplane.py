"""GaussianTalker's triplane: features of a Gaussian from its place, and F_can, its canonical attributes."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from splatface.models.training.fields.bounds import Bounds, Box
from splatface.models.training.fields.config import TriplaneConfig
from splatface.models.training.fields.field import GaussianTensors
from splatface.models.training.fields.products import grid_values, make_layout, products
from splatface.models.training.fields.weights import mlp

__all__ = ["CanonicalAttributes", "Triplane"]

PLANES = ((0, 1), (1, 2), (2, 0))  # P^xy, P^yz, P^zx
START = (0.1, 0.5)  # positive, so that a product of three starts neither at 0 nor with a random sign


class Triplane(nn.Module):
    """f(mu): planes of several resolutions, interpolated and multiplied, scales side by side.

    GaussianTalker section 3.2: f(mu) = concat over scales of the Hadamard product over planes.
    """

    def __init__(self, config: TriplaneConfig, bounds: Bounds, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.box = Box(bounds)
        sizes = [config.resolution * scale for scale in config.scales]
        if config.combine == "product":
            wanted = [[(axes, size) for axes in PLANES] for size in sizes]
        else:
            wanted = [[(axes, size)] for size in sizes for axes in PLANES]
        self.layout = make_layout(config.features, wanted)
        low, high = START
        self.values = nn.Parameter(low + (high - low) * torch.rand(self.layout.count, generator=generator))

    def forward(self, means: Tensor) -> Tensor:
        """Features [N, config.width] of places [N, 3] m."""
        features = products(self.values, self.layout, self.box(means))
        if self.config.combine == "product":
            return features
        per_scale = features.view(len(means), len(self.config.scales), len(PLANES), self.config.features)
        return per_scale.sum(2).flatten(1)

    def planes(self) -> list[Tensor]:
        """The grids as pictures [R, R, C], scale by scale, each xy, yz, zx."""
        grids = (grid for product in self.layout.products for grid in product)
        return [grid_values(self.values, grid, self.layout.width) for grid in grids]

    def total_variation(self) -> Tensor:
        """Mean squared step between neighboring nodes: smooth planes (the authors weigh it by 2e-4)."""
        steps = [(p.diff(dim=0).square().mean() + p.diff(dim=1).square().mean()) for p in self.planes()]
        return torch.stack(steps).mean()


class CanonicalAttributes(nn.Module):
    """{s, r, SH, alpha} = F_can(f(mu)): the attributes of a still head, from its features.

    `residual` adds to the given attributes instead of replacing them. The last layers start at zero: at first
    all Gaussians are alike (see `start_from`), or as given.
    """

    def __init__(
        self,
        width: int,
        parts: tuple[str, ...],
        sh_count: int,
        *,
        residual: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.residual = residual
        sizes = {"scale": 3, "rotation": 4, "sh": 3 * sh_count, "opacity": 1}
        self.heads = nn.ModuleDict({part: mlp((width, width, sizes[part]), generator) for part in parts})
        if not residual and "rotation" in parts:
            self.heads["rotation"][-1].bias.data[0] = 1.0  # no turn

    def start_from(self, gaussians: GaussianTensors) -> None:
        """Begin with the mean of these Gaussians' attributes; has no effect where they are added to."""
        if self.residual:
            return
        for part, name in _NAMES.items():
            if part in self.heads and part != "rotation":
                mean = getattr(gaussians, name).detach().flatten(1 if part != "opacity" else 0).mean(0)
                self.heads[part][-1].bias.data.copy_(mean.reshape(-1))

    def forward(self, features: Tensor, gaussians: GaussianTensors) -> GaussianTensors:
        """The Gaussians with the predicted parts in place of (or added to) their own."""
        made = {}
        for part, head in self.heads.items():
            given = getattr(gaussians, _NAMES[part])
            value = head(features).reshape(given.shape)
            made[_NAMES[part]] = given + value if self.residual else value
        return replace(gaussians, **made)


_NAMES = {"scale": "log_scales", "rotation": "quats", "sh": "sh", "opacity": "opacity_logits"}
