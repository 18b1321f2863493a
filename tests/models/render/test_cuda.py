"""gsplat against the definition; needs a GPU."""

import os

import numpy as np
import pytest

from bench.render_benchmark import bench_camera, bench_splats
from splatface.models.render.render import renderer

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.gpu


@pytest.fixture
def cuda():
    if not torch.cuda.is_available():
        if os.environ.get("SPLATFACE_GPU") == "1":
            pytest.fail("SPLATFACE_GPU=1, but torch sees no CUDA device")
        pytest.skip("no CUDA device")
    return renderer("cuda")


@pytest.mark.parametrize("degree", [0, 3])
def test_picture_agrees_with_the_definition(cuda, degree):
    splats, camera = bench_splats(2000, sh_degree=degree), bench_camera(160, 96)
    extra = np.random.default_rng(0).uniform(size=(2000, 2)).astype(np.float32)
    drawn = cuda.draw(splats, camera, (0.2, 0.5, 0.9), extra)
    wanted = renderer("reference").draw(splats, camera, (0.2, 0.5, 0.9), extra)
    for name in ("image", "transmittance", "extra"):
        error = np.mean((getattr(drawn, name) - getattr(wanted, name)) ** 2)
        assert -10 * np.log10(error) >= 45, name


def test_gradients_agree_with_the_definition(cuda):
    from splatface.models.render.reference import SplatTensors, draw_reference

    splats, camera = bench_splats(300, sh_degree=1), bench_camera(64, 48)
    names = ("means", "quats", "scales", "opacities", "sh")
    weights = torch.randn(48, 64, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    slopes = []
    for device, dtype in (("cuda", torch.float32), ("cpu", torch.float64)):
        leaves = [
            torch.tensor(getattr(splats, n), device=device, dtype=dtype, requires_grad=True) for n in names
        ]
        background = torch.ones(3, device=device, dtype=dtype)
        draw = cuda.draw_tensors if device == "cuda" else draw_reference
        image = draw(SplatTensors(*leaves), camera, background)[0]
        (image.double().cpu() * weights).sum().backward()
        slopes.append([leaf.grad.double().cpu() for leaf in leaves])
    for name, found, wanted in zip(names, *slopes, strict=True):
        assert torch.linalg.norm(found - wanted) <= 2e-2 * torch.linalg.norm(wanted), name
