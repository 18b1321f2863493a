"""Everything a step changes, and how it is kept on disk: atomic, without pickle, bit for bit."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from splatface.models.errors import TrainingError
from splatface.models.storage import atomic_write
from splatface.models.training.optimization.adam import AdamState
from splatface.models.training.optimization.densify import DensificationResult, DensificationStats, no_pull
from splatface.models.training.optimization.movers import FieldTrainer
from splatface.models.training.optimization.poses import Poses
from splatface.models.training.optimization.sight import ColorBounds

__all__ = ["STATE", "Counters", "State", "load_state", "remap_state", "save_state"]

STATE = "state.safetensors"
Arrays = dict[str, NDArray[np.generic]]


@dataclass(slots=True)
class Counters:
    """The numbers of a run."""

    step: int = 0  # pictures looked at
    updates: int = 0  # steps of Adam on the table
    seconds: float = 0.0  # trained, earlier sittings included
    rate: float = 1.0  # halved at each retreat
    rollbacks: int = 0
    skipped: int = 0  # steps in a row that were not finite
    loss: float = 0.0  # running means
    squared_error: float = 0.0
    done: bool = False


@dataclass(slots=True, eq=False)
class State:
    """A head in training."""

    table: NDArray[np.float32]  # [N, W], see packed.py
    labels: NDArray[np.uint8]  # [N]
    anchors: NDArray[np.float32]  # [N, 2] depth, m, and skin logit that `hold_shape` draws each back to
    moments: AdamState
    densification_stats: DensificationStats
    poses: Poses
    motion: NDArray[np.float64]  # [F, 16] what pictures add to the motion that landmarks tell
    mover: FieldTrainer
    bounds: ColorBounds | None = None  # of the colors, once they are found
    counters: Counters = field(default_factory=Counters)


def remap_state(state: State, regrown: DensificationResult) -> None:
    """Follow a parting: halves keep the scale of their steps, not the direction."""
    at = regrown.sources
    first, second = state.moments.exp_avg[at], state.moments.exp_avg_sq[at]
    first[regrown.fresh] = 0
    state.mover.regrow(regrown)
    state.table, state.labels, state.anchors = regrown.table, state.labels[at], state.anchors[at]
    state.moments, state.densification_stats = AdamState(first, second), no_pull(len(at))


def save_state(state: State, path: Path, key: str) -> None:
    """Write the state; `key` says which run it belongs to. Raises OSError when the disk is full."""
    arrays = {name: np.asarray(array, order="C") for name, array in _arrays(state).items()}
    notes = {
        "key": key,
        "counters": json.dumps(asdict(state.counters)),
        "rounds": json.dumps(state.poses.rounds),
    }
    atomic_write(path, safetensors.numpy.save(arrays, metadata=notes))


def load_state(state: State, path: Path, key: str) -> None:
    """Put a state of the same run back. Raises TrainingError where it is damaged or another run's."""
    try:
        with safe_open(path, framework="numpy") as file:
            notes: dict[str, Any] = file.metadata() or {}
            found: Arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise TrainingError(
            f"{path}: expected a whole checkpoint, found {error}: start in a new folder"
        ) from error
    if notes.get("key") != key:
        raise TrainingError(
            f"{path}: expected a checkpoint of this data set and config, found one of another run: "
            "give the same config to go on, or a new folder to start"
        )
    state.counters = Counters(**json.loads(notes["counters"]))
    state.poses.rounds = json.loads(notes["rounds"])
    _restore(state, found)


def _arrays(state: State) -> Arrays:
    poses = state.poses
    own: Arrays = {
        "table": state.table,
        "labels": state.labels,
        "anchors": state.anchors,
        "first": state.moments.exp_avg,
        "second": state.moments.exp_avg_sq,
        "slopes": state.densification_stats.slopes,
        "seen": state.densification_stats.count,
        "poses": poses.T,
        "lens": poses.lens,
        "motion": state.motion,
    }
    if state.bounds is not None:
        own |= {"colors.low": state.bounds.low, "colors.high": state.bounds.high}
    return own | {f"mover.{name}": array for name, array in state.mover.state_dict().items()}


def _restore(state: State, found: Arrays) -> None:
    taken: Any = {name: np.array(array) for name, array in found.items()}
    state.table, state.labels, state.anchors = taken["table"], taken["labels"], taken["anchors"]
    state.moments = AdamState(taken["first"], taken["second"])
    state.densification_stats = DensificationStats(taken["slopes"], taken["seen"])
    state.bounds = None
    if "colors.low" in taken:
        state.bounds = ColorBounds(taken["colors.low"], taken["colors.high"])
    poses = state.poses
    poses.T, poses.lens, state.motion = taken["poses"], taken["lens"], taken["motion"]
    prefix = "mover."
    state.mover.load_state_dict({k.removeprefix(prefix): v for k, v in taken.items() if k.startswith(prefix)})
