# SPDX-License-Identifier: Apache-2.0
"""Colors that the frames show at each Gaussian, color bounds around them, and inpainting where none shows.

At the edge of a person in front of a blue wall, thin Gaussians learn its opposite, orange, to compensate for
what shines through those in front of them. In the video that is right; when the head turns it is a streak.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import cKDTree

from splatface.models.camera import Camera
from splatface.models.errors import RenderError
from splatface.models.head.head import Gaussians, Splats
from splatface.models.render.conventions import SH_0
from splatface.models.render.cpu import CpuRenderer, ImageGrads, rasterize_backward
from splatface.models.render.render import RenderOutput
from splatface.models.training.optimization.image_loss import TargetCache
from splatface.models.typing import BoolArray, Float32Array, Float64Array, FloatArray

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

MAX_SAMPLED_FRAMES = 120  # from which visible colors are accumulated

_MIN_VISIBLE_PX = 1.0  # in all frames together, for a color to be known
_KNOWN_VISIBILITY, _SHADED_VISIBILITY = 0.1, 0.3  # from which a color, and its change with the view, is kept
_NEIGHBORS = 12
_OCCLUDED_DEPTH_M = 0.04  # behind the visible surface: not part of it
_MAX_TURN_SINE = 0.34  # of 20 degrees
_HEAD_WIDTH_QUANTILE = 0.98  # of the known Gaussians of a head, to each side
_MIN_NEIGHBOR_M = 0.002  # neighbors nearer than this weigh alike


@dataclass(frozen=True, slots=True, eq=False)
class ColorBounds:
    """Limits of the rest colors (SH of degree 0) of N Gaussians."""

    low: Float32Array  # [N, 3], or [3] for all
    high: Float32Array

    def clamp_(self, colors: Float32Array) -> None:
        """Clamp colors [N, 3], in place."""
        np.clip(colors, self.low, self.high, out=colors)


def accumulate_visible_colors(
    splats: Splats, camera: Camera, renderer: CpuRenderer, image: FloatArray, person: BoolArray
) -> Float32Array:
    """Return sums [N, 5] over the person's pixels, weighted by how visible each splat is in a pixel.

    Columns: true colors 0..1 (3), weights (1), weights times the depth behind the visible surface, m (1).

    Args:
        splats: N.
        camera: of the image.
        renderer: renders the splats.
        image: the true one [H, W, 3], 0..1.
        person: pixels [H, W] of the person.
    """
    depth = (splats.means @ camera.T_camera_world[2, :3] + camera.T_camera_world[2, 3]).astype(np.float32)
    extra = np.repeat(depth[:, None], 5, axis=1)
    rendered = renderer.draw(splats, camera, np.zeros(3, np.float32), extra)
    surface_depth = _mean_depth(rendered)
    mask = person[..., None].astype(np.float32)
    grads = ImageGrads(
        np.zeros_like(image, np.float32),
        np.zeros(person.shape, np.float32),
        np.ascontiguousarray(np.concatenate([image * mask, mask, surface_depth * mask], axis=2), np.float32),
    )
    sums: Float32Array = rasterize_backward(renderer, (splats, camera), extra, rendered, grads).extra
    sums[:, 4] = depth * sums[:, 3] - sums[:, 4]
    return sums


def _mean_depth(rendered: RenderOutput) -> Float32Array:
    """Return the mean depth [H, W, 1] of what is rendered; every extra channel holds it."""
    if rendered.extra is None:
        raise RenderError("visible colors: expected depths in the extra channels, found none: draw with them")
    opaque = np.maximum(1 - rendered.transmittance[..., None], 1e-3).astype(np.float32)
    depth: Float32Array = rendered.extra[..., :1] / opaque
    return depth


def occluded_depth_and_color(sums: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return depths [N] behind the visible surface, m (0 where hardly visible), and visible colors [N, 3]."""
    shown = np.maximum(sums[:, 3], 1e-6)
    return np.where(sums[:, 3] > _MIN_VISIBLE_PX, sums[:, 4] / shown, 0.0), sums[:, :3] / shown[:, None]


def color_bounds_from_sums(sums: FloatArray, tolerance: float) -> ColorBounds:
    """Return bounds within `tolerance` (0..1) of the mean visible color; infinite where hardly visible.

    `sums` [N, 5] are those of `accumulate_visible_colors`.
    """
    shown = sums[:, 3:4]
    colors = (sums[:, :3] / np.maximum(shown, 1e-6) - 0.5) / SH_0
    deviation = np.where(shown > _MIN_VISIBLE_PX, tolerance / SH_0, np.inf)
    return ColorBounds((colors - deviation).astype(np.float32), (colors + deviation).astype(np.float32))


