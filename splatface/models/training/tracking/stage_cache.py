# SPDX-License-Identifier: Apache-2.0
"""Cache of processing stages: each result is kept on disk under the digest of its inputs."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from splatface.models.errors import TrackingError
from splatface.models.storage import PART, atomic_write
from splatface.models.typing import AnyArray

__all__ = ["ProgressCallback", "StageArrays", "StageCache", "TrackingProgress", "digest_of"]

StageArrays = dict[str, AnyArray]
ProgressCallback = Callable[[float], None]  # called with the fraction of a stage that is complete, 0..1


@dataclass(frozen=True, slots=True)
class TrackingProgress:
    """Progress of all stages."""

    stage: str
    fraction: float  # of all work, 0..1
    seconds: float  # since the beginning of this run
    seconds_left: float  # estimated from the work so far; NaN before there is any


class StageCache:
    """Runs stages in order, each once: an interrupted run continues where it stopped.

    Args:
        folder: where results are kept.
        plan: the stages in order, each with its typical part of the work (any unit).
        clock: monotonic seconds.
        report: called with all progress.
    """

    def __init__(
        self,
        folder: Path,
        plan: Mapping[str, float],
        *,
        clock: Callable[[], float],
        report: Callable[[TrackingProgress], None],
    ) -> None:
        self._folder, self._plan = folder, dict(plan)
        self._clock, self._report = clock, report
        self._start_s = clock()
        self._cached_work = 0.0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for part in folder.glob(f"*{PART}"):
                part.unlink()
        except OSError as error:
            raise _disk_error(folder, error) from error

    def run(self, stage: str, digest: str, compute: Callable[[ProgressCallback], StageArrays]) -> StageArrays:
        """Return the arrays of `compute`, or those of an earlier run with the same digest.

        Args:
            stage: one of the plan.
            digest: of everything the result depends on, see `digest_of`.
            compute: does the work; it may report its progress.

        Raises:
            TrackingError: when the disk refuses.
        """
        cached = self.load(stage, digest)
        if cached is not None:
            self._cached_work += self._plan[stage]
            self.report_progress(stage, 1.0)
            return cached
        self.report_progress(stage, 0.0)
        arrays = compute(lambda fraction: self.report_progress(stage, fraction))
        self.save(stage, digest, arrays)
        self.report_progress(stage, 1.0)
        return arrays

    def load(self, name: str, digest: str) -> StageArrays | None:
        """Load the result of this name and digest; None when there is none, or it is damaged."""
        path = self._path(name, digest)
        if not path.is_file():
            return None
        try:
            loaded: StageArrays = safetensors.numpy.load(path.read_bytes())
        except (SafetensorError, OSError, ValueError):
            return None
        return loaded

    def save(self, name: str, digest: str, arrays: Mapping[str, AnyArray]) -> None:
        """Save arrays atomically and delete what the name had before."""
        path = self._path(name, digest)
        content = safetensors.numpy.save({key: np.ascontiguousarray(a) for key, a in arrays.items()})
        try:
            atomic_write(path, content)
            for old in self._folder.glob(f"{name}-*.safetensors"):
                if old != path:
                    old.unlink(missing_ok=True)
        except OSError as error:
            raise _disk_error(self._folder, error) from error

    def report_progress(self, stage: str, fraction: float) -> None:
        """Report that this fraction of a stage is complete."""
        names = list(self._plan)
        total = sum(self._plan.values())
        earlier = sum(self._plan[name] for name in names[: names.index(stage)])
        completed = earlier + self._plan[stage] * min(max(fraction, 0.0), 1.0)
        seconds = self._clock() - self._start_s
        worked = completed - self._cached_work
        left_s = (total - completed) * seconds / worked if worked > 0.01 * total else float("nan")
        left_s = left_s if completed < total else 0.0
        self._report(TrackingProgress(stage, completed / total, seconds, left_s))

    def mark_cached_fraction(self, stage: str, fraction: float) -> None:
        """Mark a fraction of a stage as cached, so that it does not count as fast work."""
        self._cached_work += self._plan[stage] * fraction

    def _path(self, name: str, digest: str) -> Path:
        return self._folder / f"{name}-{digest[:20]}.safetensors"


def digest_of(*parts: object) -> str:
    """Compute a digest of plain values (anything else by its repr), the same in every run."""
    return hashlib.sha256(json.dumps(parts, default=repr, sort_keys=True).encode()).hexdigest()


def _disk_error(folder: Path, error: OSError) -> TrackingError:
    return TrackingError(
        f"{folder}: expected to write there, found {error.strerror or error}: free space or mend the rights, "
        "then run the same command again to go on"
    )
