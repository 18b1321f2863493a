"""A whole training: two stages, resumable at any moment, told to the caller as it goes."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from splatface.models.errors import TrainingError
from splatface.models.storage import atomic_write
from splatface.models.training.dataset.types import TRAIN, VAL, Dataset
from splatface.models.training.fields.field import Field
from splatface.models.training.optimization.begin import build_trainer
from splatface.models.training.optimization.config import TrainConfig, config_of_yaml, config_to_yaml
from splatface.models.training.optimization.dataset_statistics import known_rows, subsample_evenly
from splatface.models.training.optimization.log import add_to_log, read_log
from splatface.models.training.optimization.losses import psnr_db
from splatface.models.training.optimization.packed import SKIN, unpack
from splatface.models.training.optimization.pose_story import pose_curves
from splatface.models.training.optimization.schedule import ScheduleState, schedule_at
from splatface.models.training.optimization.state import STATE, load_state, save_state
from splatface.models.training.optimization.types import Progress, Trained
from splatface.models.training.optimization.validate import validate

__all__ = ["Progress", "Trained", "train"]

CONFIG, POSES = "config.yaml", "poses.json"
_VALIDATED = 8  # pictures
_RETREATS = 4


def train(
    dataset: Dataset,
    config: TrainConfig,
    run_folder: Path,
    *,
    clock: Callable[[], float],
    report: Callable[[Progress], None],
) -> Trained:
    """Train on the TRAIN pictures of a data set, or go on where `run_folder` stopped.

    The folder holds config.yaml, state.safetensors (atomic), log.jsonl and validation/*.png. A folder
    with a state made by the same config is resumed and ends as if it had never stopped (bit for bit
    with one thread and no budget of minutes); a finished one is read back.

    Args:
        dataset: see splatface/models/training/dataset.
        config: stored with the run.
        run_folder: is made where it is not there.
        clock: gives seconds.
        report: is told every `config.report_every` steps.

    Raises:
        TrainingError: where the folder belongs to another run, the pictures cannot be learned (NaN again
            and again), memory or disk ran out. The run can be resumed after the last two.
    """
    try:
        torch.set_num_threads(config.threads)
        return _Run(dataset, config, Path(run_folder), clock, report).to_the_end()
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "alloc" not in str(error):
            raise
        # Torch says it in a RuntimeError: "can't allocate memory", "CUDA out of memory. Tried to allocate".
        raise TrainingError(
            "training: expected enough memory, found it full: lower densify.most or cache_gb, or close "
            "other programs, then run the same command again to go on"
        ) from error
    except OSError as error:
        raise TrainingError(
            f"{run_folder}: expected to read and write the run, found {error.strerror or error}: free space "
            "or mend the rights, then run the same command again to go on"
        ) from error


class _Run:
    """One sitting of a run."""

    def __init__(
        self,
        dataset: Dataset,
        config: TrainConfig,
        folder: Path,
        clock: Callable[[], float],
        report: Callable[[Progress], None],
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.config, self.folder, self.clock, self.report = config, folder, clock, report
        self.key = _key(dataset, config)
        _claim(folder, config)
        self.trainer = build_trainer(dataset, config)
        self.shown = _shown_rows(dataset)
        self.history: list[Progress] = []
        if (folder / STATE).exists():
            self._load()
            self.history = read_log(folder, self.trainer.state.counters.step)
        else:
            self._save()
        self.began = self.saved = self.told = clock()
        self.before = self.trainer.state.counters.seconds
        self.told_step = self.trainer.state.counters.step

    def to_the_end(self) -> Trained:
        """Step until the schedule is over."""
        while not self.trainer.state.counters.done:
            self._step()
        state = self.trainer.state
        if state.poses.rounds:
            self._tell_poses()
        table = torch.from_numpy(state.table)
        return Trained(
            gaussians=unpack(table),
            skin_logits=table[:, SKIN],
            labels=state.labels,
            field=_on_cpu(state.mover.field),
            config=self.config,
            dataset=self.trainer.refined_dataset(),
            seconds=state.counters.seconds,
            history=tuple(self.history),
        )

    def _step(self) -> None:
        """One step, and what is due after it."""
        config, counters = self.config, self.trainer.state.counters
        pace = schedule_at(counters.step, counters.seconds, config.stages)
        if self.trainer.refine(pace) or self.trainer.enable_color_bounds(pace):
            self._save()
            return
        if not pace.finished and not self.trainer.step(pace):
            self._retreat()
            return
        counters.done = pace.finished
        now = self.clock()
        counters.seconds = self.before + now - self.began
        look = counters.done or counters.step % config.validate_every == 0
        if self.told_step < counters.step and (look or counters.step % config.report_every == 0):
            self._tell(pace, look)
        if counters.done or now - self.saved >= config.checkpoint_s:
            self._save()
            self.saved = now

    def _tell(self, pace: ScheduleState, look: bool) -> None:
        """A line for the log and for the caller, after a look at pictures not trained on where asked."""
        counters, stages = self.trainer.state.counters, self.config.stages
        seen = self._validate(pace) if look and len(self.shown) else None
        now = self.clock()
        taken = (now - self.told) / max(counters.step - self.told_step, 1)
        self.told, self.told_step = now, counters.step
        steps = stages.canonical_steps + stages.deformation_steps
        left = taken * (steps - counters.step) if steps > counters.step else 0.0
        if stages.minutes is not None:
            left = min(left, 60 * stages.minutes - counters.seconds)
        progress = Progress(
            stage=pace.stage,
            step=counters.step,
            steps=steps,
            loss=counters.loss,
            psnr_db=psnr_db(counters.squared_error),
            gaussians=len(self.trainer.state.table),
            ms_per_step=1000 * taken,
            seconds_left=max(left, 0.0),
            validation_psnr_db=seen,
            seconds=counters.seconds,
        )
        self.history.append(progress)
        add_to_log(self.folder, progress)
        self.report(progress)

    def _tell_poses(self) -> None:
        poses, known = self.trainer.state.poses, self.trainer.refiner.known
        told = {"rounds": poses.rounds, "curves": pose_curves(poses, known)}
        atomic_write(self.folder / POSES, json.dumps(told).encode())

    def _validate(self, pace: ScheduleState) -> float:
        name = f"{self.trainer.state.counters.step:07d}.png"
        return validate(self.trainer, self.shown, pace, self.folder / "validation" / name)

    def _retreat(self) -> None:
        """Back to the last checkpoint, at half the rate."""
        counters = self.trainer.state.counters
        retreats, rate = counters.rollbacks + 1, counters.rate / 2
        if retreats > _RETREATS:
            raise TrainingError(
                f"step {counters.step}: expected finite losses, found NaN again and again, also at "
                f"1/{1 << (retreats - 1)} of the learning rates: check the data set's poses and camera, "
                "or lower the rates"
            )
        self._load()
        counters = self.trainer.state.counters  # as they were at the checkpoint
        counters.rollbacks, counters.rate, counters.skipped = retreats, rate, 0
        self._save()

    def _save(self) -> None:
        save_state(self.trainer.state, self.folder / STATE, self.key)

    def _load(self) -> None:
        load_state(self.trainer.state, self.folder / STATE, self.key)
        self.trainer.reload_camera_and_motion()


def _on_cpu(field: Field) -> Field:
    if isinstance(field, torch.nn.Module):
        field.to("cpu")
    return field


def _claim(folder: Path, config: TrainConfig) -> None:
    """Store the config with the run; TrainingError where another one lies there."""
    path = folder / CONFIG
    if path.exists() and config_of_yaml(path.read_text(encoding="utf-8")) != config:
        raise TrainingError(
            f"{path}: expected the config of this run, found another: give the same config to go on, "
            "or a new folder"
        )
    atomic_write(path, config_to_yaml(config).encode())


def _key(dataset: Dataset, config: TrainConfig) -> str:
    """Says which run a state belongs to: the config, and the data set by the digests it lists."""
    digest = hashlib.sha256(config_to_yaml(config).encode())
    description = dataset.folder / "dataset.yaml"
    digest.update(description.read_bytes() if description.is_file() else dataset.name.encode())
    return digest.hexdigest()


def _shown_rows(dataset: Dataset) -> NDArray[np.int64]:
    """A few pictures that are not trained on, of those trained on where there are no others."""
    rows = known_rows(dataset, VAL)
    rows = rows if len(rows) else known_rows(dataset, TRAIN)
    return subsample_evenly(rows, _VALIDATED, floor=True)
