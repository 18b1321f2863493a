"""The CPU renderer's backward pass: from slopes of a picture to slopes of the splats."""

from dataclasses import dataclass

import numpy as np

from splatface.models.camera import Camera
from splatface.models.errors import RenderError
from splatface.models.head.splats import Splats
from splatface.models.render.cpu import CpuRenderer, kernel_camera
from splatface.models.render.project_backward import project_backward
from splatface.models.render.raster_backward import MOMENTS, backward_tiles
from splatface.models.render.rendered import RenderOutput, check_extra
from splatface.models.typing import Float32Array

__all__ = ["ImageGrads", "SplatGrads", "composite_backward", "projection_backward", "rasterize_backward"]


@dataclass(frozen=True, slots=True)
class ImageGrads:
    """dL/d of what was drawn, contiguous."""

    image: Float32Array  # [H, W, 3]
    transmittance: Float32Array  # [H, W]
    extra: Float32Array | None = None  # [H, W, C]


@dataclass(frozen=True, slots=True)
class SplatGrads:
    """dL/d of what was drawn from; `centers` is the slope in the picture that densification asks for."""

    means: Float32Array  # [N, 3]
    quats: Float32Array  # [N, 4]
    scales: Float32Array  # [N, 3]
    opacities: Float32Array  # [N]
    sh: Float32Array  # [N, (d + 1)^2, 3]
    extra: Float32Array  # [N, C]
    centers: Float32Array  # [N, 2] per px


def rasterize_backward(
    renderer: CpuRenderer,
    scene: tuple[Splats, Camera],
    extra: Float32Array | None,
    rendered: RenderOutput,
    slopes: ImageGrads,
) -> SplatGrads:
    """Slopes of the splats that `renderer.draw` drew last.

    scene, extra and rendered are that call's arguments and result (the background needs no mention: it is
    in the picture). Raises RenderError for a supersampling renderer.
    """
    values = check_extra(extra, len(scene[0]))
    sums = composite_backward(renderer, values, rendered, slopes)
    return projection_backward(renderer, scene, sums)


def composite_backward(
    renderer: CpuRenderer, extra: Float32Array, rendered: RenderOutput, slopes: ImageGrads
) -> Float32Array:
    """First stage: moments [threads, N, 9 + C] of the slopes about each Gaussian's center."""
    if renderer.supersample != 1:
        raise RenderError(
            f"backward: expected supersample 1, found {renderer.supersample}: train on the full-size picture"
        )
    none = np.empty((*rendered.transmittance.shape, 0), np.float32)
    picture = (rendered.image, rendered.transmittance, none if rendered.extra is None else rendered.extra)
    above = (slopes.image, slopes.transmittance, none if slopes.extra is None else slopes.extra)
    sums = np.zeros((renderer.threads, len(extra), MOMENTS + extra.shape[1]), np.float32)
    renderer.counter[0] = 0
    records = renderer.records.reshape(-1)

    def part(k: int) -> None:
        backward_tiles(records, extra, renderer.bins, renderer.counter, picture, above, sums[k])

    renderer.workers.run(part)
    return sums


def projection_backward(
    renderer: CpuRenderer, scene: tuple[Splats, Camera], sums: Float32Array
) -> SplatGrads:
    """Second stage: from the moments to the splats."""
    splats, camera = scene
    count = len(splats)
    arrays = (splats.means, splats.quats, splats.scales, splats.opacities, splats.sh)
    others = np.empty((count, sums.shape[2] - MOMENTS), np.float32)
    slopes = (*(np.empty_like(array) for array in arrays), others, np.empty((count, 2), np.float32))
    view = kernel_camera(camera)

    def part(k: int) -> None:
        first, last = k * count // renderer.threads, (k + 1) * count // renderer.threads
        project_backward(first, last, arrays, view, renderer.records, sums, slopes)

    renderer.workers.run(part)
    return SplatGrads(*slopes)
