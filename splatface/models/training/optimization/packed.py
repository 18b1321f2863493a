"""Canonical Gaussians and their skin weights as one table: one row each, so that one loop can train them."""

import numpy as np
import torch
from torch import Tensor

from splatface.models.training.fields.field import GaussianTensors
from splatface.models.typing import Float32Array

__all__ = [
    "DEPTH",
    "LOG_SCALES",
    "MEANS",
    "OPACITY",
    "QUATS",
    "SH_DC",
    "SH_REST",
    "SKIN",
    "logit",
    "pack",
    "row_width",
    "sh_of",
    "skin_logits",
    "unpack",
]

# Columns of a row. The first eleven stand as in DELTA_CHANNELS; harmonics follow, coefficient by coefficient.
MEANS = slice(0, 3)
DEPTH = 2
QUATS = slice(3, 7)
LOG_SCALES = slice(7, 10)
OPACITY = 10
SKIN = 11  # logit
SH_DC = slice(12, 15)  # SH degree 0
SH_REST = 15  # SH degree 1 and above, from here to the end
_HARMONICS = 12


def row_width(sh_degree: int) -> int:
    """Columns of a table with harmonics up to this degree."""
    return _HARMONICS + 3 * (sh_degree + 1) ** 2


def pack(gaussians: GaussianTensors, skin_logits: Tensor) -> Tensor:
    """N Gaussians and their skin logits [N] -> [N, row_width]; keeps the graph."""
    g = gaussians
    columns = [g.means, g.quats, g.log_scales, g.opacity_logits[:, None], skin_logits[:, None]]
    return torch.cat([*columns, g.sh.flatten(1)], dim=1)


def unpack(table: Tensor) -> GaussianTensors:
    """The Gaussians of a table, as views of it; their skin logits are table[:, SKIN]."""
    return GaussianTensors(
        means=table[:, MEANS],
        quats=table[:, QUATS],
        log_scales=table[:, LOG_SCALES],
        opacity_logits=table[:, OPACITY],
        sh=sh_of(table),
    )


def sh_of(table: Tensor) -> Tensor:
    """Harmonics [N, (d + 1)^2, 3] of a table."""
    return table[:, _HARMONICS:].unflatten(1, (-1, 3))


def skin_logits(weights: Float32Array) -> Float32Array:
    """Logits [N] of skin weights [N], 0..1, as a table has them: none so far out that it cannot return."""
    return logit(np.clip(weights, 0.005, 0.995))


def logit(fraction: float | Float32Array) -> Float32Array:
    """Return log(p / (1 - p)) of fractions p in (0, 1)."""
    value: Float32Array = np.log(np.asarray(fraction) / (1 - np.asarray(fraction))).astype(np.float32)
    return value
