"""Work in stages: each one's result lies on the disk under the digest of what it was made from."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from splatface.models.errors import TrackingError
from splatface.models.storage import PART, atomic_write

__all__ = ["Arrays", "Progress", "ProgressCallback", "StageCache", "digest_of"]

Arrays = dict[str, NDArray[Any]]
ProgressCallback = Callable[[float], None]  # share of the stage that is done, 0..1


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the work is."""

    stage: str
    share: float  # of all work, 0..1
    seconds: float  # since the beginning of this run
    seconds_left: float  # a guess from what was done so far; NaN before anything was


class StageCache:
    """Runs stages in order, each once: what a killed run has finished, the next one finds.

    Args:
        folder: where results are kept.
        plan: the stages in order, each with its usual share of the work (any unit).
        clock: seconds, rising.
        report: told of all progress.
    """

    def __init__(
        self,
        folder: Path,
        plan: Mapping[str, float],
        *,
        clock: Callable[[], float],
        report: Callable[[Progress], None],
    ) -> None:
        self._folder, self._plan = folder, dict(plan)
        self._clock, self._report = clock, report
        self._begun_s = clock()
        self._found = 0.0  # work that did not have to be done again
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for part in folder.glob(f"*{PART}"):
                part.unlink()
        except OSError as error:
            raise _disk_error(folder, error) from error

    def run(self, stage: str, made_from: str, make: Callable[[ProgressCallback], Arrays]) -> Arrays:
        """The arrays that `make` makes, or made in an earlier run from the same.

        Args:
            stage: one of the plan.
            made_from: digest of everything the result depends on, see `digest_of`.
            make: does the work; it may tell which share is done.

        Raises:
            TrackingError: when the disk refuses.
        """
        known = self.find(stage, made_from)
        if known is not None:
            self._found += self._plan[stage]
            self.tell(stage, 1.0)
            return known
        self.tell(stage, 0.0)
        arrays = make(lambda share: self.tell(stage, share))
        self.keep(stage, made_from, arrays)
        self.tell(stage, 1.0)
        return arrays

    def find(self, name: str, made_from: str) -> Arrays | None:
        """What is kept under this name and digest; None when there is nothing, or it is damaged."""
        path = self._path(name, made_from)
        if not path.is_file():
            return None
        try:
            loaded: Arrays = safetensors.numpy.load(path.read_bytes())
        except (SafetensorError, OSError, ValueError):
            return None
        return loaded

    def keep(self, name: str, made_from: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Keep arrays whole or not at all; what the name stood for before goes."""
        path = self._path(name, made_from)
        content = safetensors.numpy.save({key: np.ascontiguousarray(a) for key, a in arrays.items()})
        try:
            atomic_write(path, content)
            for old in self._folder.glob(f"{name}-*.safetensors"):
                if old != path:
                    old.unlink(missing_ok=True)
        except OSError as error:
            raise _disk_error(self._folder, error) from error

    def tell(self, stage: str, share: float) -> None:
        """Report that so much of a stage is done."""
        names = list(self._plan)
        whole = sum(self._plan.values())
        before = sum(self._plan[name] for name in names[: names.index(stage)])
        done = before + self._plan[stage] * min(max(share, 0.0), 1.0)
        seconds = self._clock() - self._begun_s
        worked = done - self._found
        left = (whole - done) * seconds / worked if worked > 0.01 * whole else float("nan")
        self._report(Progress(stage, done / whole, seconds, left if done < whole else 0.0))

    def mark_cached_fraction(self, stage: str, share: float) -> None:
        """Say that so much of a stage was found done, so that it does not count as quick work."""
        self._found += self._plan[stage] * share

    def _path(self, name: str, made_from: str) -> Path:
        return self._folder / f"{name}-{made_from[:20]}.safetensors"


def digest_of(*parts: object) -> str:
    """A digest of plain values (anything else by its repr), the same in every run."""
    return hashlib.sha256(json.dumps(parts, default=repr, sort_keys=True).encode()).hexdigest()


def _disk_error(folder: Path, error: OSError) -> TrackingError:
    return TrackingError(
        f"{folder}: expected to write there, found {error.strerror or error}: free space or mend the rights, "
        "then run the same command again to go on"
    )
