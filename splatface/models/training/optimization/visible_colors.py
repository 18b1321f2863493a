"""x"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from splatface.models.camera import Camera
from splatface.models.errors import RenderError
from splatface.models.head.head import Gaussians, Splats
from splatface.models.render.conventions import SH_0
from splatface.models.render.cpu import CpuRenderer, ImageGrads, rasterize_backward
from splatface.models.render.render import RenderOutput
from splatface.models.training.optimization.image_loss import TargetCache
from splatface.models.typing import Float32Array, FloatArray

__all__ = [
    "MAX_SAMPLED_FRAMES",
    "ColorBounds",
    "accumulate_visible_colors",
    "accumulate_visible_colors_over_frames",
    "color_bounds_from_sums",
    "inpaint_unseen_colors",
    "occluded_depth_and_color",
    "visibility",
]

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
    grads = ImageGrads(
        np.zeros_like(picture, np.float32),
        np.zeros(person.shape, np.float32),
        np.ascontiguousarray(np.concatenate([picture * there, there, seen * there], axis=2), np.float32),
    )
    sums: Float32Array = rasterize_backward(renderer, scene, extra, drawn, grads).extra
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


def color_bounds_from_sums(sums: NDArray[np.floating], tolerance: float) -> ColorBounds:
    """Colors within `tolerance` (0..1) of the mean by sums [N, 5] of `sight_of`; free where little shows."""
    shown = sums[:, 3:4]
    colors = (sums[:, :3] / np.maximum(shown, 1e-6) - 0.5) / SH_0
    reach = np.where(shown > _LEAST_PX, tolerance / SH_0, np.inf)
    return ColorBounds((colors - reach).astype(np.float32), (colors + reach).astype(np.float32))


MAX_SAMPLED_FRAMES = 120  # pictures that say what shows


def accumulate_visible_colors_over_frames(
    splats: Callable[[int], Splats],
    eye: tuple[Camera, CpuRenderer],
    targets: TargetCache,
    rows: Sequence[int],
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


_KNOWN, _SHADED = 0.1, 0.3
_NEIGHBORS = 12
_DEEP_M = 0.04  # behind what is seen: nothing of the same surface
_TURNED = 0.34  # sine of 20 degrees
_WIDTH = 0.98  # quantile of what is known of a head, to each side
_NEAR_M = 0.002  # neighbors nearer than this count alike


def visibility(splats: Splats, camera: Camera, renderer: CpuRenderer) -> Float32Array:
    """How much of each splat [N] a picture shows, of all it would cover if nothing were before it.

    What a pixel's color owes to a splat is the slope of a channel that the splat alone carries; summed over
    the picture it is the area that shows. Up to 1; thin splats seen from their edge come out too low.
    """
    extra = np.zeros((len(splats), 1), np.float32)
    drawn = renderer.draw(splats, camera, np.zeros(3, np.float32), extra)
    height, width = drawn.image.shape[:2]
    grads = ImageGrads(
        np.zeros((height, width, 3), np.float32),
        np.zeros((height, width), np.float32),
        np.ones((height, width, 1), np.float32),
    )
    shows_px = rasterize_backward(renderer, (splats, camera), extra, drawn, grads).extra[:, 0]
    to_camera = np.asarray(camera.T_camera_world, np.float64)
    depth = np.maximum(splats.means @ to_camera[2, :3] + to_camera[2, 3], 1e-3)
    across, along = np.sort(splats.scales, axis=1)[:, 1:].T
    covers_px = 2 * np.pi * across * along * (camera.fx / depth) ** 2 * splats.opacities
    share: Float32Array = (shows_px / np.maximum(covers_px, 1e-3)).astype(np.float32)
    return share


def inpaint_unseen_colors(
    gaussians: Gaussians, skin: Float32Array, shown: Float32Array, sums: NDArray[np.floating]
) -> Gaussians:
    """Gaussians whose colors are believed by how much of them showed [N], at most, in any picture.

    The optimiser's steps do not grow smaller with the slope: what shows by a hundredth is driven to any
    color, by what is before it. Such a one takes the mean of its believed neighbors, alike from all sides;
    or, where it lies far behind what is seen and would if the head turned, the color that is seen there:
    the back of the head must not come through the skin of a cheek.

    Args:
        gaussians: N of a head at rest.
        skin: [N] 1 on the head's bone.
        shown: [N] see `shown_share`.
        sums: [N, 5] see `sight_of`.
    """
    trust = np.clip(shown.astype(np.float64) / _KNOWN, 0.0, 1.0)
    shading = np.clip(shown.astype(np.float64) / _SHADED, 0.0, 1.0)
    known, doubted = trust >= 1.0, trust < 1.0
    if known.sum() < _NEIGHBORS or not doubted.any():
        return gaussians
    sh = gaussians.sh.astype(np.float64)
    wanted = sh[:, 0].copy()
    behind_m, through = occluded_depth_and_color(sums)
    behind = doubted & _remains_occluded(gaussians.means, skin, known, behind_m)
    wanted[behind] = (through[behind] - 0.5) / SH_0
    untold = doubted & ~behind
    wanted[untold] = _around(gaussians.means[untold], gaussians.means[known], wanted[known])
    sh[:, 0] = trust[:, None] * sh[:, 0] + (1.0 - trust[:, None]) * wanted
    sh[:, 1:] *= shading[:, None, None]
    return replace(gaussians, sh=sh.astype(np.float32))


def _remains_occluded(
    means: Float32Array, skin: Float32Array, known: NDArray[np.bool_], behind_m: NDArray[np.floating]
) -> NDArray[np.bool_]:
    """Which Gaussians [N] of the head do not come out beside it when it turns by as much as a neck allows."""
    heads = skin > 0.5
    if not (heads & known).any():
        return np.zeros(len(means), np.bool_)
    half_m = np.quantile(np.abs(means[heads & known, 0]), _WIDTH)
    stays: NDArray[np.bool_] = heads & (behind_m > _DEEP_M)
    stays &= np.abs(means[:, 0]) + _TURNED * behind_m < half_m
    return stays


def _around(places: Float32Array, known: Float32Array, colors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean colors [n, 3] of the known points [K, 3] that are next to places [n, 3]."""
    apart, near = cKDTree(known).query(places, k=_NEIGHBORS)
    weight = 1.0 / (apart + _NEAR_M) ** 2
    mean: NDArray[np.float64] = np.einsum("dk,dkc->dc", weight, colors[near]) / weight.sum(axis=1)[:, None]
    return mean
