"""The door: `render(splats, camera, background)` and `renderer(name)`; heavy packages load when asked for."""

from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from splatface.models.camera import Camera
from splatface.models.errors import RenderError
from splatface.models.head.splats import Splats
from splatface.models.render.rendered import RenderOutput

__all__ = ["BACKENDS", "Renderer", "render", "renderer"]

BACKENDS = ("cpu", "cuda", "reference")


class Renderer(Protocol):
    """What every backend can do."""

    def draw(self, splats: Splats, camera: Camera, background: ArrayLike) -> RenderOutput:
        """The picture of `splats` seen by `camera` before `background` (color [3] or picture [H, W, 3])."""
        ...

    def draw_uint8(self, splats: Splats, camera: Camera, background: ArrayLike) -> NDArray[np.uint8]:
        """The same as uint8 [H, W, 3]."""
        ...


def renderer(name: str, *, threads: int = 1, supersample: int = 1) -> Renderer:
    """A renderer to keep: `cpu` (numba), `cuda` (gsplat) or `reference` (torch float64, slow).

    `threads` counts for `cpu` only, `supersample` 2 averages four samples per pixel.
    Raises RenderError for an unknown name, or when what the backend needs is not there.
    """
    if name == "cpu":
        from splatface.models.render.cpu import CpuRenderer

        return CpuRenderer(threads, supersample=supersample)
    if name == "cuda":
        from splatface.models.render.cuda import CudaRenderer

        return CudaRenderer(supersample=supersample)
    if name == "reference":
        from splatface.models.render.reference import ReferenceRenderer

        return ReferenceRenderer(supersample=supersample)
    raise RenderError(f"backend: expected one of {', '.join(BACKENDS)}, found {name!r}: choose one of these")


def render(splats: Splats, camera: Camera, background: ArrayLike, *, backend: str = "cpu") -> RenderOutput:
    """Draw one picture; to draw many, keep a `renderer(backend)` and its buffers.

    background is an RGB color [3] or a picture [H, W, 3], 0..1; for a transparent one take (0, 0, 0): the
    image is then premultiplied with alpha = 1 - transmittance.
    """
    return renderer(backend).draw(splats, camera, background)
