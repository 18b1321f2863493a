# SPDX-License-Identifier: Apache-2.0
"""Metrics of rendered frames against the true frames of a video."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import SplatfaceError
from splatface.models.training.dataset.frame_images import read_image, read_labels
from splatface.models.training.dataset.types import Dataset
from splatface.models.training.evaluation.image_metrics import (
    REGIONS,
    FaceEmbedder,
    Inception,
    PerceptualDistance,
    frechet_distance,
    identity_similarity,
    lpips,
    psnr,
    ssim,
    ssim_map,
    st_lpips,
)
from splatface.models.training.evaluation.mouth_metrics import LandmarkSequences, lip_score, mouth_opening
from splatface.models.training.evaluation.syncnet import FaceCrops, SyncNet
from splatface.models.training.tracking.face_detection import Landmarker
from splatface.models.typing import Float64Array, UInt8Array

__all__ = [
    "METRICS",
    "MetricGroup",
    "MetricTools",
    "OptionalTool",
    "Truth",
    "UserWeights",
    "evaluate_frames",
    "make_metric_tools",
    "unavailable_metrics",
    "warmed_up_landmarker",
]


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """The true video that rendered ones are compared with."""

    dataset: Dataset
    frame_indices: NDArray[np.intp]  # [F] of the frame table
    silent: NDArray[np.bool_]  # [F]
    landmarks: Float64Array | None  # [F, 478, 3] px
    sampled: frozenset[int]  # positions in `rows` where the costly tools look


T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class UserWeights:
    """Weight files of the user, for networks whose weights no package carries."""

    lpips: Path | None = None  # see `perceptual.lpips`
    fid: Path | None = None  # see `frechet.Inception`
    syncnet: Path | None = None  # see `sync.SyncNet`


@dataclass(frozen=True, slots=True)
class OptionalTool(Generic[T]):
    """A measuring tool, or the reason why it is missing."""

    use: T | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricTools:
    """All measuring tools that may be missing."""

    landmarker: OptionalTool[Callable[[], Landmarker]]
    embedder: OptionalTool[FaceEmbedder]
    st_lpips: OptionalTool[PerceptualDistance]
    lpips: OptionalTool[PerceptualDistance] = field(default_factory=lambda: _no_file("lpips"))
    fid: OptionalTool[Inception] = field(default_factory=lambda: _no_file("fid"))
    syncnet: OptionalTool[SyncNet] = field(default_factory=lambda: _no_file("syncnet"))


def make_metric_tools(supplied: UserWeights) -> MetricTools:
    """Load every measuring tool that is installed or supplied.

    Raises:
        MetricError: when a file was given that does not hold what it should.
    """
    return MetricTools(
        landmarker=_optional(_landmarker),
        embedder=_optional(FaceEmbedder),
        st_lpips=_optional(st_lpips),
        lpips=OptionalTool(lpips(supplied.lpips)) if supplied.lpips else _no_file("lpips"),
        fid=OptionalTool(Inception(supplied.fid)) if supplied.fid else _no_file("fid"),
        syncnet=OptionalTool(SyncNet(supplied.syncnet)) if supplied.syncnet else _no_file("syncnet"),
    )


def _landmarker() -> Callable[[], Landmarker]:
    Landmarker().close()
    return lambda: Landmarker(tracked=True)


def _optional(make: Callable[[], T]) -> OptionalTool[T]:
    try:
        return OptionalTool(make())
    except SplatfaceError as error:
        return OptionalTool(None, str(error))


def _no_file(name: str) -> OptionalTool[T]:
    return OptionalTool(None, f"no weights: give a file with --{name}")


METRICS = (
    "psnr",
    *(f"psnr_{name}" for name in REGIONS),
    "ssim",
    *(f"ssim_{name}" for name in REGIONS),
    "st_lpips",
    "lpips",
    "fid",
    "lmd_px",
    "opening_correlation",
    "opening_amplitude",
    "opening_lag_ms",
    "rest_error",
    "sync_confidence",
    "sync_distance",
    "identity_similarity",
    "identity_distance",
    "jitter_px",
    "head_jitter_px",
    "lip_jitter_px",
    "fps",
)
_WARM_UP_FRAMES = 4  # images
_FROM_LANDMARKS = (
    "lmd_px",
    "opening_correlation",
    "opening_amplitude",
    "opening_lag_ms",
    "rest_error",
    "jitter_px",
    "head_jitter_px",
    "lip_jitter_px",
)
_MISSING_REASONS = {
    **{f"{figure}_{name}": f"no {name} in the labels" for name in REGIONS for figure in ("psnr", "ssim")},
    "lmd_px": "no face found in both pictures",
    "opening_correlation": "a mouth stands still, or fewer than 8 pictures show both faces",
    "opening_amplitude": "the true mouth stands still, or fewer than 8 pictures show both faces",
    "opening_lag_ms": "the mouths do not follow each other within 240 ms",
    "rest_error": "nobody is silent in this part of the film, or the true mouth never opens",
    "jitter_px": "fewer than three pictures in a row show both faces",
    "head_jitter_px": "fewer than three pictures in a row show both faces",
    "lip_jitter_px": "fewer than three pictures in a row show both faces",
    "fid": "fewer than two pictures",
    "sync_confidence": "no 25 pictures a second with a face, six or more",
    "sync_distance": "no 25 pictures a second with a face, six or more",
}


@dataclass(frozen=True, slots=True, eq=False)
class MetricGroup:
    """Metrics by name, None where one is missing (then with a reason), and material to show."""

    figures: Mapping[str, float | None]
    reasons: Mapping[str, str]
    faces_missed: tuple[int, int] = (0, 0)  # in the true and in the rendered images
    opening: Float64Array | None = None  # [F] of the rendered mouth
    sampled_images: Mapping[int, UInt8Array] | None = None  # sampled images, by position in the rows


def unavailable_metrics(reason: str) -> MetricGroup:
    """Return a group without any value and one reason for all."""
    return MetricGroup(dict.fromkeys(METRICS), dict.fromkeys(METRICS, reason))


def evaluate_frames(
    truth: Truth, tools: MetricTools, draw: Callable[[int], UInt8Array], *, clock: Callable[[], float]
) -> MetricGroup:
    """Render every frame and measure it.

    Args:
        truth: what it is measured against.
        tools: what may be missing.
        draw: the image [H, W, 3] of a row, by the live path; what it takes is the fps.
        clock: seconds.
    """
    accumulator, seconds, sampled_images = _MetricAccumulator(tools, truth), [], {}
    first = draw(
        int(truth.frame_indices[0])
    ).copy()  # also, what is made at the first image does not count as fps
    landmarker = warmed_up_landmarker(tools, first)
    rendered_landmarks = []
    for position, row in enumerate(truth.frame_indices.tolist()):
        began = clock()
        rendered = draw(row)
        seconds.append(clock() - began)
        true = read_image(truth.dataset, row)
        accumulator.compare(position, true, rendered, read_labels(truth.dataset, row))
        rendered_landmarks.append(landmarker(rendered) if landmarker else np.empty(0))
        if position in truth.sampled:
            sampled_images[position] = rendered
            accumulator.add_expensive_metrics(position, true, rendered, rendered_landmarks[-1])
    if landmarker:
        landmarker.close()
    figures = accumulator.means() | {"fps": 1 / max(float(np.median(seconds)), 1e-9)}
    if truth.landmarks is None:
        return _group(figures, tools, sampled_images=sampled_images)
    found = np.stack(rendered_landmarks)
    mouth, missed = _mouth_metrics(truth, found)
    return _group(
        figures | mouth, tools, missed=missed, opening=mouth_opening(found), sampled_images=sampled_images
    )


def warmed_up_landmarker(tools: MetricTools, first: UInt8Array) -> Landmarker | None:
    """Return a landmarker that has settled on the first image of a video; None where there is none.

    It searches the face where it was: after the first detection it needs some images to come to rest.
    """
    if tools.landmarker.use is None:
        return None
    landmarker = tools.landmarker.use()
    for _ in range(_WARM_UP_FRAMES):
        landmarker(first)
    return landmarker


class _MetricAccumulator:
    """Accumulates metrics frame by frame."""

    def __init__(self, tools: MetricTools, truth: Truth) -> None:
        self._tools, self._truth = tools, truth
        self._values: dict[str, list[float]] = {}
        self._inception_features: tuple[list[Float64Array], list[Float64Array]] = ([], [])
        self._face_crops = FaceCrops(truth) if tools.syncnet.use else None

    def compare(
        self, position: int, true: UInt8Array, rendered: UInt8Array, label: NDArray[np.uint8]
    ) -> None:
        """Add the metrics that every frame has."""
        if self._face_crops:
            self._face_crops.add(position, rendered)
        similarity = ssim_map(true, rendered)
        self._add("psnr", psnr(true, rendered))
        self._add("ssim", ssim(similarity))
        for name, make_region in REGIONS.items():
            region = make_region(label)
            self._add(f"psnr_{name}", psnr(true, rendered, region))
            self._add(f"ssim_{name}", ssim(similarity, region))
        if self._tools.fid.use:
            for features, image in zip(self._inception_features, (true, rendered), strict=True):
                features.append(self._tools.fid.use(image))

    def add_expensive_metrics(
        self, position: int, true: UInt8Array, rendered: UInt8Array, landmarks: Float64Array
    ) -> None:
        """Add the metrics that only sampled frames have."""
        for name, tool in (("st_lpips", self._tools.st_lpips), ("lpips", self._tools.lpips)):
            if tool.use:
                self._add(name, tool.use(true, rendered))
        true_landmarks = None if self._truth.landmarks is None else self._truth.landmarks[position]
        embed = self._tools.embedder.use
        if (
            embed
            and true_landmarks is not None
            and np.isfinite(true_landmarks).all()
            and np.isfinite(landmarks).all()
        ):
            first, second = embed(true, true_landmarks), embed(rendered, landmarks)
            self._add("identity_similarity", identity_similarity(first, second))
            self._add("identity_distance", float(np.linalg.norm(first - second)))

    def means(self) -> dict[str, float]:
        """Return the mean of each metric over the frames that have it."""
        metrics = {name: float(np.mean(values)) for name, values in self._values.items()}
        if len(self._inception_features[0]) >= 2:
            metrics["fid"] = frechet_distance(
                np.stack(self._inception_features[0]), np.stack(self._inception_features[1])
            )
        if self._tools.syncnet.use and self._face_crops and self._face_crops.long_enough:
            score = self._tools.syncnet.use.score(*self._face_crops.crops_and_audio())
            metrics |= {"sync_confidence": score.confidence, "sync_distance": score.distance}
        return metrics

    def _add(self, name: str, value: float) -> None:
        if math.isfinite(value):
            self._values.setdefault(name, []).append(value)


def _mouth_metrics(truth: Truth, found: Float64Array) -> tuple[dict[str, float], tuple[int, int]]:
    assert truth.landmarks is not None
    camera, time_ns = truth.dataset.camera, truth.dataset.frames.time_ns[truth.frame_indices]
    step_ms = float(np.median(np.diff(time_ns))) / 1e6 if len(time_ns) > 1 else 1000 / truth.dataset.fps
    landmarks = LandmarkSequences(
        truth=truth.landmarks,
        found=found,
        side_px=max(camera.width, camera.height),
        time_ns=time_ns,
        step_ms=step_ms,
        silent=truth.silent,
    )
    score = lip_score(landmarks)
    figures = {name: float(getattr(score, name)) for name in _FROM_LANDMARKS}
    return figures, (score.missed_truth, score.missed_found)


def _group(
    measured: Mapping[str, float],
    tools: MetricTools,
    *,
    missed: tuple[int, int] = (0, 0),
    opening: Float64Array | None = None,
    sampled_images: Mapping[int, UInt8Array] | None = None,
) -> MetricGroup:
    figures: dict[str, float | None] = {}
    reasons: dict[str, str] = {}
    for name in METRICS:
        value = measured.get(name, math.nan)
        figures[name] = value if math.isfinite(value) else None
        if figures[name] is None:
            reasons[name] = _missing_tool_reason(name, tools) or _MISSING_REASONS.get(name, "no face found")
    return MetricGroup(figures, reasons, missed, opening, sampled_images)


def _missing_tool_reason(name: str, tools: MetricTools) -> str:
    """Return why the tool of a metric is missing; empty when it is there or none is needed."""
    if name in ("st_lpips", "lpips", "fid"):
        return str(getattr(tools, name).reason)
    if name.startswith("sync"):
        return tools.syncnet.reason or tools.landmarker.reason
    if name.startswith("identity"):
        return tools.embedder.reason or tools.landmarker.reason
    return tools.landmarker.reason if name in _FROM_LANDMARKS else ""
