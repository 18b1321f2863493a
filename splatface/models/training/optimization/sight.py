"""What pictures show where each Gaussian lies, and colors kept near it.

At the edge of a person over a blue wall, thin Gaussians learn the wall's opposite, orange, to make up for
what shines through those before them. In the film that is right; when the head turns it is a streak.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatface.models.camera import Camera
from splatface.models.errors import RenderError
from splatface.models.head.splats import Splats
from splatface.models.render.conventions import SH_0
from splatface.models.render.cpu import CpuRenderer
from splatface.models.render.gradients import ImageGrads, rasterize_backward
from splatface.models.render.rendered import RenderOutput
from splatface.models.typing import Float32Array, FloatArray

__all__ = ["ColorBounds", "accumulate_visible_colors", "bounds_of", "occluded_depth_and_color"]


_LEAST_PX = 1.0  # that must have shown, in all pictures together, for a color to be judged


@dataclass(frozen=True, slots=True, eq=False)
class ColorBounds:
    """Between what the resting colors (SH of degree 0) of N Gaussians stay."""

    low: Float32Array  # [N, 3], or [3] for all
    high: Float32Array

    def clamp_(self, colors: Float32Array) -> None:
        """Bring colors [N, 3] back, in place."""
        np.clip(colors, self.low, self.high, out=colors)


def accumulate_visible_colors(
    scene: tuple[Splats, Camera], renderer: CpuRenderer, picture: FloatArray, person: NDArray[np.bool_]
) -> Float32Array:
    """Of each splat [N, 5]: the colors 0..1 of the person's pixels, weighted by how much it shows in each,
    summed, the sum of the weights, and that of the weights times how far behind what is seen it lies, m.

    Args:
        scene: what is drawn.
        renderer: draws it.
        picture: the true one [H, W, 3], 0..1.
        person: which pixels [H, W] are the person's.
    """
    splats, camera = scene
    depth = (splats.means @ camera.T_camera_world[2, :3] + camera.T_camera_world[2, 3]).astype(np.float32)
    extra = np.repeat(depth[:, None], 5, axis=1)
    drawn = renderer.draw(splats, camera, np.zeros(3, np.float32), extra)
    seen = _seen_depth(drawn)
    there = person[..., None].astype(np.float32)
    slopes = ImageGrads(
        np.zeros_like(picture, np.float32),
        np.zeros(person.shape, np.float32),
        np.ascontiguousarray(np.concatenate([picture * there, there, seen * there], axis=2), np.float32),
    )
    sums: Float32Array = rasterize_backward(renderer, scene, extra, drawn, slopes).extra
    sums[:, 4] = depth * sums[:, 3] - sums[:, 4]
    return sums


def _seen_depth(drawn: RenderOutput) -> Float32Array:
    """Mean depth [H, W, 1] of what is drawn, in every channel of `extra` alike."""
    if drawn.extra is None:
        raise RenderError("sight: expected depths in the extra channels, found none: draw with them")
    opaque = np.maximum(1 - drawn.transmittance[..., None], 1e-3).astype(np.float32)
    depth: Float32Array = drawn.extra[..., :1] / opaque
    return depth


def occluded_depth_and_color(sums: NDArray[np.floating]) -> tuple[FloatArray, FloatArray]:
    """How far behind what is seen Gaussians lie [N], m (0: hardly any shows), and colors [N, 3] seen."""
    shown = np.maximum(sums[:, 3], 1e-6)
    return np.where(sums[:, 3] > _LEAST_PX, sums[:, 4] / shown, 0.0), sums[:, :3] / shown[:, None]


def bounds_of(sums: NDArray[np.floating], tolerance: float) -> ColorBounds:
    """Colors within `tolerance` (0..1) of the mean by sums [N, 5] of `sight_of`; free where little shows."""
    shown = sums[:, 3:4]
    colors = (sums[:, :3] / np.maximum(shown, 1e-6) - 0.5) / SH_0
    reach = np.where(shown > _LEAST_PX, tolerance / SH_0, np.inf)
    return ColorBounds((colors - reach).astype(np.float32), (colors + reach).astype(np.float32))