def accumulate_visible_colors_over_frames(
    splats: Callable[[int], Splats],
    camera: Camera,
    renderer: CpuRenderer,
    targets: TargetCache,
    frame_indices: Sequence[int],
) -> Float64Array:
    """Return the sum over frames of `accumulate_visible_colors` [N, 5].

    Args:
        splats: the N Gaussians in the pose of a frame.
        camera: of the frames.
        renderer: renders the splats.
        targets: true images.
        frame_indices: at least one.
    """
    sums: Float64Array = np.zeros(1)
    for frame_index in frame_indices:
        image = targets(frame_index).image.astype(np.float32) / 255
        person = targets.person_mask(frame_index)
        sums = sums + accumulate_visible_colors(splats(frame_index), camera, renderer, image, person)
    return sums


def visibility(splats: Splats, camera: Camera, renderer: CpuRenderer) -> Float32Array:
    """Return the visible fraction [N], 0..1, of the area that each splat would cover without occlusion.

    The weight of a splat in a pixel is the gradient of a channel that it alone carries; summed over the
    image it is the visible area. Thin splats seen from their edge come out too low.
    """
    extra = np.zeros((len(splats), 1), np.float32)
    rendered = renderer.draw(splats, camera, np.zeros(3, np.float32), extra)
    height, width = rendered.image.shape[:2]
    grads = ImageGrads(
        np.zeros((height, width, 3), np.float32),
        np.zeros((height, width), np.float32),
        np.ones((height, width, 1), np.float32),
    )
    visible_px = rasterize_backward(renderer, (splats, camera), extra, rendered, grads).extra[:, 0]
    to_camera = np.asarray(camera.T_camera_world, np.float64)
    depth = np.maximum(splats.means @ to_camera[2, :3] + to_camera[2, 3], 1e-3)
    middle, longest = np.sort(splats.scales, axis=1)[:, 1:].T
    area_px = 2 * np.pi * middle * longest * (camera.fx / depth) ** 2 * splats.opacities
    fraction: Float32Array = (visible_px / np.maximum(area_px, 1e-3)).astype(np.float32)
    return fraction


def inpaint_unseen_colors(
    gaussians: Gaussians, skin: Float32Array, visible: Float32Array, sums: FloatArray
) -> Gaussians:
    """Return Gaussians whose colors are replaced where no frame shows them enough.

    Adam's steps do not shrink with the gradient: what is visible by a hundredth is driven to any color, by
    what is in front of it. Such a Gaussian takes the mean color of its known neighbors, the same from all
    sides; or, where it lies far behind the visible surface and would when the head turns, the color of that
    surface: the back of the head must not come through the skin of a cheek.

    Args:
        gaussians: N of a head at rest.
        skin: [N] skinning weight, 1 on the head's bone.
        visible: [N] largest visible fraction in any frame, see `visibility`.
        sums: [N, 5] see `accumulate_visible_colors`.
    """
    trust = np.clip(visible.astype(np.float64) / _KNOWN_VISIBILITY, 0.0, 1.0)
    shading = np.clip(visible.astype(np.float64) / _SHADED_VISIBILITY, 0.0, 1.0)
    known, unknown = trust >= 1.0, trust < 1.0
    if known.sum() < _NEIGHBORS or not unknown.any():
        return gaussians
    sh = gaussians.sh.astype(np.float64)
    colors = sh[:, 0].copy()
    depth_m, surface_colors = occluded_depth_and_color(sums)
    occluded = unknown & _remains_occluded(gaussians.means, skin, known, depth_m)
    colors[occluded] = (surface_colors[occluded] - 0.5) / SH_0
    beside = unknown & ~occluded
    colors[beside] = _neighbor_colors(gaussians.means[beside], gaussians.means[known], colors[known])
    sh[:, 0] = trust[:, None] * sh[:, 0] + (1.0 - trust[:, None]) * colors
    sh[:, 1:] *= shading[:, None, None]
    return replace(gaussians, sh=sh.astype(np.float32))


def _remains_occluded(
    means: Float32Array, skin: Float32Array, known: BoolArray, depth_m: FloatArray
) -> BoolArray:
    """Return which Gaussians [N] of the head stay behind it when it turns as far as a neck allows."""
    of_head = skin > 0.5
    if not (of_head & known).any():
        return np.zeros(len(means), np.bool_)
    half_width_m = np.quantile(np.abs(means[of_head & known, 0]), _HEAD_WIDTH_QUANTILE)
    result: BoolArray = of_head & (depth_m > _OCCLUDED_DEPTH_M)
    result &= np.abs(means[:, 0]) + _MAX_TURN_SINE * depth_m < half_width_m
    return result


def _neighbor_colors(means: Float32Array, known: Float32Array, colors: Float64Array) -> Float64Array:
    """Return mean colors [n, 3] of the known means [K, 3] next to means [n, 3]."""
    distance, near = cKDTree(known).query(means, k=_NEIGHBORS)
    weight = 1.0 / (distance + _MIN_NEIGHBOR_M) ** 2
    mean: Float64Array = np.einsum("dk,dkc->dc", weight, colors[near]) / weight.sum(axis=1)[:, None]
    return mean
