"""Compile and cache every kernel that drawing needs, before the first picture is due."""

from collections.abc import Callable

import numpy as np

from splatface.models.render.cpu import CpuRenderer
from splatface.models.render.scene import bench_camera, bench_splats

__all__ = ["warm_up"]

Progress = Callable[[str], object]


def warm_up(progress: Progress = print) -> None:
    """Draw one tiny picture in each way a kiosk may ask for.

    The first time after an installation this compiles (about 10 s), later it loads from the cache (0.5 s).
    `progress` is told what is being made ready.
    """
    camera, background = bench_camera(64, 32), np.zeros(3, np.float32)
    renderer = CpuRenderer()
    splats = bench_splats(50)  # the kernels compile once for all degrees of harmonics
    steps: tuple[tuple[str, Callable[[], object]], ...] = (
        ("pictures of bytes", lambda: renderer.draw_uint8(splats, camera, background)),
        ("pictures without background", lambda: renderer.draw_rgba_uint8(splats, camera)),
        ("pictures of float32", lambda: renderer.draw(splats, camera, background)),
    )
    for number, (name, draw) in enumerate(steps, 1):
        progress(f"preparing the renderer, {number} of {len(steps)}: {name}")
        draw()
