# SPDX-License-Identifier: Apache-2.0
"""Entry point of rendering: `render(splats, camera, background)`, `renderer(name)` and what they return."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from splatface.models.camera import Camera
from splatface.models.errors import RenderError
from splatface.models.head.head import Splats

__all__ = [
    "BACKENDS",
    "RenderOutput",
    "Renderer",
    "as_background",
    "check_extra",
    "check_splats",
    "parse_background",
    "render",
    "renderer",
    "warm_up",
]


@dataclass(frozen=True, slots=True)
class RenderOutput:
    """An image, and how much of the background is visible through it."""

    image: NDArray[np.float32]  # [H, W, 3] RGB, background included; 0..1 where the colors are
    transmittance: NDArray[np.float32]  # [H, W] 1 = nothing rendered here, 0 = opaque
    extra: NDArray[np.float32] | None = None  # [H, W, C] the extra channels, on a background of 0

    def as_uint8(self) -> NDArray[np.uint8]:
        """Return the image [H, W, 3], rounded to 0..255."""
        return (np.clip(self.image, 0.0, 1.0) * np.float32(255) + np.float32(0.5)).astype(np.uint8)


def as_background(background: ArrayLike, camera: Camera) -> NDArray[np.float32]:
    """Return a color as [1, 1, 3] or an image as [H, W, 3], contiguous float32.

    Raises RenderError when it is neither a color [3] nor an image of the camera's size.
    """
    array = np.asarray(background, dtype=np.float32)
    if array.shape == (3,):
        return np.ascontiguousarray(array.reshape(1, 1, 3))
    if array.shape == (camera.height, camera.width, 3):
        return np.ascontiguousarray(array)
    raise RenderError(
        f"background: expected a color [3] or a picture [{camera.height}, {camera.width}, 3], "
        f"found shape {list(array.shape)}: resize the picture to the camera"
    )


def check_splats(splats: Splats) -> Splats:
    """Return the splats, or raise RenderError where a shape, a type or the memory layout does not fit."""
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
                f"splats.{name}: expected contiguous float32 for {count} Gaussians (sh [N, 1|4|9|16, 3]), "
                f"found {array.dtype} {list(array.shape)}: use np.ascontiguousarray(x, np.float32)"
            )
    return splats


def check_extra(extra: NDArray[np.float32] | None, count: int) -> NDArray[np.float32]:
    """Return extra channels [N, C], C = 0 for none; RenderError when they do not fit."""
    if extra is None:
        return np.empty((count, 0), np.float32)
    if extra.ndim != 2 or len(extra) != count or extra.dtype != np.float32 or not extra.flags.c_contiguous:
        raise RenderError(
            f"extra: expected contiguous float32 [{count}, C], found {extra.dtype} {list(extra.shape)}: "
            "one row per Gaussian"
        )
    return extra


def parse_background(text: str, size: tuple[int, int]) -> NDArray[np.float32] | None:
    """Read the background that `text` names.

    Args:
        text: empty for the head's own, a color such as `#2a3b4c`, or the path of an image.
        size: width and height of the canvas; an image is scaled to cover it and its middle is kept.

    Returns:
        None for the head's own, a color [3] or an image [H, W, 3], RGB 0..1.

    Raises:
        RenderError: when it is neither a color nor an image that can be read.
    """
    # Rendering does without OpenCV; only an image file needs it.
    import cv2

    if not text:
        return None
    if text.startswith("#"):
        return _color(text)
    pixels = cv2.imread(str(Path(text).expanduser()), cv2.IMREAD_COLOR)
    if pixels is None:
        raise RenderError(
            f"background: expected a color such as #2a3b4c or a picture (png, jpg), found {text!r}: "
            "check the path"
        )
    width, height = size
    scale = max(width / pixels.shape[1], height / pixels.shape[0])
    fitted = (max(width, round(pixels.shape[1] * scale)), max(height, round(pixels.shape[0] * scale)))
    pixels = cv2.resize(pixels, fitted, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    left, top = (pixels.shape[1] - width) // 2, (pixels.shape[0] - height) // 2
    middle = pixels[top : top + height, left : left + width, ::-1]
    return np.ascontiguousarray(middle, np.float32) / np.float32(255)


def _color(text: str) -> NDArray[np.float32]:
    try:
        parts = bytes.fromhex(text[1:])
    except ValueError:
        parts = b""
    if len(parts) != 3:
        raise RenderError(f"background: expected a color such as #2a3b4c, found {text!r}")
    return np.frombuffer(parts, np.uint8).astype(np.float32) / np.float32(255)


BACKENDS = ("cpu", "cuda", "reference")


class Renderer(Protocol):
    """Common methods of all backends."""

    def draw(self, splats: Splats, camera: Camera, background: ArrayLike) -> RenderOutput:
        """Render `splats` seen by `camera` before `background` (color [3] or image [H, W, 3])."""
        ...

    def draw_uint8(self, splats: Splats, camera: Camera, background: ArrayLike) -> NDArray[np.uint8]:
        """Render the same as uint8 [H, W, 3]."""
        ...


def renderer(name: str, *, threads: int = 1, supersample: int = 1) -> Renderer:
    """Make a renderer to keep: `cpu` (numba), `cuda` (gsplat) or `reference` (torch float64, slow).

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
    """Render one image; for many, keep a `renderer(backend)` and its buffers.

    background is an RGB color [3] or an image [H, W, 3], 0..1; for a transparent one take (0, 0, 0): the
    image is then premultiplied with alpha = 1 - transmittance.
    """
    return renderer(backend).draw(splats, camera, background)


def warm_up(progress: Callable[[str], object] = print) -> None:
    """Compile and cache every kernel that rendering needs, by rendering one tiny image in each way.

    The first time after an installation this compiles (about 10 s), later it loads from the cache (0.5 s).
    `progress` gets a line for each step.
    """
    from splatface.models.render.cpu import CpuRenderer

    camera, background = Camera(64, 32, 60.0, 60.0, 32.0, 16.0), np.zeros(3, np.float32)
    cpu_renderer, splats = CpuRenderer(), _few_splats()
    steps: tuple[tuple[str, Callable[[], object]], ...] = (
        ("images of bytes", lambda: cpu_renderer.draw_uint8(splats, camera, background)),
        ("images without background", lambda: cpu_renderer.draw_rgba_uint8(splats, camera)),
        ("images of float32", lambda: cpu_renderer.draw(splats, camera, background)),
    )
    for number, (name, draw) in enumerate(steps, 1):
        progress(f"preparing the renderer, {number} of {len(steps)}: {name}")
        draw()


def _few_splats() -> Splats:
    """Return three Gaussians before a camera; the kernels compile once for all degrees of harmonics."""
    return Splats(
        means=np.array([[-0.1, 0.0, 1.0], [0.0, 0.0, 1.1], [0.1, 0.0, 1.2]], np.float32),
        quats=np.tile(np.array([1, 0, 0, 0], np.float32), (3, 1)),
        scales=np.full((3, 3), 0.05, np.float32),
        opacities=np.full(3, 0.8, np.float32),
        sh=np.zeros((3, 1, 3), np.float32),
    )
