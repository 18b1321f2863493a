"""Gaussians as arrays: as they are trained (`Gaussians`) and as they are drawn (`Splats`)."""

from dataclasses import dataclass

from splatface.models.typing import Float32Array

__all__ = ["DELTA_CHANNELS", "Gaussians", "Splats"]

# One row of a head's linear basis: Δmean 3, Δquat 4, Δlog-scale 3, Δopacity logit 1, Δcolor (SH degree 0) 3.
DELTA_CHANNELS = 14


@dataclass(frozen=True, slots=True)
class Gaussians:
    """N canonical Gaussians, unconstrained (3DGS conventions: logits and logarithms)."""

    means: Float32Array  # [N, 3] m, canonical frame
    quats: Float32Array  # [N, 4] wxyz, any length > 0
    log_scales: Float32Array  # [N, 3] ln m
    opacity_logits: Float32Array  # [N]
    sh: Float32Array  # [N, (d + 1)^2, 3], color = 0.5 + sum of sh * basis

    def __len__(self) -> int:
        return len(self.means)


@dataclass(frozen=True, slots=True)
class Splats:
    """N Gaussians ready to draw."""

    means: Float32Array  # [N, 3] m, world
    quats: Float32Array  # [N, 4] wxyz, any length > 0
    scales: Float32Array  # [N, 3] m, > 0
    opacities: Float32Array  # [N] 0..1
    sh: Float32Array  # [N, (d + 1)^2, 3]

    def __len__(self) -> int:
        return len(self.means)
