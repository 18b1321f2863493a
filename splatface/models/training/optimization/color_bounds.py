"""Between which limits the colors of a head in training stay, by what its pictures show."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from splatface.models.camera import Camera
from splatface.models.head.splats import Splats
from splatface.models.render.cpu import CpuRenderer
from splatface.models.training.optimization.config import TrainConfig
from splatface.models.training.optimization.schedule import ScheduleState
from splatface.models.training.optimization.sight import ColorBounds, accumulate_visible_colors, bounds_of
from splatface.models.training.optimization.skin_kernels import skin_gaussians
from splatface.models.training.optimization.state import State
from splatface.models.training.optimization.targets import Targets

__all__ = ["MAX_SAMPLED_FRAMES", "accumulate_visible_colors_over_frames", "color_bounds", "subsample_evenly"]

MAX_SAMPLED_FRAMES = 120  # pictures that say what shows


def color_bounds(
    state: State, rows: NDArray[np.int64], targets: Targets, pace: ScheduleState, config: TrainConfig
) -> ColorBounds:
    """Limits of the resting colors of the Gaussians as they stand in pictures of these rows (seconds)."""
    renderer = CpuRenderer(config.threads)

    def splats(row: int) -> Splats:
        moves = state.mover.forward_eval(state.table, row, pace)
        return skin_gaussians(
            moves.table, moves.rows, moves.deltas, state.poses.at(row), renderer.workers
        ).splats

    sums = accumulate_visible_colors_over_frames(
        splats, (state.poses.camera, renderer), targets, subsample_evenly(rows, MAX_SAMPLED_FRAMES)
    )
    return bounds_of(sums, config.shape.max_color_deviation)


def accumulate_visible_colors_over_frames(
    splats: Callable[[int], Splats], eye: tuple[Camera, CpuRenderer], targets: Targets, rows: Sequence[int]
) -> NDArray[np.float64]:
    """What these rows' pictures show of the person where each Gaussian lies [N, 5], see `sight_of`.

    Args:
        splats: the N Gaussians as they stand in a row's picture.
        eye: through what and by whom they are drawn.
        targets: the pictures.
        rows: at least one.
    """
    camera, renderer = eye
    sums: NDArray[np.float64] = np.zeros(1)
    for row in rows:
        picture = targets(row).picture.astype(np.float32) / 255
        sums = sums + accumulate_visible_colors((splats(row), camera), renderer, picture, targets.person(row))
    return sums


def subsample_evenly(rows: NDArray[np.int64], most: int) -> list[int]:
    """At most so many of the rows, evenly spread."""
    return [int(row) for row in rows[np.unique(np.linspace(0, len(rows) - 1, most).round().astype(int))]]
