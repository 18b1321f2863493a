"""What `bench render` compares with: the published field, the reference renderer, gsplat."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from splatface.models.errors import RenderError
from splatface.models.render.render import renderer
from splatface.models.render.scene import bench_camera, bench_splats

__all__ = ["ATTENTION_GAUSSIANS", "Rival", "attention_field", "rivals"]

ATTENTION_GAUSSIANS = 30_000  # what the published heads have
# GaussianTalker (Cho et al. 2024): 64-d, 2 heads, FFN 128, 2 layers, tokens audio, eye, camera, null;
# then one 64-d regressor each for mean, quaternion, scale, harmonics of degree 3, opacity.
_WIDTH, _HEADS, _INNER, _LAYERS, _TOKENS = 64, 2, 128, 2, 4
_OUTPUTS = (3, 4, 3, 48, 1)


@dataclass(frozen=True)
class Rival:
    """One other way; ms is None where this machine cannot run it."""

    name: str
    ms: float | None
    note: str = ""


def rivals(size: int, gaussians: int) -> list[Rival]:
    """Measure each once or a few times, in this process, torch on one thread."""
    try:
        import torch
    except ImportError:
        return [Rival("attention field, reference renderer, gsplat", None, "torch is not installed")]
    torch.set_num_threads(1)
    field = attention_field(ATTENTION_GAUSSIANS)
    field_ms = _median_ms(field, 5)
    splats, camera = bench_splats(gaussians), bench_camera(size, size)
    reference = renderer("reference")
    reference_ms = _median_ms(lambda: reference.draw(splats, camera, np.ones(3)), 1)
    found = [
        Rival(f"attention field, {ATTENTION_GAUSSIANS} Gaussians, random weights", field_ms, "float32"),
        Rival("reference renderer", reference_ms, "float64"),
        Rival("attention field + reference renderer", field_ms + reference_ms),
    ]
    try:
        cuda = renderer("cuda")
    except RenderError as error:
        return [*found, Rival("gsplat", None, str(error))]
    # draw() brings the picture back, which waits for the device.
    return [
        *found,
        Rival("gsplat", _median_ms(lambda: cuda.draw(splats, camera, np.ones(3)), 100), "one GPU"),
    ]


def attention_field(gaussians: int) -> Callable[[], object]:
    """A function that runs the published field once for all Gaussians, batch 1."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    queries = torch.randn(1, gaussians, _WIDTH)
    tokens = torch.randn(1, _TOKENS, _WIDTH)
    layers = nn.ModuleList(_layer(nn) for _ in range(_LAYERS))
    ends = nn.ModuleList(
        nn.Sequential(nn.Linear(_WIDTH, _WIDTH), nn.ReLU(), nn.Linear(_WIDTH, n)) for n in _OUTPUTS
    )

    def run() -> object:
        with torch.inference_mode():
            x = queries
            for part in layers:
                y = part["attention"](part["before"](x), tokens, tokens, need_weights=False)[0]
                x = x + y
                x = x + part["feed"](part["between"](x))
            return [end(x) for end in ends]

    return run


def _layer(nn: Any) -> Any:
    return nn.ModuleDict(
        {
            "before": nn.LayerNorm(_WIDTH),
            "attention": nn.MultiheadAttention(_WIDTH, _HEADS, batch_first=True),
            "between": nn.LayerNorm(_WIDTH),
            "feed": nn.Sequential(nn.Linear(_WIDTH, _INNER), nn.ReLU(), nn.Linear(_INNER, _WIDTH)),
        }
    )


def _median_ms(run: Callable[[], object], times: int) -> float:
    run()
    spent = []
    for _ in range(times):
        began = time.perf_counter()
        run()
        spent.append((time.perf_counter() - began) * 1e3)
    return float(np.median(spent))
