"""Between which limits the colors of a head in training stay, by what its pictures show."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from splatface.models.camera import Camera
from splatface.models.head.splats import Splats
from splatface.models.render.cpu import CpuRenderer
from splatface.models.training.optimization.sight import accumulate_visible_colors
from splatface.models.training.optimization.targets import Targets

__all__ = ["MAX_SAMPLED_FRAMES", "accumulate_visible_colors_over_frames"]

MAX_SAMPLED_FRAMES = 120  # pictures that say what shows


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
