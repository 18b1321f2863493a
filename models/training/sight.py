"""What pictures show where each Gaussian lies, and colours kept near it.

At the edge of a person over a blue wall, thin Gaussians learn the wall's opposite, orange, to make up for
what shines through those before them. In the film that is right; when the head turns it is a streak.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatface.models.camera import Camera
from splatface.models.head.splats import Splats
from splatface.models.render.conventions import SH_0
from splatface.models.render.cpu import CpuRenderer
from splatface.models.render.gradients import PictureSlopes, draw_backward

__all__ = ["Bounds", "bounds_of", "sight_of"]

Array = NDArray[np.float32]
Floats = NDArray[np.floating[Any]]
_LEAST_PX = 1.0  # that must have shown, in all pictures together, for a colour to be judged


@dataclass(frozen=True, slots=True, eq=False)
class Bounds:
    """Between what the resting colours (SH of degree 0) of N Gaussians stay."""

    low: Array  # [N, 3], or [3] for all
    high: Array

    def keep(self, colours: Array) -> None:
        """Bring colours [N, 3] back, in place."""
        np.clip(colours, self.low, self.high, out=colours)


def sight_of(
    scene: tuple[Splats, Camera], renderer: CpuRenderer, picture: Floats, person: NDArray[np.bool_]
) -> Array:
    """Of each splat [N, 4]: the colours 0..1 of the person's pixels, weighted by how much it shows in each,
    summed, and the sum of the weights.

    Args:
        scene: what is drawn.
        renderer: draws it.
        picture: the true one [H, W, 3], 0..1.
        person: which pixels [H, W] are the person's.
    """
    extra = np.zeros((len(scene[0]), 4), np.float32)
    drawn = renderer.draw(*scene, np.zeros(3, np.float32), extra)
    there = person[..., None].astype(np.float32)
    slopes = PictureSlopes(
        np.zeros_like(picture, np.float32),
        np.zeros(person.shape, np.float32),
        np.ascontiguousarray(np.concatenate([picture * there, there], axis=2), np.float32),
    )
    sums: Array = draw_backward(renderer, scene, extra, drawn, slopes).extra
    return sums


def bounds_of(sums: NDArray[np.floating], tolerance: float) -> Bounds:
    """Colours within `tolerance` (0..1) of the mean by sums [N, 4] of `sight_of`; free where little shows."""
    shown = sums[:, 3:]
    colours = (sums[:, :3] / np.maximum(shown, 1e-6) - 0.5) / SH_0
    reach = np.where(shown > _LEAST_PX, tolerance / SH_0, np.inf)
    return Bounds((colours - reach).astype(np.float32), (colours + reach).astype(np.float32))
