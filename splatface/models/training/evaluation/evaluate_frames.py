"""Metrics of rendered frames against the true frames of a video."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import SplatfaceError
from splatface.models.training.dataset.frame_images import labels, picture
from splatface.models.training.dataset.types import Dataset
from splatface.models.training.evaluation.frechet import Inception, frechet_distance
from splatface.models.training.evaluation.image_metrics import (
    REGIONS,
    FaceEmbedder,
    PerceptualDistance,
    identity_similarity,
    lpips,
    psnr,
    ssim,
    ssim_map,
    st_lpips,
)
from splatface.models.training.evaluation.mouth_metrics import LandmarkPair, lip_score, mouth_opening
from splatface.models.training.evaluation.syncnet import FaceFilm, SyncNet
from splatface.models.training.tracking.landmarks import Landmarker
from splatface.models.typing import Float64Array, UInt8Array

__all__ = [
    "FIGURES",
    "Group",
    "Tool",
    "Tools",
    "Truth",
    "UserWeights",
    "evaluate_frames",
    "tools_of",
    "unavailable_metrics",
    "warmed_up_landmarker",
]


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """The true film, seen once for all heads."""

    dataset: Dataset
    rows: NDArray[np.intp]  # [F] of the frame table
    silent: NDArray[np.bool_]  # [F]
    landmarks: Float64Array | None  # [F, 478, 3] px
    sampled: frozenset[int]  # places in `rows` where the costly tools look


T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class UserWeights:
    """Weights that no package carries, from a user's files."""

    lpips: Path | None = None  # see `perceptual.lpips`
    fid: Path | None = None  # see `frechet.Inception`
    syncnet: Path | None = None  # see `sync.SyncNet`


@dataclass(frozen=True, slots=True)
class Tool(Generic[T]):
    """A tool, or the reason why there is none."""

    use: T | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """Everything that may be missing."""

    landmarker: Tool[Callable[[], Landmarker]]
    embedder: Tool[FaceEmbedder]
    st_lpips: Tool[PerceptualDistance]
    lpips: Tool[PerceptualDistance] = field(default_factory=lambda: _no_file("lpips"))
    fid: Tool[Inception] = field(default_factory=lambda: _no_file("fid"))
    syncnet: Tool[SyncNet] = field(default_factory=lambda: _no_file("syncnet"))


def tools_of(supplied: UserWeights) -> Tools:
    """What is there of all tools.

    Raises:
        MetricError: when a file was given that does not hold what it should.
    """
    return Tools(
        landmarker=_optional(_landmarker),
        embedder=_optional(FaceEmbedder),
        st_lpips=_optional(st_lpips),
        lpips=Tool(lpips(supplied.lpips)) if supplied.lpips else _no_file("lpips"),
        fid=Tool(Inception(supplied.fid)) if supplied.fid else _no_file("fid"),
        syncnet=Tool(SyncNet(supplied.syncnet)) if supplied.syncnet else _no_file("syncnet"),
    )


def _landmarker() -> Callable[[], Landmarker]:
    Landmarker().close()
    return lambda: Landmarker(tracked=True)


def _optional(make: Callable[[], T]) -> Tool[T]:
    try:
        return Tool(make())
    except SplatfaceError as error:
        return Tool(None, str(error))


def _no_file(name: str) -> Tool[T]:
    return Tool(None, f"no weights: give a file with --{name}")


