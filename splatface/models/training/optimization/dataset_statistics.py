"""Frames that can be trained on, their motion, and evenly spread samples of them."""

import numpy as np
from numpy.typing import NDArray

from splatface.models.training.dataset.types import Dataset
from splatface.models.typing import Float32Array, Int64Array

__all__ = [
    "all_motion",
    "known_rows",
    "motion_of",
    "motion_std",
    "subsample_evenly",
    "subsample_interior",
    "subsample_with_stride",
]

_LEAST_SPREAD = 0.05  # of a mode or control that this person hardly uses


def known_rows(dataset: Dataset, part: int) -> NDArray[np.int64]:
    """Rows of a part (TRAIN, VAL, TEST) whose motion and poses are known."""
    frames = dataset.frames
    known = frames.split == part
    for values in (frames.mouth, frames.controls, frames.T_world_head, frames.T_world_torso):
        known = known & np.isfinite(values.reshape(len(frames), -1)).all(axis=1)
    return np.flatnonzero(known)


def motion_of(dataset: Dataset, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """[n, 16] mouth modes and controls of rows."""
    frames = dataset.frames
    return np.concatenate([frames.mouth[rows], frames.controls[rows]], axis=1).astype(np.float64)


def all_motion(dataset: Dataset) -> NDArray[np.float32]:
    """[F, 16] mouth modes and controls of all rows, 0 where they are not known."""
    return np.nan_to_num(motion_of(dataset, np.arange(len(dataset.frames)))).astype(np.float32)


def motion_std(motion: Float32Array) -> Float32Array:
    """Standard deviation [16] of motion [n, 16], never small: how much each mode and control is used."""
    spread: Float32Array = np.maximum(motion.std(axis=0), _LEAST_SPREAD).astype(np.float32)
    return spread


def subsample_evenly(rows: Int64Array, count: int, *, floor: bool = False) -> Int64Array:
    """Return at most `count` of the rows, evenly spread, both ends among them.

    Args:
        rows: [n] any indices.
        count: 1 or more.
        floor: round positions down instead of to the nearest (validation frames of runs).
    """
    positions = np.linspace(0, len(rows) - 1, count)
    return rows[np.unique((positions if floor else positions.round()).astype(int))]


def subsample_with_stride(rows: Int64Array, count: int) -> Int64Array:
    """Return at most `count` of the rows at a constant stride, the first among them."""
    stride = -(-len(rows) // count)
    return rows[::stride]


def subsample_interior(rows: Int64Array, count: int) -> Int64Array:
    """Return at most `count` of the rows, at least one, evenly spread, without the ends if possible."""
    selected = rows[np.unique(np.linspace(0, len(rows) - 1, count + 2).round().astype(int))[1:-1]]
    return selected if len(selected) else rows[:1]
