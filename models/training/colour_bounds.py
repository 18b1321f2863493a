"""Between which limits the colours of a head in training stay, by what its pictures show."""

import numpy as np
from numpy.typing import NDArray

from splatface.models.render.cpu import CpuRenderer
from splatface.models.training.config import TrainConfig
from splatface.models.training.schedule import Pace
from splatface.models.training.sight import Bounds, bounds_of, sight_of
from splatface.models.training.skin_kernels import skin
from splatface.models.training.state import State
from splatface.models.training.targets import Targets

__all__ = ["LOOKED", "colour_bounds", "spread"]

LOOKED = 120  # pictures that say what shows


def colour_bounds(
    state: State, rows: NDArray[np.int64], targets: Targets, pace: Pace, config: TrainConfig
) -> Bounds:
    """Limits of the resting colours of the Gaussians as they stand in pictures of these rows (seconds)."""
    renderer = CpuRenderer(config.threads)
    sums = np.zeros((len(state.table), 5))
    for row in spread(rows, LOOKED):
        moves = state.mover.show(state.table, row, pace)
        moved = skin(moves.table, moves.rows, moves.deltas, state.poses.at(row), renderer.workers)
        picture = targets(row).picture.astype(np.float32) / 255
        sums += sight_of((moved.splats, state.poses.camera), renderer, picture, targets.person(row))
    return bounds_of(sums, config.shape.colour_reach)


def spread(rows: NDArray[np.int64], most: int) -> list[int]:
    """At most so many of the rows, evenly spread."""
    return [int(row) for row in rows[np.unique(np.linspace(0, len(rows) - 1, most).round().astype(int))]]
