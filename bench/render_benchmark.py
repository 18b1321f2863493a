"""`splatface bench render`: one picture from speech features to pixels, stage by stage."""

import argparse
import json
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.benchmark_scene import bench_camera, bench_splats
from splatface.models.audio.fsmn_encoder import Fsmn
from splatface.models.audio2motion.audio_to_mouth import AudioToMouthNet, zero_net
from splatface.models.errors import RenderError
from splatface.models.head.controls import Bones
from splatface.models.head.deformation import Deformer
from splatface.models.head.head import (
    DELTA_CHANNELS,
    MOTION_SIZE,
    Gaussians,
    Head,
    HeadInfo,
    Splats,
    linear_map,
)
from splatface.models.render.cpu import CpuRenderer, ImageGrads, composite_backward, projection_backward
from splatface.models.render.render import BACKENDS, renderer

__all__ = [
    "ATTENTION_GAUSSIANS",
    "Baseline",
    "Settings",
    "add_arguments",
    "attention_field",
    "baselines",
    "bench_head",
    "main",
    "measure",
]

ATTENTION_GAUSSIANS = 30_000  # what the published heads have
# GaussianTalker (Cho et al. 2024): 64-d, 2 heads, FFN 128, 2 layers, tokens audio, eye, camera, null;
# then one 64-d regressor each for mean, quaternion, scale, harmonics of degree 3, opacity.
_WIDTH, _HEADS, _INNER, _LAYERS, _TOKENS = 64, 2, 128, 2, 4
_OUTPUTS = (3, 4, 3, 48, 1)


@dataclass(frozen=True)
class Baseline:
    """One other way; ms is None where this machine cannot run it."""

    name: str
    ms: float | None
    note: str = ""


