# SPDX-License-Identifier: Apache-2.0
"""`splatface bench render`: time of one image from speech features to pixels, stage by stage."""

import argparse
import json
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio.fsmn_encoder import Fsmn
from splatface.models.audio2motion.audio_to_mouth import AudioToMouthNet, zero_net
from splatface.models.camera import Camera
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
from splatface.models.render.conventions import SH_0
from splatface.models.render.cpu import CpuRenderer, ImageGrads, composite_backward, projection_backward
from splatface.models.render.render import BACKENDS, renderer
from splatface.models.typing import Float64Array

__all__ = [
    "ATTENTION_GAUSSIANS",
    "Baseline",
    "RenderSettings",
    "add_arguments",
    "attention_field",
    "baselines",
    "bench_camera",
    "bench_head",
    "bench_splats",
    "main",
    "measure",
]

COEFFICIENTS = 32
ENCODER, FEATURES = Fsmn.name, Fsmn.dim
Stages = dict[str, list[float]]


@dataclass(frozen=True, kw_only=True)
class RenderSettings:
    """Settings of the benchmark."""

    backend: str = "cpu"
    size: int = 512  # width and height, px
    gaussians: int = 20_000
    dynamic: int = 6_000
    threads: int = 1
    backward: bool = False
    pictures: int = 200


def _side(text: str) -> int:
    """Parse the side of a square image, from `512` or `512x512`."""
    sides = {int(part) for part in text.lower().split("x")}
    if len(sides) != 1:
        raise argparse.ArgumentTypeError(f"expected a square such as 512 or 512x512, found {text!r}")
    return sides.pop()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--backend", choices=BACKENDS, default=RenderSettings.backend)
    parser.add_argument("--size", type=_side, default=RenderSettings.size, help="width and height in pixels")
    parser.add_argument("--gaussians", type=int, default=RenderSettings.gaussians)
    parser.add_argument(
        "--dynamic", type=int, default=RenderSettings.dynamic, help="number of dynamic Gaussians"
    )
    parser.add_argument(
        "--threads", type=int, default=RenderSettings.threads, help="threads of the cpu backend"
    )
    parser.add_argument("--backward", action="store_true", help="include gradients (cpu)")
    parser.add_argument(
        "--pictures", type=int, default=RenderSettings.pictures, help="images that are timed, after a warm-up"
    )


def main(args: argparse.Namespace) -> int:
    """Measure and print; return the exit code."""
    names = RenderSettings.__dataclass_fields__
    settings = RenderSettings(**{name: getattr(args, name) for name in names if hasattr(args, name)})
    result = measure(settings)
    if args.json:
        print(json.dumps(result))
    else:
        print(_table(settings, result))
    return 0


