# SPDX-License-Identifier: Apache-2.0
"""The CPU renderer: project, sort, bin and composite, forward and backward, in buffers that it keeps."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from splatface.models.camera import Camera
from splatface.models.errors import RenderError
from splatface.models.head.head import Splats
from splatface.models.render.jit import Workers
from splatface.models.render.projection import RECORD, project, project_backward
from splatface.models.render.rasterization import MOMENTS, backward_tiles, draw_tiles
from splatface.models.render.render import RenderOutput, as_background, check_extra, check_splats
from splatface.models.render.tiles import bin_to_tiles, sort_by_depth, tile_grid
from splatface.models.typing import Float32Array

__all__ = [
    "CpuRenderer",
    "ImageGrads",
    "SplatGrads",
    "composite_backward",
    "kernel_camera",
    "projection_backward",
    "rasterize_backward",
]

Outputs = tuple[
    NDArray[np.generic], Float32Array, Float32Array
]  # image, transmittance, extra; the last two may be empty
_NO_PLANE: Float32Array = np.empty((0, 0), np.float32)
_NO_EXTRA: Float32Array = np.empty((0, 0, 0), np.float32)
_BLACK: Float32Array = np.zeros((1, 1, 3), np.float32)


class CpuRenderer:
    """Renders splats on `threads` cores; not to be used from two threads at once.

    `supersample` 2 renders four samples for each pixel and averages them (2-3 times the cost).
    Raises RenderError for threads < 1 or another supersample than 1 or 2.
    """

    def __init__(self, threads: int = 1, *, supersample: int = 1) -> None:
        if threads < 1:
            raise RenderError(f"threads: expected 1 or more, found {threads}: leave it out for one")
        if supersample not in (1, 2):
            raise RenderError(
                f"supersample: expected 1 or 2, found {supersample}: 2 averages 4 samples a pixel"
            )
        self.supersample = supersample
        self.workers = Workers(threads)
        self.counter = np.zeros(1, np.int64)
        self._tile_splat_ids: NDArray[np.int32] = np.empty(0, np.int32)
        self._tile_offsets: NDArray[np.int32] = np.zeros(1, np.int32)
        self._allocate(0)

    @property
    def threads(self) -> int:
        """Number of cores in use."""
        return self.workers.threads

    def draw(
        self, splats: Splats, camera: Camera, background: ArrayLike, extra: Float32Array | None = None
    ) -> RenderOutput:
        """Return the image as float32, its transmittance and, given extra [N, C], those channels composited.

        background is a color [3] or an image [H, W, 3]. Raises RenderError where something does not fit.
        """
        values = None if extra is None else check_extra(extra, len(splats))
        background_array = as_background(background, camera)
        self.prepare(splats, camera)
        return self.composite_float(values, background_array, camera)

    def draw_uint8(
        self, splats: Splats, camera: Camera, background: ArrayLike, out: NDArray[np.uint8] | None = None
    ) -> NDArray[np.uint8]:
        """Return the image as uint8 [H, W, 3], in `out` (contiguous) when given."""
        shape = (camera.height, camera.width, 3)
        image = np.empty(shape, np.uint8) if out is None else out
        if image.shape != shape or image.dtype != np.uint8 or not image.flags.c_contiguous:
            raise RenderError(
                f"out: expected contiguous uint8 {list(shape)}, found {image.dtype} {list(image.shape)}: "
                "leave it out"
            )
        background_array = as_background(background, camera)
        self.prepare(splats, camera)
        self.composite_uint8(background_array, image)
        return image

    def draw_rgba_uint8(self, splats: Splats, camera: Camera) -> NDArray[np.uint8]:
        """Return the image without background as uint8 [H, W, 4]: premultiplied colors, alpha last."""
        image = np.empty((camera.height, camera.width, 4), np.uint8)
        self.prepare(splats, camera)
        self.composite_uint8(_BLACK, image)
        return image

    def prepare(self, splats: Splats, camera: Camera) -> None:
        """Project, sort and bin: all that does not depend on the background."""
        self.project(splats, camera)
        self.bin_sort(camera)

    def project(self, splats: Splats, camera: Camera) -> None:
        """Compute an ellipse and a color for each Gaussian (first stage)."""
        count = len(check_splats(splats))
        if count != len(self.records):
            self._allocate(count)
        arrays = (splats.means, splats.quats, splats.scales, splats.opacities, splats.sh)
        view = kernel_camera(camera, self.supersample)

        def part(k: int) -> None:
            first, last = k * count // self.threads, (k + 1) * count // self.threads
            project(first, last, arrays, view, self.records, self._boxes)

        self.workers.run(part)

    def bin_sort(self, camera: Camera) -> None:
        """Make the list of Gaussians that touch each tile, nearest first (second stage)."""
        across, down = tile_grid(camera.width * self.supersample, camera.height * self.supersample)
        if len(self._tile_offsets) != across * down + 1:
            self._tile_offsets = np.zeros(across * down + 1, np.int32)
        visible = sort_by_depth(self.records, self._boxes, self._order, self._keys)
        while not bin_to_tiles(
            self._order[0], visible, self._boxes, across, self._tile_offsets, self._tile_splat_ids
        ):
            self._tile_splat_ids = np.empty(int(self._tile_offsets[-1]) * 5 // 4, np.int32)
        # Heavy tiles first: the last ones to finish are then short, and all cores stop together.
        tile_order = np.argsort(-np.diff(self._tile_offsets), kind="stable")
        self.bins = (self._tile_splat_ids, self._tile_offsets, tile_order, across)

    def composite_float(
        self, extra: Float32Array | None, background: Float32Array, camera: Camera
    ) -> RenderOutput:
        """Composite every tile as float32; background [1, 1, 3] or [H, W, 3] (third stage)."""
        size = (camera.height, camera.width)
        image, transmittance = np.empty((*size, 3), np.float32), np.empty(size, np.float32)
        extra_image = _NO_EXTRA if extra is None else np.empty((*size, extra.shape[1]), np.float32)
        self._composite(extra, background, (image, transmittance, extra_image))
        return RenderOutput(image, transmittance, None if extra is None else extra_image)

    def composite_uint8(self, background: Float32Array, image: NDArray[np.uint8]) -> None:
        """Composite every tile into image [H, W, 3 | 4]; background [1, 1, 3] or [H, W, 3] (third stage)."""
        self._composite(None, background, (image, _NO_PLANE, _NO_EXTRA))

    def _composite(self, extra: Float32Array | None, background: Float32Array, outputs: Outputs) -> None:
        self.counter[0] = 0
        records = self.records.reshape(-1)

        def part(k: int) -> None:
            draw_tiles(records, extra, self.bins, self.counter, background, self.supersample, outputs)

        self.workers.run(part)

    def _allocate(self, count: int) -> None:
        self.records: Float32Array = np.zeros((count, RECORD), np.float32)
        self._boxes: NDArray[np.int16] = np.zeros((count, 4), np.int16)
        self._order: NDArray[np.int32] = np.zeros((2, count), np.int32)
        self._keys: NDArray[np.uint32] = np.zeros((2, count), np.uint32)


def kernel_camera(camera: Camera, supersample: int = 1) -> tuple[Float32Array, Float32Array, tuple[int, int]]:
    """Return pose [12], (fx, fy, cx, cy) [4] and canvas size, as the kernels take them."""
    pose = np.ascontiguousarray(camera.T_camera_world[:3], np.float32).reshape(-1)
    intrinsics = np.array([camera.fx, camera.fy, camera.cx, camera.cy], np.float32) * np.float32(supersample)
    return pose, intrinsics, (camera.width * supersample, camera.height * supersample)


@dataclass(frozen=True, slots=True)
class ImageGrads:
    """dL/d of the rendered image, contiguous."""

    image: Float32Array  # [H, W, 3]
    transmittance: Float32Array  # [H, W]
    extra: Float32Array | None = None  # [H, W, C]


@dataclass(frozen=True, slots=True)
class SplatGrads:
    """dL/d of the splats; `centers` is the gradient in the image that densification uses."""

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
    image_grads: ImageGrads,
) -> SplatGrads:
    """Compute gradients of the splats that `renderer.draw` rendered last.

    scene, extra and rendered are that call's arguments and result (the background needs no mention: it is
    in the image). Raises RenderError for a supersampling renderer.
    """
    values = check_extra(extra, len(scene[0]))
    sums = composite_backward(renderer, values, rendered, image_grads)
    return projection_backward(renderer, scene, sums)


def composite_backward(
    renderer: CpuRenderer, extra: Float32Array, rendered: RenderOutput, image_grads: ImageGrads
) -> Float32Array:
    """Compute moments [threads, N, 9 + C] of the gradients about each Gaussian's center (first stage)."""
    if renderer.supersample != 1:
        raise RenderError(
            f"backward: expected supersample 1, found {renderer.supersample}: train on the full-size picture"
        )
    none = np.empty((*rendered.transmittance.shape, 0), np.float32)
    outputs = (rendered.image, rendered.transmittance, none if rendered.extra is None else rendered.extra)
    output_grads = (
        image_grads.image,
        image_grads.transmittance,
        none if image_grads.extra is None else image_grads.extra,
    )
    sums = np.zeros((renderer.threads, len(extra), MOMENTS + extra.shape[1]), np.float32)
    renderer.counter[0] = 0
    records = renderer.records.reshape(-1)

    def part(k: int) -> None:
        backward_tiles(records, extra, renderer.bins, renderer.counter, outputs, output_grads, sums[k])

    renderer.workers.run(part)
    return sums


def projection_backward(
    renderer: CpuRenderer, scene: tuple[Splats, Camera], sums: Float32Array
) -> SplatGrads:
    """Compute splat gradients from the moments (second stage)."""
    splats, camera = scene
    count = len(splats)
    arrays = (splats.means, splats.quats, splats.scales, splats.opacities, splats.sh)
    extra_image = np.empty((count, sums.shape[2] - MOMENTS), np.float32)
    image_grads = (*(np.empty_like(array) for array in arrays), extra_image, np.empty((count, 2), np.float32))
    view = kernel_camera(camera)

    def part(k: int) -> None:
        first, last = k * count // renderer.threads, (k + 1) * count // renderer.threads
        project_backward(first, last, arrays, view, renderer.records, sums, image_grads)

    renderer.workers.run(part)
    return SplatGrads(*image_grads)