def baselines(size: int, gaussians: int) -> list[Baseline]:
    """Measure each once or a few times, in this process, torch on one thread."""
    try:
        import torch
    except ImportError:
        return [Baseline("attention field, reference renderer, gsplat", None, "torch is not installed")]
    torch.set_num_threads(1)
    field = attention_field(ATTENTION_GAUSSIANS)
    field_ms = _median_ms(field, 5)
    splats, camera = bench_splats(gaussians), bench_camera(size, size)
    reference = renderer("reference")
    reference_ms = _median_ms(lambda: reference.draw(splats, camera, np.ones(3)), 1)
    found = [
        Baseline(f"attention field, {ATTENTION_GAUSSIANS} Gaussians, random weights", field_ms, "float32"),
        Baseline("reference renderer", reference_ms, "float64"),
        Baseline("attention field + reference renderer", field_ms + reference_ms),
    ]
    try:
        cuda = renderer("cuda")
    except RenderError as error:
        return [*found, Baseline("gsplat", None, str(error))]
    # draw() brings the picture back, which waits for the device.
    return [
        *found,
        Baseline("gsplat", _median_ms(lambda: cuda.draw(splats, camera, np.ones(3)), 100), "one GPU"),
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


COEFFICIENTS = 32
ENCODER, FEATURES = Fsmn.name, Fsmn.dim
Stages = dict[str, list[float]]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is drawn, and how."""

    backend: str = "cpu"
    size: int = 512  # px, both ways
    gaussians: int = 20_000
    dynamic: int = 6_000
    threads: int = 1
    backward: bool = False
    pictures: int = 200


def _side(text: str) -> int:
    """Side of a square picture, from `512` or `512x512`."""
    sides = {int(part) for part in text.lower().split("x")}
    if len(sides) != 1:
        raise argparse.ArgumentTypeError(f"expected a square such as 512 or 512x512, found {text!r}")
    return sides.pop()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--backend", choices=BACKENDS, default=Settings.backend)
    parser.add_argument("--size", type=_side, default=Settings.size, help="width and height in pixels")
    parser.add_argument("--gaussians", type=int, default=Settings.gaussians)
    parser.add_argument("--dynamic", type=int, default=Settings.dynamic, help="how many of them speech moves")
    parser.add_argument("--threads", type=int, default=Settings.threads, help="cores for the cpu backend")
    parser.add_argument("--backward", action="store_true", help="with gradients (cpu)")
    parser.add_argument(
        "--pictures", type=int, default=Settings.pictures, help="pictures timed after the warm-up"
    )


def main(args: argparse.Namespace) -> int:
    """Measure and print; returns the exit code."""
    names = Settings.__dataclass_fields__
    settings = Settings(**{name: getattr(args, name) for name in names if hasattr(args, name)})
    result = measure(settings)
    if args.json:
        print(json.dumps(result))
    else:
        print(_table(settings, result))
    return 0


def measure(settings: Settings) -> dict[str, Any]:
    """Draw `settings.pictures` pictures after a warm-up; milliseconds, see the README's bench section."""
    if not 0 <= settings.dynamic <= settings.gaussians or settings.pictures < 1 or settings.size < 1:
        raise RenderError(
            f"bench render: expected 0 <= dynamic <= gaussians, pictures >= 1 and size >= 1, found {settings}"
        )
    if settings.backward and settings.backend != "cpu":
        raise RenderError(f"bench render --backward: expected backend cpu, found {settings.backend}")
    picture = _picture_maker(settings)
    stages: Stages = {}
    for k in range(3):
        picture(k, stages)
    stages.clear()
    totals = []
    for k in range(settings.pictures):
        began = time.perf_counter()
        picture(k, stages)
        totals.append((time.perf_counter() - began) * 1e3)
    return {
        "stages": {name: round(float(np.median(times)), 4) for name, times in stages.items()},
        "total_ms": {
            "median": round(float(np.median(totals)), 4),
            "min": round(min(totals), 4),
            "p99": round(float(np.percentile(totals, 99)), 4),
        },
        "pictures_per_second": round(1e3 / float(np.median(totals)), 1),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def bench_head(gaussians: int, dynamic: int) -> tuple[Head, AudioToMouthNet]:
    """The synthetic head with a dense random basis (the worst case) and a net of usual size."""
    splats = bench_splats(gaussians)
    generator = np.random.default_rng(0)
    odds = np.clip(splats.opacities, 1e-3, 1 - 1e-3)
    # Speech moves what is in front: the Gaussians nearest to the camera.
    moved = np.sort(np.argsort(splats.means[:, 2], kind="stable")[:dynamic]).astype(np.int32)
    names = tuple(f"c{k}" for k in range(COEFFICIENTS))
    head = Head(
        gaussians=Gaussians(
            splats.means, splats.quats, np.log(splats.scales), np.log(odds / (1 - odds)), splats.sh
        ),
        skinning_weight=np.clip((0.11 - splats.means[:, 1]) / 0.06, 0, 1).astype(np.float32),
        dynamic=moved,
        basis=generator.normal(size=(dynamic, DELTA_CHANNELS, COEFFICIENTS)).astype(np.float32) * 2e-4,
        motion_map=linear_map(np.zeros((MOTION_SIZE, COEFFICIENTS), np.float32)),
        info=HeadInfo(
            name="bench",
            person="nobody",
            license="Apache-2.0",
            consent="nobody is shown",
            camera=bench_camera(512, 512),
            coefficient_names=names,
        ),
    )
    return head, zero_net(ENCODER, FEATURES)


def _picture_maker(settings: Settings) -> Callable[[int, Stages], None]:
    """A function that makes picture k and notes how long each stage took."""
    head, net = bench_head(settings.gaussians, settings.dynamic)
    deform = Deformer(head)
    generator = np.random.default_rng(1)
    windows = generator.normal(size=(16, net.window, FEATURES)).astype(np.float32)
    extra = generator.uniform(size=(16, COEFFICIENTS - net.outputs)).astype(np.float32)
    draw = _drawing(settings)

    def picture(k: int, stages: Stages) -> None:
        clock = _Clock(stages)
        c = np.concatenate([net(windows[k % 16]), extra[k % 16]])
        clock.lap("coefficients")
        splats = deform(c, _bones(k))
        clock.lap("deform")
        draw(splats, clock)

    return picture


class _Clock:
    """Notes the time since the last lap under a stage's name."""

    def __init__(self, stages: Stages) -> None:
        self._stages, self._last = stages, time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self._stages.setdefault(stage, []).append((now - self._last) * 1e3)
        self._last = now


def _bones(k: int) -> Bones:
    """The head sways, so that nothing can be kept from the last picture."""
    angle = 0.1 * np.sin(0.2 * k)
    turned = np.eye(4)
    turned[0, 0] = turned[2, 2] = np.cos(angle)
    turned[0, 2], turned[2, 0] = np.sin(angle), -np.sin(angle)
    return Bones(T_world_head=turned, T_world_torso=np.eye(4))


def _drawing(settings: Settings) -> Callable[[Splats, _Clock], None]:
    camera, background = bench_camera(settings.size, settings.size), np.ones((1, 1, 3), np.float32)
    if settings.backward:
        return _drawing_with_slopes(settings)
    if settings.backend != "cpu":
        other = renderer(settings.backend)

        def draw(splats: Splats, clock: _Clock) -> None:
            other.draw(splats, camera, background[0, 0])
            clock.lap("draw")

        return draw
    cpu = CpuRenderer(settings.threads)
    image: NDArray[np.uint8] = np.empty((settings.size, settings.size, 3), np.uint8)

    def draw_cpu(splats: Splats, clock: _Clock) -> None:
        cpu.project(splats, camera)
        clock.lap("project")
        cpu.bin_sort(camera)
        clock.lap("bin_sort")
        cpu.composite_uint8(background, image)
        clock.lap("raster")

    return draw_cpu


def _drawing_with_slopes(settings: Settings) -> Callable[[Splats, _Clock], None]:
    camera, cpu = bench_camera(settings.size, settings.size), CpuRenderer(settings.threads)
    background = np.ones((1, 1, 3), np.float32)
    generator = np.random.default_rng(2)
    pixels = (settings.size, settings.size)
    slopes = ImageGrads(generator.normal(size=(*pixels, 3)).astype(np.float32), np.zeros(pixels, np.float32))
    no_channels = np.empty((settings.gaussians, 0), np.float32)

    def draw(splats: Splats, clock: _Clock) -> None:
        cpu.project(splats, camera)
        clock.lap("project")
        cpu.bin_sort(camera)
        clock.lap("bin_sort")
        rendered = cpu.composite_float(None, background, camera)
        clock.lap("raster")
        sums = composite_backward(cpu, no_channels, rendered, slopes)
        clock.lap("raster_backward")
        projection_backward(cpu, (splats, camera), sums)
        clock.lap("project_backward")

    return draw


def _table(settings: Settings, result: dict[str, Any]) -> str:
    """One row for each way to make the picture."""
    total = result["total_ms"]["median"]
    lines = [
        f"{settings.size} x {settings.size}, {settings.gaussians} Gaussians, {settings.dynamic} dynamic, "
        f"{settings.threads} thread(s), batch 1, medians",
        *(f"  {name:<28}{ms:>12.3f} ms" for name, ms in result["stages"].items()),
        f"  {'total (' + settings.backend + ')':<28}{total:>12.3f} ms"
        f"{result['pictures_per_second']:>12.1f} pictures/s   {result['peak_memory_mb']:.0f} MB",
        "against, on this machine, one core:",
    ]
    for baseline in baselines(settings.size, settings.gaussians):
        ratio = f"{baseline.ms / total:>11.0f} x" if baseline.ms is not None else ""
        shown = f"{baseline.ms:>12.3f} ms" if baseline.ms is not None else f"{'-':>15}"
        lines.append(f"  {baseline.name:<52}{shown}{ratio}  {baseline.note}")
    return "\n".join(lines)
