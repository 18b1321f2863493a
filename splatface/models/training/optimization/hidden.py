"""What no picture of a film showed takes the color of what lies beside it, for when the head turns."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from splatface.models.camera import Camera
from splatface.models.head.splats import Gaussians, Splats
from splatface.models.render.conventions import SH_0
from splatface.models.render.cpu import CpuRenderer
from splatface.models.render.gradients import ImageGrads, rasterize_backward
from splatface.models.training.optimization.sight import occluded_depth_and_color
from splatface.models.typing import Float32Array

__all__ = ["inpaint_unseen_colors", "visibility"]


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
    slopes = ImageGrads(
        np.zeros((height, width, 3), np.float32),
        np.zeros((height, width), np.float32),
        np.ones((height, width, 1), np.float32),
    )
    shows_px = rasterize_backward(renderer, (splats, camera), extra, drawn, slopes).extra[:, 0]
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
