"""Gaussians as arrays: as they are trained (`Gaussians`) and as they are drawn (`Splats`)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["DELTA_CHANNELS", "Gaussians", "Splats"]

# One row of a head's linear basis: Δmean 3, Δquat 4, Δlog-scale 3, Δopacity logit 1, Δcolour (SH degree 0) 3.
DELTA_CHANNELS = 14

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Gaussians:
    """N canonical Gaussians, unconstrained (3DGS conventions: logits and logarithms)."""

    means: Array  # [N, 3] m, canonical frame
    quats: Array  # [N, 4] wxyz, any length > 0
    log_scales: Array  # [N, 3] ln m
    opacity_logits: Array  # [N]
    sh: Array  # [N, (d + 1)^2, 3], colour = 0.5 + sum of sh * basis

    def __len__(self) -> int:
        return len(self.means)


@dataclass(frozen=True, slots=True)
class Splats:
    """N Gaussians ready to draw."""

    means: Array  # [N, 3] m, world
    quats: Array  # [N, 4] wxyz, any length > 0
    scales: Array  # [N, 3] m, > 0
    opacities: Array  # [N] 0..1
    sh: Array  # [N, (d + 1)^2, 3]

    def __len__(self) -> int:
        return len(self.means)
