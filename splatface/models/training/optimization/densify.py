"""Which Gaussians part in two and which go: 3DGS's adaptive density control under a cap on the count.

Kerbl et al. 2023, section 5, with one kind of parting for both of theirs (clone, split): along the longest
axis, such that variance and brightness stay (the opacity after Rota Bulo et al. 2024). What is freed by the
faint ones goes to those that pull hardest, so at the cap this relocates.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatface.models.rotations import matrices_from_quats
from splatface.models.training.optimization.config import DensifyConfig
from splatface.models.training.optimization.packed import LOG_SCALES, MEANS, OPACITY, QUATS
from splatface.models.typing import Float32Array

__all__ = ["DensificationResult", "DensificationStats", "densify_and_prune", "no_pull"]


_APART = 0.45  # distance of the halves from the middle, in standard deviations
_SHRUNK = float(np.sqrt(1 - _APART**2))  # keeps the variance along the axis
_SHARED = 0.5 * _SHRUNK * float(np.exp(-((_APART / _SHRUNK) ** 2)))  # overlap of the halves


@dataclass(frozen=True, slots=True, eq=False)
class DensificationStats:
    """How hard the pictures pulled at each Gaussian since the last parting."""

    slopes: Float32Array  # [N] sum of |dL/d(center)|, per half picture width
    count: Float32Array  # [N] pictures in which it was drawn

    def add(self, centers: Float32Array, width: int) -> None:
        """Count one picture: slopes of the centers [N, 2] per px in a picture this wide."""
        length = np.hypot(centers[:, 0], centers[:, 1])
        self.slopes[...] += length * np.float32(width / 2)
        self.count[...] += length > 0


def no_pull(count: int) -> DensificationStats:
    """Before the first picture."""
    return DensificationStats(np.zeros(count, np.float32), np.zeros(count, np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class DensificationResult:
    """A table after parting and pruning."""

    table: Float32Array  # [N', W]
    sources: NDArray[np.int64]  # [N'] row of the old table that each came from
    fresh: NDArray[np.bool_]  # [N'] halves: their moments start anew


def densify_and_prune(
    table: Float32Array,
    pull: DensificationStats,
    movable: NDArray[np.bool_],
    room: int,
    config: DensifyConfig,
) -> DensificationResult:
    """Prune what is faint, part what is pulled at.

    Args:
        table: [N, W], see packed.py.
        pull: since the last time.
        movable: [N] Gaussians that a field with a limited number of rows moves.
        room: rows that such a field still has.
    """
    opacity = 1 / (1 + np.exp(-table[:, OPACITY]))
    # The unseen are not faint: nothing has told them anything (they close the back of the head).
    faint = (opacity < config.prune_opacity) & (pull.count > 0)
    mean = pull.slopes / np.maximum(pull.count, 1)
    wanted = np.flatnonzero((mean > config.grow_grad2d) & ~faint)
    wanted = wanted[np.argsort(-mean[wanted], kind="stable")]
    most = min(
        config.max_gaussians - len(table) + int(faint.sum()),
        int(np.ceil(config.max_growth_ratio * len(table))),
    )
    chosen = _within_room(wanted, movable, room + int((faint & movable).sum()))[: max(most, 0)]
    stays = np.flatnonzero(~faint & ~np.isin(np.arange(len(table)), chosen))
    halves = _split(table[chosen])
    sources = np.concatenate([stays, chosen, chosen])
    fresh = np.arange(len(sources)) >= len(stays)
    return DensificationResult(np.concatenate([table[stays], *halves]), sources, fresh)


def _within_room(wanted: NDArray[np.int64], movable: NDArray[np.bool_], room: int) -> NDArray[np.int64]:
    """Leave out the movable ones beyond the room."""
    over = np.cumsum(movable[wanted]) > max(room, 0)
    return wanted[~(over & movable[wanted])]


def _split(rows: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Two rows for each: apart along the longest axis, together as large and as opaque as before."""
    first, second = rows.copy(), rows.copy()
    if not len(rows):
        return first, second
    at, longest = np.arange(len(rows)), np.argmax(rows[:, LOG_SCALES], axis=1)
    size = np.exp(rows[at, 7 + longest])
    way = matrices_from_quats(rows[:, QUATS])[at, :, longest] * (_APART * size)[:, None]
    opacity = 1 / (1 + np.exp(-rows[:, OPACITY].astype(np.float64)))
    # Over the picture two halves cover 2 shrunk a' - shared a'^2 of what the whole did, which shall be a.
    half = (_SHRUNK - np.sqrt(_SHRUNK**2 - _SHARED * opacity)) / _SHARED
    half = np.clip(half, 1e-4, 0.99)
    for part, side in ((first, 1), (second, -1)):
        part[:, MEANS] += np.float32(side) * way.astype(np.float32)
        part[at, 7 + longest] += np.float32(np.log(_SHRUNK))
        part[:, OPACITY] = np.log(half / (1 - half))
    return first, second