def measure(settings: RenderSettings) -> dict[str, Any]:
    """Render `settings.pictures` images after a warm-up; return times in ms."""
    if not 0 <= settings.dynamic <= settings.gaussians or settings.pictures < 1 or settings.size < 1:
        raise RenderError(
            f"bench render: expected 0 <= dynamic <= gaussians, pictures >= 1 and size >= 1, found {settings}"
        )
    if settings.backward and settings.backend != "cpu":
        raise RenderError(f"bench render --backward: expected backend cpu, found {settings.backend}")
    render_image = _make_renderer(settings)
    stages: Stages = {}
    for k in range(3):
        render_image(k, stages)
    stages.clear()
    totals = []
    for k in range(settings.pictures):
        start_s = time.perf_counter()
        render_image(k, stages)
        totals.append((time.perf_counter() - start_s) * 1e3)
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
    """Return a synthetic head with a dense random basis (the worst case) and a network of usual size."""
    splats = bench_splats(gaussians)
    generator = np.random.default_rng(0)
    odds = np.clip(splats.opacities, 1e-3, 1 - 1e-3)
    # The dynamic Gaussians are those nearest to the camera.
    dynamic_ids = np.sort(np.argsort(splats.means[:, 2], kind="stable")[:dynamic]).astype(np.int32)
    names = tuple(f"c{k}" for k in range(COEFFICIENTS))
    head = Head(
        gaussians=Gaussians(
            splats.means, splats.quats, np.log(splats.scales), np.log(odds / (1 - odds)), splats.sh
        ),
        skinning_weight=np.clip((0.11 - splats.means[:, 1]) / 0.06, 0, 1).astype(np.float32),
        dynamic=dynamic_ids,
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


def _make_renderer(settings: RenderSettings) -> Callable[[int, Stages], None]:
    """Return a function that renders image k and records the time of each stage."""
    head, net = bench_head(settings.gaussians, settings.dynamic)
    deform = Deformer(head)
    generator = np.random.default_rng(1)
    windows = generator.normal(size=(16, net.window, FEATURES)).astype(np.float32)
    extra = generator.uniform(size=(16, COEFFICIENTS - net.outputs)).astype(np.float32)
    draw = _make_draw(settings)

    def render_image(k: int, stages: Stages) -> None:
        clock = _StageTimer(stages)
        c = np.concatenate([net(windows[k % 16]), extra[k % 16]])
        clock.lap("coefficients")
        splats = deform(c, _bones(k))
        clock.lap("deform")
        draw(splats, clock)

    return render_image


class _StageTimer:
    """Timer that records the time since the last lap under the name of a stage."""

    def __init__(self, stages: Stages) -> None:
        self._stages, self._last = stages, time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self._stages.setdefault(stage, []).append((now - self._last) * 1e3)
        self._last = now


def _bones(k: int) -> Bones:
    """Return bones of a head that moves, so that no image can be reused."""
    angle = 0.1 * np.sin(0.2 * k)
    rotation = np.eye(4)
    rotation[0, 0] = rotation[2, 2] = np.cos(angle)
    rotation[0, 2], rotation[2, 0] = np.sin(angle), -np.sin(angle)
    return Bones(T_world_head=rotation, T_world_torso=np.eye(4))


def _make_draw(settings: RenderSettings) -> Callable[[Splats, _StageTimer], None]:
    camera, background = bench_camera(settings.size, settings.size), np.ones((1, 1, 3), np.float32)
    if settings.backward:
        return _make_backward_draw(settings)
    if settings.backend != "cpu":
        other = renderer(settings.backend)

        def draw(splats: Splats, clock: _StageTimer) -> None:
            other.draw(splats, camera, background[0, 0])
            clock.lap("draw")

        return draw
    cpu = CpuRenderer(settings.threads)
    image: NDArray[np.uint8] = np.empty((settings.size, settings.size, 3), np.uint8)

    def draw_cpu(splats: Splats, clock: _StageTimer) -> None:
        cpu.project(splats, camera)
        clock.lap("project")
        cpu.bin_sort(camera)
        clock.lap("bin_sort")
        cpu.composite_uint8(background, image)
        clock.lap("raster")

    return draw_cpu


def _make_backward_draw(settings: RenderSettings) -> Callable[[Splats, _StageTimer], None]:
    camera, cpu = bench_camera(settings.size, settings.size), CpuRenderer(settings.threads)
    background = np.ones((1, 1, 3), np.float32)
    generator = np.random.default_rng(2)
    pixels = (settings.size, settings.size)
    image_grads = ImageGrads(
        generator.normal(size=(*pixels, 3)).astype(np.float32), np.zeros(pixels, np.float32)
    )
    no_channels = np.empty((settings.gaussians, 0), np.float32)

    def draw(splats: Splats, clock: _StageTimer) -> None:
        cpu.project(splats, camera)
        clock.lap("project")
        cpu.bin_sort(camera)
        clock.lap("bin_sort")
        rendered = cpu.composite_float(None, background, camera)
        clock.lap("raster")
        sums = composite_backward(cpu, no_channels, rendered, image_grads)
        clock.lap("raster_backward")
        projection_backward(cpu, (splats, camera), sums)
        clock.lap("project_backward")

    return draw


def _table(settings: RenderSettings, result: dict[str, Any]) -> str:
    """Return the result as text, with the baselines."""
    total = result["total_ms"]["median"]
    lines = [
        f"{settings.size} x {settings.size}, {settings.gaussians} Gaussians, {settings.dynamic} dynamic, "
        f"{settings.threads} thread(s), batch 1, medians",
        *(f"  {name:<28}{ms:>12.3f} ms" for name, ms in result["stages"].items()),
        f"  {'total (' + settings.backend + ')':<28}{total:>12.3f} ms"
        f"{result['pictures_per_second']:>12.1f} images/s   {result['peak_memory_mb']:.0f} MB",
        "baselines on this machine, one core:",
    ]
    for baseline in baselines(settings.size, settings.gaussians):
        ratio = f"{baseline.ms / total:>11.0f} x" if baseline.ms is not None else ""
        time_text = f"{baseline.ms:>12.3f} ms" if baseline.ms is not None else f"{'-':>15}"
        lines.append(f"  {baseline.name:<52}{time_text}{ratio}  {baseline.note}")
    return "\n".join(lines)


ATTENTION_GAUSSIANS = 30_000  # what the published heads have
# GaussianTalker (Cho et al. 2024): 64-d, 2 heads, FFN 128, 2 layers, tokens audio, eye, camera, null;
# then one 64-d regressor each for mean, quaternion, scale, harmonics of degree 3, opacity.
_WIDTH, _HEADS, _INNER, _LAYERS, _TOKENS = 64, 2, 128, 2, 4
_OUTPUTS = (3, 4, 3, 48, 1)


@dataclass(frozen=True)
class Baseline:
    """Time of another implementation; None where this machine cannot run it."""

    name: str
    ms: float | None
    note: str = ""


def baselines(size: int, gaussians: int) -> list[Baseline]:
    """Measure the published field, the reference renderer and gsplat, with torch on one thread."""
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
    # draw() copies the image to the host, which waits for the device.
    return [
        *found,
        Baseline("gsplat", _median_ms(lambda: cuda.draw(splats, camera, np.ones(3)), 100), "one GPU"),
    ]


def attention_field(gaussians: int) -> Callable[[], object]:
    """Return a function that runs the field of GaussianTalker for all Gaussians, batch 1."""
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
        start_s = time.perf_counter()
        run()
        spent.append((time.perf_counter() - start_s) * 1e3)
    return float(np.median(spent))


_PARTS: tuple[
    tuple[tuple[float, float, float], tuple[float, float, float], float, tuple[float, float, float]], ...
] = (
    ((0.0, -0.035, 0.0), (0.075, 0.096, 0.085), 0.58, (0.80, 0.60, 0.50)),
    ((0.0, -0.006, -0.080), (0.012, 0.022, 0.019), 0.02, (0.82, 0.58, 0.48)),
    ((0.0, 0.075, 0.006), (0.036, 0.048, 0.036), 0.08, (0.78, 0.58, 0.50)),
    ((0.0, 0.145, 0.018), (0.145, 0.066, 0.054), 0.32, (0.15, 0.25, 0.45)),
)
_FRONT = 0.7
# Chosen so that the median radius (3 sigma, low-pass included) is 6 px at 512 px and 20,000 Gaussians,
# as in heads trained on 512 px clips; it shrinks with the root of the count.
_SCALE_M = 0.00082


def bench_camera(width: int, height: int) -> Camera:
    """Head and shoulders, whole, 0.48 m away."""
    return Camera(512, 512, 742.0, 742.0, 256.0, 256.0, _pose()).scaled_to(width, height)


def bench_splats(count: int, *, sh_degree: int = 0, seed: int = 0) -> Splats:
    """`count` Gaussians in world coordinates (the camera of `bench_camera` looks along +z)."""
    generator = np.random.default_rng(seed)
    shares = [int(count * part[2]) for part in _PARTS[:-1]]
    shares.append(count - sum(shares))
    surfaces = [_surface(generator, n, part) for n, part in zip(shares, _PARTS, strict=True)]
    means, normals, colors = (np.concatenate(arrays) for arrays in zip(*surfaces, strict=True))
    scales = np.exp(generator.normal(size=(count, 3)) * 0.55) * _SCALE_M * np.sqrt(20_000 / count)
    scales[:, 2] *= 0.3
    scales[generator.random(count) < 0.3] *= 2.0
    sh = np.zeros((count, (sh_degree + 1) ** 2, 3))
    sh[:, 0] = (np.clip(colors + generator.normal(size=(count, 3)) * 0.04, 0, 1) - 0.5) / SH_0
    sh[:, 1:] = generator.normal(size=(count, sh.shape[1] - 1, 3)) * 0.06
    opacities = np.clip(generator.beta(4, 1.2, size=count), 0.3, 1.0) * 0.7 + 0.3
    arrays = (means, _facing(generator, normals), scales, opacities, sh)
    return Splats(*(np.ascontiguousarray(array, np.float32) for array in arrays))


def _pose() -> Float64Array:
    pose = np.eye(4)
    pose[2, 3] = 0.48
    return pose


def _surface(
    generator: np.random.Generator,
    count: int,
    part: tuple[tuple[float, float, float], tuple[float, float, float], float, tuple[float, float, float]],
) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Points on an ellipsoid, their normals, their colors."""
    center, radii, _, color = part
    sphere = generator.normal(size=(count, 3))
    sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)
    turned = generator.random(count) < 2 * (_FRONT - 0.5)
    sphere[turned, 2] = -np.abs(sphere[turned, 2])
    normals = sphere / np.array(radii)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    points = sphere * np.array(radii) + normals * generator.normal(size=(count, 1)) * 0.001
    return points + np.array(center), normals, _painted(points, np.tile(color, (count, 1)), radii[2] > 0.08)


def _painted(points: Float64Array, colors: Float64Array, is_head: bool) -> Float64Array:
    """Hair, eyes and lips on the head; the other parts stay plain."""
    if not is_head:
        return colors
    x, y, front = points[:, 0], points[:, 1], points[:, 2] < 0
    colors[(y < -0.036) | (points[:, 2] > 0.018)] = (0.18, 0.11, 0.07)
    for side in (-0.027, 0.027):
        from_eye = np.hypot(x - side, y + 0.010)
        colors[(from_eye < 0.012) & front] = (0.95, 0.95, 0.95)
        colors[(from_eye < 0.006) & front] = (0.10, 0.20, 0.35)
    colors[(np.hypot(x / 0.027, (y - 0.050) / 0.009) < 1) & front] = (0.65, 0.20, 0.22)
    return colors


def _facing(generator: np.random.Generator, normals: Float64Array) -> Float64Array:
    """Quaternions [N, 4] whose z axis is the normal, turned about it by any angle."""
    # The shortest turn from z to n is (1 + n_z, z x n), up to length; at n = -z any axis across will do.
    shortest = np.stack([1 + normals[:, 2], -normals[:, 1], normals[:, 0], np.zeros(len(normals))], 1)
    shortest[shortest[:, 0] < 1e-6] = (0.0, 1.0, 0.0, 0.0)
    shortest /= np.linalg.norm(shortest, axis=1, keepdims=True)
    half = generator.uniform(0, np.pi, len(normals))
    c, s = np.cos(half), np.sin(half)
    w, x, y, z = shortest.T
    return np.stack([w * c - z * s, x * c + y * s, y * c - x * s, z * c + w * s], 1)
