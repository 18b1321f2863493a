"""The CPU renderer: project, sort, bin, composite, with buffers that live as long as the renderer."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from splatface.models.camera import Camera
from splatface.models.errors import RenderError
from splatface.models.head.splats import Splats
from splatface.models.render.project import RECORD, project
from splatface.models.render.raster import draw_tiles
from splatface.models.render.rendered import Rendered, as_background
from splatface.models.render.tiles import TILE_HEIGHT, TILE_WIDTH, bin_to_tiles, sort_by_depth, tile_grid
from splatface.models.render.workers import Workers

__all__ = ["CpuRenderer"]

Floats = NDArray[np.float32]
_NO_TRANSMITTANCE: Floats = np.empty((0, 0), np.float32)


class CpuRenderer:
    """Draws splats on `threads` cores; not to be used from two threads at once.

    `supersample` 2 draws four samples for each pixel and averages them (2-3 times the cost).
    """

    def __init__(self, threads: int = 1, *, supersample: int = 1) -> None:
        if threads < 1:
            raise RenderError(f"threads: expected 1 or more, found {threads}: leave it out for one")
        if supersample not in (1, 2):
            raise RenderError(
                f"supersample: expected 1 or 2, found {supersample}: 2 averages four samples per pixel"
            )
        self.supersample = supersample
        self._workers = Workers(threads)
        self._counter = np.zeros(1, np.int64)
        self._allocate(0)
        self._members: NDArray[np.int32] = np.empty(0, np.int32)
        self._offsets: NDArray[np.int32] = np.zeros(1, np.int32)

    @property
    def threads(self) -> int:
        """Cores in use."""
        return self._workers.threads

    def draw(self, splats: Splats, camera: Camera, background: ArrayLike) -> Rendered:
        """The picture as float32 and its transmittance; background is a colour [3] or a picture [H, W, 3]."""
        image = np.empty((camera.height, camera.width, 3), np.float32)
        transmittance = np.empty((camera.height, camera.width), np.float32)
        self.prepare(splats, camera)
        self.composite(as_background(background, camera), image, transmittance)
        return Rendered(image, transmittance)

    def draw_uint8(
        self, splats: Splats, camera: Camera, background: ArrayLike, out: NDArray[np.uint8] | None = None
    ) -> NDArray[np.uint8]:
        """The picture as uint8 [H, W, 3], in `out` when given."""
        image = np.empty((camera.height, camera.width, 3), np.uint8) if out is None else out
        self.prepare(splats, camera)
        self.composite(as_background(background, camera), image, _NO_TRANSMITTANCE)
        return image

    def draw_rgba_uint8(self, splats: Splats, camera: Camera) -> NDArray[np.uint8]:
        """The picture without background as uint8 [H, W, 4]: colours premultiplied with alpha, alpha last."""
        image = np.empty((camera.height, camera.width, 4), np.uint8)
        self.prepare(splats, camera)
        self.composite(np.zeros((1, 1, 3), np.float32), image, _NO_TRANSMITTANCE)
        return image

    def prepare(self, splats: Splats, camera: Camera) -> None:
        """Project, sort and bin: all that does not depend on the background."""
        self.project(splats, camera)
        self.bin_sort(camera)

    def project(self, splats: Splats, camera: Camera) -> None:
        """First stage: an ellipse and a colour for each Gaussian."""
        count = len(check_splats(splats))
        if count != len(self._records):
            self._allocate(count)
        pose, lens, size = lens_of(camera, self.supersample)

        def part(k: int) -> None:
            first, last = k * count // self.threads, (k + 1) * count // self.threads
            project(
                first,
                last,
                splats.means,
                splats.quats,
                splats.scales,
                splats.opacities,
                splats.sh,
                pose,
                lens,
                size,
                (TILE_WIDTH, TILE_HEIGHT),
                self._records,
                self._boxes,
            )

        self._workers.run(part)

    def bin_sort(self, camera: Camera) -> None:
        """Second stage: for each tile the Gaussians that touch it, nearest first."""
        across, down = tile_grid(camera.width * self.supersample, camera.height * self.supersample)
        if len(self._offsets) != across * down + 1:
            self._offsets = np.zeros(across * down + 1, np.int32)
        self._across = across
        visible = sort_by_depth(
            self._records, self._boxes, self._order, self._order_spare, self._keys, self._keys_spare
        )
        cursors = np.empty(across * down, np.int32)
        while not bin_to_tiles(
            self._order, visible, self._boxes, across, self._offsets, cursors, self._members
        ):
            self._members = np.empty(int(self._offsets[-1]) * 5 // 4, np.int32)
        # Heavy tiles first: the last ones to finish are then short, and all cores stop together.
        self._tile_order = np.argsort(-np.diff(self._offsets), kind="stable")

    def composite(self, background: Floats, image: NDArray[np.generic], transmittance: Floats) -> None:
        """Third stage: blend each tile and write it to image [H, W, 3 | 4] and transmittance [H, W] or [0, 0]."""
        self._counter[0] = 0
        records = self._records.reshape(-1)

        def part(k: int) -> None:
            draw_tiles(
                records,
                self._members,
                self._offsets,
                self._tile_order,
                self._counter,
                self._across,
                background,
                self.supersample,
                image,
                transmittance,
            )

        self._workers.run(part)

    def _allocate(self, count: int) -> None:
        self._records: Floats = np.zeros((count, RECORD), np.float32)
        self._boxes: NDArray[np.int16] = np.zeros((count, 4), np.int16)
        self._order, self._order_spare = (np.zeros(count, np.int32) for _ in range(2))
        self._keys, self._keys_spare = (np.zeros(count, np.uint32) for _ in range(2))


def lens_of(camera: Camera, supersample: int = 1) -> tuple[Floats, Floats, tuple[int, int]]:
    """Pose [12], (fx, fy, cx, cy) [4] and size of the canvas, as the kernels take them."""
    pose = np.ascontiguousarray(camera.T_camera_world[:3], np.float32).reshape(-1)
    lens = np.array([camera.fx, camera.fy, camera.cx, camera.cy], np.float32) * np.float32(supersample)
    return pose, lens, (camera.width * supersample, camera.height * supersample)


def check_splats(splats: Splats) -> Splats:
    """The splats themselves, or RenderError where a shape, a type or the memory layout does not fit."""
    count = len(splats.means)
    fits: dict[str, Callable[[tuple[int, ...]], bool]] = {
        "means": lambda shape: shape == (count, 3),
        "quats": lambda shape: shape == (count, 4),
        "scales": lambda shape: shape == (count, 3),
        "opacities": lambda shape: shape == (count,),
        "sh": lambda shape: (
            len(shape) == 3 and shape[0] == count and shape[1] in (1, 4, 9, 16) and shape[2] == 3
        ),
    }
    for name, fit in fits.items():
        array = getattr(splats, name)
        if not (fit(array.shape) and array.dtype == np.float32 and array.flags.c_contiguous):
            raise RenderError(
                f"splats.{name}: expected contiguous float32 for {count} Gaussians (sh [N, 1 | 4 | 9 | 16, 3]), "
                f"found {array.dtype} {list(array.shape)}: convert it with np.ascontiguousarray(x, np.float32)"
            )
    return splats
