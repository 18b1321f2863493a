"""Where the basis starts: the modes the data set's points know, and bends that the motion itself shows."""

import numpy as np
import torch
from numpy.typing import NDArray

from splatface.models.audio2motion.gelu import gelu
from splatface.models.head.motion_map import MOTION_SIZE
from splatface.models.head.splats import DELTA_CHANNELS
from splatface.models.training.dataset.types import EYES, FACE, LIPS, MOUTH
from splatface.models.training.fields.basis import BasisField
from splatface.models.training.fields.config import BasisConfig
from splatface.models.training.optimization.config import RegularizationConfig
from splatface.models.training.optimization.dataset_statistics import motion_std
from splatface.models.training.optimization.points import InitialGaussians
from splatface.models.typing import Float32Array

__all__ = ["start_field"]


_MOVES_M = 2e-4  # by less nobody sees a Gaussian move
_FACE_PARTS = (FACE, EYES, LIPS, MOUTH)
_HELD = 1e-2  # ridge, share of the motion's variance


def start_field(
    config: BasisConfig,
    start: InitialGaussians,
    motion: Float32Array,
    most: int,
    steady: RegularizationConfig,
    seed: int,
) -> BasisField:
    """The basis field before the first step, over at most `most` Gaussians; motion [n, 16] trained on.

    Unlike `make_field`'s its coefficients are in units of the person's spread: steps of Adam are then of
    like size for all.
    """
    rows = _moving_rows(start, motion, most)
    basis = torch.from_numpy(_first_basis(start, rows, motion, config.coefficients))
    generator = torch.Generator().manual_seed(seed)
    field = BasisField(config, basis, torch.from_numpy(rows), len(start.table), generator)
    for name, array in _first_map(
        motion, config, steady.residual_init_scale, np.random.default_rng([seed, 3])
    ).items():
        getattr(field.motion, name).data = torch.from_numpy(np.ascontiguousarray(array, np.float32))
    return field


def _moving_rows(start: InitialGaussians, motion: Float32Array, most: int) -> NDArray[np.int64]:
    """Rising indices of at most `most` Gaussians: those that move most, then the rest of the face."""
    way = np.abs(start.modes * motion_std(motion)[:, None]).sum(axis=1).max(axis=1)
    face = np.isin(start.labels, _FACE_PARTS)
    known = (way > _MOVES_M).any()
    # Without known modes all of the face, the mouth first, is free to move.
    nearness = np.where(np.isin(start.labels, (LIPS, MOUTH, EYES)), 2.0, 1.0) * face
    rank = np.where(way > _MOVES_M, 10.0 + way, 0.5 * nearness) if known else nearness
    candidates = np.flatnonzero(rank > 0)
    best = candidates[np.argsort(-rank[candidates], kind="stable")[:most]]
    return np.sort(best)


def _first_basis(
    start: InitialGaussians, rows: NDArray[np.int64], motion: Float32Array, coefficients: int
) -> Float32Array:
    """[M, 14, K]: places follow the known modes, in units of their spread; all else is 0."""
    basis = np.zeros((len(rows), DELTA_CHANNELS, coefficients), np.float32)
    scaled = start.modes[rows] * motion_std(motion)[:, None]
    basis[:, :3, :MOTION_SIZE] = scaled.transpose(0, 2, 1)
    return basis


def _first_map(
    motion: Float32Array, config: BasisConfig, size: float, generator: np.random.Generator
) -> dict[str, NDArray[np.float64]]:
    """linear, w1, b1 and w2 of a map whose first 16 coefficients are the motion in units of its spread.

    The others are what a random layer says about the motion [n, 16] beyond a line: its principal
    components, the largest with a spread of `size`, so that what is rare starts small.
    """
    coefficients, hidden = config.coefficients, config.hidden
    spread = motion_std(motion)
    linear = np.zeros((MOTION_SIZE, coefficients))
    linear[:, :MOTION_SIZE] = np.diag(1 / spread)
    w1 = generator.normal(size=(MOTION_SIZE, hidden)) / spread[:, None] / np.sqrt(3)
    b1 = generator.normal(size=hidden) * 0.5
    w2 = np.zeros((hidden, coefficients))
    extra = min(coefficients - MOTION_SIZE, hidden)
    if extra > 0 and len(motion) > 1:
        bends = gelu(motion @ w1 + b1) - gelu(b1)
        variance = np.diag(spread.astype(np.float64) ** 2) * _HELD * len(motion)
        line = np.linalg.solve(motion.T @ motion + variance, motion.T @ bends)
        _, sizes, ways = np.linalg.svd(bends - motion @ line, full_matrices=False)
        extra = min(extra, len(ways))
        unit = max(float(sizes[0]) / np.sqrt(len(motion)), 1e-6) / max(size, 1e-6)
        w2[:, MOTION_SIZE : MOTION_SIZE + extra] = ways[:extra].T / unit
        linear[:, MOTION_SIZE : MOTION_SIZE + extra] = -line @ ways[:extra].T / unit
    return {"linear": linear, "w1": w1, "b1": b1, "w2": w2}
