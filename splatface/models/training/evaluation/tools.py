"""The measuring tools that need something installed or supplied, and why one is not there."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from splatface.models.errors import SplatfaceError
from splatface.models.training.evaluation.frechet import Inception
from splatface.models.training.evaluation.identity import FaceEmbedder
from splatface.models.training.evaluation.perceptual import PerceptualDistance, lpips, st_lpips
from splatface.models.training.evaluation.sync import SyncNet
from splatface.models.training.tracking.landmarks import Landmarker

__all__ = ["Tool", "Tools", "UserWeights", "tools_of"]

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