FIGURES = (
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
_SETTLE = 4  # pictures
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
_WHY_NOT = {
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
class Group:
    """Figures by name, None where there is none, then with a reason; and what to show of them."""

    figures: Mapping[str, float | None]
    reasons: Mapping[str, str]
    faces_missed: tuple[int, int] = (0, 0)  # in the true and in the drawn pictures
    opening: Float64Array | None = None  # [F] of the drawn mouth
    shown: Mapping[int, UInt8Array] | None = None  # sampled pictures, by place in the rows


def unavailable_metrics(reason: str) -> Group:
    """A group without any figure."""
    return Group(dict.fromkeys(FIGURES), dict.fromkeys(FIGURES, reason))


def evaluate_frames(
    truth: Truth, tools: Tools, draw: Callable[[int], UInt8Array], *, clock: Callable[[], float]
) -> Group:
    """Draw every row and measure it.

    Args:
        truth: what it is measured against.
        tools: what may be missing.
        draw: the picture [H, W, 3] of a row, by the live path; what it takes is the fps.
        clock: seconds.
    """
    tally, seconds, shown = _Tally(tools, truth), [], {}
    first = draw(int(truth.rows[0])).copy()  # also, what is made at the first picture does not count as fps
    finder = warmed_up_landmarker(tools, first)
    sights = []
    for at, row in enumerate(truth.rows.tolist()):
        began = clock()
        drawn = draw(row)
        seconds.append(clock() - began)
        true = picture(truth.dataset, row)
        tally.compare(at, true, drawn, labels(truth.dataset, row))
        sights.append(finder(drawn) if finder else np.empty(0))
        if at in truth.sampled:
            shown[at] = drawn
            tally.add_expensive_metrics(at, true, drawn, sights[-1])
    if finder:
        finder.close()
    figures = tally.means() | {"fps": 1 / max(float(np.median(seconds)), 1e-9)}
    if truth.landmarks is None:
        return _group(figures, tools, shown=shown)
    found = np.stack(sights)
    mouth, missed = _mouth_figures(truth, found)
    return _group(figures | mouth, tools, missed=missed, opening=mouth_opening(found), shown=shown)


def warmed_up_landmarker(tools: Tools, first: UInt8Array) -> Landmarker | None:
    """A landmarker that has found its place in a film's first picture; None where there is none.

    It looks for the face where it was: from its first sight it takes some pictures to come to rest.
    """
    if tools.landmarker.use is None:
        return None
    finder = tools.landmarker.use()
    for _ in range(_SETTLE):
        finder(first)
    return finder


class _Tally:
    """Sums up what is measured picture by picture."""

    def __init__(self, tools: Tools, truth: Truth) -> None:
        self._tools, self._truth = tools, truth
        self._values: dict[str, list[float]] = {}
        self._clouds: tuple[list[Float64Array], list[Float64Array]] = ([], [])
        self._faces = FaceFilm(truth) if tools.syncnet.use else None

    def compare(self, at: int, true: UInt8Array, drawn: UInt8Array, label: NDArray[np.uint8]) -> None:
        """What every picture is worth."""
        if self._faces:
            self._faces.add(at, drawn)
        similarity = ssim_map(true, drawn)
        self._note("psnr", psnr(true, drawn))
        self._note("ssim", ssim(similarity))
        for name, region_of in REGIONS.items():
            region = region_of(label)
            self._note(f"psnr_{name}", psnr(true, drawn, region))
            self._note(f"ssim_{name}", ssim(similarity, region))
        if self._tools.fid.use:
            for cloud, seen in zip(self._clouds, (true, drawn), strict=True):
                cloud.append(self._tools.fid.use(seen))

    def add_expensive_metrics(
        self, at: int, true: UInt8Array, drawn: UInt8Array, sight: Float64Array
    ) -> None:
        """What only some pictures are worth."""
        for name, tool in (("st_lpips", self._tools.st_lpips), ("lpips", self._tools.lpips)):
            if tool.use:
                self._note(name, tool.use(true, drawn))
        true_sight = None if self._truth.landmarks is None else self._truth.landmarks[at]
        embed = self._tools.embedder.use
        if embed and true_sight is not None and np.isfinite(true_sight).all() and np.isfinite(sight).all():
            first, second = embed(true, true_sight), embed(drawn, sight)
            self._note("identity_similarity", identity_similarity(first, second))
            self._note("identity_distance", float(np.linalg.norm(first - second)))

    def means(self) -> dict[str, float]:
        """Mean of each figure over the pictures that have it."""
        found = {name: float(np.mean(values)) for name, values in self._values.items()}
        if len(self._clouds[0]) >= 2:
            found["fid"] = frechet_distance(np.stack(self._clouds[0]), np.stack(self._clouds[1]))
        if self._tools.syncnet.use and self._faces and self._faces.long_enough:
            score = self._tools.syncnet.use.score(*self._faces.film())
            found |= {"sync_confidence": score.confidence, "sync_distance": score.distance}
        return found

    def _note(self, name: str, value: float) -> None:
        if math.isfinite(value):
            self._values.setdefault(name, []).append(value)


def _mouth_figures(truth: Truth, found: Float64Array) -> tuple[dict[str, float], tuple[int, int]]:
    assert truth.landmarks is not None
    camera, time_ns = truth.dataset.camera, truth.dataset.frames.time_ns[truth.rows]
    step_ms = float(np.median(np.diff(time_ns))) / 1e6 if len(time_ns) > 1 else 1000 / truth.dataset.fps
    sight = LandmarkPair(
        truth=truth.landmarks,
        found=found,
        side_px=max(camera.width, camera.height),
        time_ns=time_ns,
        step_ms=step_ms,
        silent=truth.silent,
    )
    score = lip_score(sight)
    figures = {name: float(getattr(score, name)) for name in _FROM_LANDMARKS}
    return figures, (score.missed_truth, score.missed_found)


def _group(
    measured: Mapping[str, float],
    tools: Tools,
    *,
    missed: tuple[int, int] = (0, 0),
    opening: Float64Array | None = None,
    shown: Mapping[int, UInt8Array] | None = None,
) -> Group:
    figures: dict[str, float | None] = {}
    reasons: dict[str, str] = {}
    for name in FIGURES:
        value = measured.get(name, math.nan)
        figures[name] = value if math.isfinite(value) else None
        if figures[name] is None:
            reasons[name] = _reason_of(name, tools) or _WHY_NOT.get(name, "no face found")
    return Group(figures, reasons, missed, opening, shown)


def _reason_of(name: str, tools: Tools) -> str:
    """Why a figure's tool is not there; empty when it is, or none is needed."""
    if name in ("st_lpips", "lpips", "fid"):
        return str(getattr(tools, name).reason)
    if name.startswith("sync"):
        return tools.syncnet.reason or tools.landmarker.reason
    if name.startswith("identity"):
        return tools.embedder.reason or tools.landmarker.reason
    return tools.landmarker.reason if name in _FROM_LANDMARKS else ""
