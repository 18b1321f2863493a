"""The door: names, and what a kiosk loads."""

import subprocess
import sys

import pytest

from splatface.models.errors import RenderError
from splatface.models.render.jit import cache_folder
from splatface.models.render.render import BACKENDS, renderer

KIOSK = """
import sys
from splatface.models.render.render import render, renderer
from bench.render_benchmark import bench_camera, bench_splats
render(bench_splats(20), bench_camera(16, 16), (0, 0, 0))
heavy = {"torch", "gsplat", "cv2"} & set(sys.modules)  # scipy: numba takes it where it is installed
assert not heavy, heavy
"""
WARM = "from splatface.models.render.render import warm_up; warm_up()"


def test_unknown_backend_lists_the_choices():
    with pytest.raises(RenderError, match="cpu, cuda, reference"):
        renderer("opengl")
    assert BACKENDS == ("cpu", "cuda", "reference")


def test_cpu_drawing_loads_no_workshop_package():
    subprocess.run([sys.executable, "-c", KIOSK], check=True)


def test_a_warm_start_compiles_nothing_and_says_what_it_does():
    def compiled():
        return sorted(path.name for path in cache_folder().rglob("*.nbc"))

    subprocess.run([sys.executable, "-c", WARM], check=True, capture_output=True)
    before = compiled()
    done = subprocess.run([sys.executable, "-c", WARM], check=True, capture_output=True, text=True)
    assert before
    assert compiled() == before
    assert "preparing the renderer, 1 of" in done.stdout
