# SPDX-License-Identifier: Apache-2.0
"""A whole training: two stages, validation, log and checkpoints; resumable at any moment."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from splatface.models.errors import TrainingError
from splatface.models.storage import atomic_write
from splatface.models.training.dataset.frame_images import png_bytes
from splatface.models.training.dataset.types import TRAIN, VAL, Dataset
from splatface.models.training.evaluation.image_metrics import psnr_db
from splatface.models.training.fields.field import Field, GaussianTensors
from splatface.models.training.optimization.dataset_statistics import known_frame_indices, subsample_evenly
from splatface.models.training.optimization.gaussian_skinning import SKIN, unpack
from splatface.models.training.optimization.image_loss import TargetCache
from splatface.models.training.optimization.initialization import build_trainer
from splatface.models.training.optimization.optimizer import ScheduleState, schedule_at
from splatface.models.training.optimization.refinement import pose_curves
from splatface.models.training.optimization.train_config import TrainConfig, config_from_yaml, config_to_yaml
from splatface.models.training.optimization.trainer import (
    CHECKPOINT,
    Trainer,
    load_checkpoint,
    save_checkpoint,
)
from splatface.models.typing import Int64Array, UInt8Array

__all__ = [
    "RunArtifacts",
    "TrainingProgress",
    "TrainingResult",
    "load_run_artifacts",
    "read_log",
    "train",
]

_CONFIG, _LOG, _POSES = "config.yaml", "log.jsonl", "poses.json"
_VALIDATION_FRAMES = 8
_MAX_ROLLBACKS = 4
_SHEET_ROWS = 4
_SHEET_IMAGE_HEIGHT = 256  # px
_DIFFERENCE_GAIN = 4


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """Progress of a run; one line of log.jsonl."""

    stage: str  # "canonical" or "deformation"
    step: int  # of the whole run, 0..steps
    steps: int
    loss: float  # running mean
    psnr_db: float  # running mean, frames trained on
    gaussians: int
    ms_per_step: float
    seconds_left: float
    validation_psnr_db: float | None = None  # of a validation at this step
    seconds: float = 0.0  # trained so far, before interruptions included


@dataclass(frozen=True, slots=True, eq=False)
class TrainingResult:
    """A trained person, not yet baked to a head."""

    gaussians: GaussianTensors  # N, canonical frame, no graph
    skin_logits: Tensor  # [N]; sigmoid: 0 torso bone .. 1 head bone
    labels: UInt8Array  # [N] LABELS of the part each Gaussian belongs to
    field: Field
    config: TrainConfig
    dataset: Dataset  # the one trained on, with refined poses, camera and motion
    targets: TargetCache  # of the data set, as trained with
    seconds: float
    history: tuple[TrainingProgress, ...] = ()


def train(
    dataset: Dataset,
    config: TrainConfig,
    run_folder: Path,
    *,
    clock: Callable[[], float],
    report: Callable[[TrainingProgress], None],
) -> TrainingResult:
    """Train on the TRAIN frames of a data set, or continue where `run_folder` stopped.

    The folder holds config.yaml, state.safetensors (atomic), log.jsonl and validation/*.png. A folder
    with a checkpoint of the same config is resumed and ends as if it had never stopped (bit for bit
    with one thread and no budget of minutes); a finished one is read back.

    Args:
        dataset: see splatface/models/training/dataset.
        config: stored with the run.
        run_folder: is created if missing.
        clock: returns seconds.
        report: is called every `config.report_every` steps.

    Raises:
        TrainingError: where the folder belongs to another run, the frames cannot be learned (NaN again
            and again), memory or disk ran out. The run can be resumed after the last two.
    """
    try:
        torch.set_num_threads(config.threads)
        return _Run(dataset, config, Path(run_folder), clock, report).run()
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "alloc" not in str(error):
            raise
        # Torch raises a RuntimeError: "can't allocate memory", "CUDA out of memory. Tried to allocate".
        raise TrainingError(
            "training: expected enough memory, found it full: lower densify.max_gaussians or cache_gb, or "
            "close other programs, then run the same command again to go on"
        ) from error
    except OSError as error:
        raise TrainingError(
            f"{run_folder}: expected to read and write the run, found {error.strerror or error}: free space "
            "or mend the rights, then run the same command again to go on"
        ) from error


class _Run:
    """A run, from its start or its last checkpoint to its end."""

    def __init__(
        self,
        dataset: Dataset,
        config: TrainConfig,
        folder: Path,
        clock: Callable[[], float],
        report: Callable[[TrainingProgress], None],
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.config, self.folder, self.clock, self.report = config, folder, clock, report
        self.key = _run_key(dataset, config)
        _store_config(folder, config)
        self.trainer = build_trainer(dataset, config)
        self.validation_frames = _validation_frames(dataset)
        self.history: list[TrainingProgress] = []
        if (folder / CHECKPOINT).exists():
            self._load()
            self.history = read_log(folder, self.trainer.state.counters.step)
        else:
            self._save()
        self.started_s = self.saved_s = self.reported_s = clock()
        self.seconds_before = self.trainer.state.counters.seconds
        self.reported_step = self.trainer.state.counters.step

    def run(self) -> TrainingResult:
        """Step until the schedule is finished."""
        while not self.trainer.state.counters.done:
            self._step()
        state = self.trainer.state
        if state.poses.rounds:
            self._write_poses()
        table = torch.from_numpy(state.table)
        return TrainingResult(
            gaussians=unpack(table),
            skin_logits=table[:, SKIN],
            labels=state.labels,
            field=_on_cpu(state.field_trainer.field),
            config=self.config,
            dataset=self.trainer.refined_dataset(),
            targets=self.trainer.targets,
            seconds=state.counters.seconds,
            history=tuple(self.history),
        )

    def _step(self) -> None:
        """Make one step, and what is due after it."""
        config, counters = self.config, self.trainer.state.counters
        schedule = schedule_at(counters.step, counters.seconds, config.stages)
        if self.trainer.refine(schedule) or self.trainer.enable_color_bounds(schedule):
            self._save()
            return
        if not schedule.finished and not self.trainer.step(schedule):
            self._roll_back()
            return
        counters.done = schedule.finished
        now_s = self.clock()
        counters.seconds = self.seconds_before + now_s - self.started_s
        validation_due = counters.done or counters.step % config.validate_every == 0
        report_due = validation_due or counters.step % config.report_every == 0
        if self.reported_step < counters.step and report_due:
            self._report(schedule, validation_due)
        if counters.done or now_s - self.saved_s >= config.checkpoint_s:
            self._save()
            self.saved_s = now_s

    def _report(self, schedule: ScheduleState, validation_due: bool) -> None:
        """Report and log the progress, after a validation where one is due."""
        counters, stages = self.trainer.state.counters, self.config.stages
        validation_psnr_db = (
            self._validate(schedule) if validation_due and len(self.validation_frames) else None
        )
        now_s = self.clock()
        step_s = (now_s - self.reported_s) / max(counters.step - self.reported_step, 1)
        self.reported_s, self.reported_step = now_s, counters.step
        steps = stages.canonical_steps + stages.deformation_steps
        seconds_left = step_s * (steps - counters.step) if steps > counters.step else 0.0
        if stages.minutes is not None:
            seconds_left = min(seconds_left, 60 * stages.minutes - counters.seconds)
        progress = TrainingProgress(
            stage=schedule.stage,
            step=counters.step,
            steps=steps,
            loss=counters.loss,
            psnr_db=psnr_db(counters.squared_error),
            gaussians=len(self.trainer.state.table),
            ms_per_step=1000 * step_s,
            seconds_left=max(seconds_left, 0.0),
            validation_psnr_db=validation_psnr_db,
            seconds=counters.seconds,
        )
        self.history.append(progress)
        _append_to_log(self.folder, progress)
        self.report(progress)

    def _write_poses(self) -> None:
        poses = self.trainer.state.poses
        content = {"rounds": poses.rounds, "curves": pose_curves(poses, self.trainer.refiner.known)}
        atomic_write(self.folder / _POSES, json.dumps(content).encode())

    def _validate(self, schedule: ScheduleState) -> float:
        """Return the mean PSNR in dB of the validation frames, and write an image of the first few."""
        trainer = self.trainer
        rendered = [_render_frame(trainer, int(index), schedule) for index in self.validation_frames]
        truth = [trainer.targets(int(index)).image for index in self.validation_frames]
        errors = [np.mean((a / 255.0 - b / 255.0) ** 2) for a, b in zip(rendered, truth, strict=True)]
        path = self.folder / "validation" / f"{trainer.state.counters.step:07d}.png"
        path.parent.mkdir(exist_ok=True)
        sheet = _comparison_sheet(rendered[:_SHEET_ROWS], truth[:_SHEET_ROWS])
        atomic_write(path, png_bytes(sheet), fsync=False)
        return float(np.mean([psnr_db(float(error)) for error in errors]))

    def _roll_back(self) -> None:
        """Return to the last checkpoint, at half the learning rates."""
        counters = self.trainer.state.counters
        rollbacks, rate = counters.rollbacks + 1, counters.rate / 2
        if rollbacks > _MAX_ROLLBACKS:
            raise TrainingError(
                f"step {counters.step}: expected finite losses, found NaN again and again, also at "
                f"1/{1 << (rollbacks - 1)} of the learning rates: check the data set's poses and camera, "
                "or lower the rates"
            )
        self._load()
        counters = self.trainer.state.counters  # as they were at the checkpoint
        counters.rollbacks, counters.rate, counters.skipped = rollbacks, rate, 0
        self._save()

    def _save(self) -> None:
        save_checkpoint(self.trainer.state, self.folder / CHECKPOINT, self.key)

    def _load(self) -> None:
        load_checkpoint(self.trainer.state, self.folder / CHECKPOINT, self.key)
        self.trainer.reload_camera_and_motion()


def _on_cpu(field: Field) -> Field:
    if isinstance(field, torch.nn.Module):
        field.to("cpu")
    return field


def _store_config(folder: Path, config: TrainConfig) -> None:
    """Store the config with the run; TrainingError where another one lies there."""
    path = folder / _CONFIG
    if path.exists() and config_from_yaml(path.read_text(encoding="utf-8")) != config:
        raise TrainingError(
            f"{path}: expected the config of this run, found another: give the same config to go on, "
            "or a new folder"
        )
    atomic_write(path, config_to_yaml(config).encode())


def _run_key(dataset: Dataset, config: TrainConfig) -> str:
    """Return a digest of config and data set (by the digests it lists), which a checkpoint must match."""
    digest = hashlib.sha256(config_to_yaml(config).encode())
    description = dataset.folder / "dataset.yaml"
    digest.update(description.read_bytes() if description.is_file() else dataset.name.encode())
    return digest.hexdigest()


def _validation_frames(dataset: Dataset) -> Int64Array:
    """Return a few VAL frames, or TRAIN frames where there are none."""
    frame_indices = known_frame_indices(dataset, VAL)
    frame_indices = frame_indices if len(frame_indices) else known_frame_indices(dataset, TRAIN)
    return subsample_evenly(frame_indices, _VALIDATION_FRAMES, floor=True)


def _render_frame(trainer: Trainer, frame_index: int, schedule: ScheduleState) -> UInt8Array:
    """Return the frame [H, W, 3] as the trainer renders it now."""
    state = trainer.state
    deformed = state.field_trainer.forward_eval(state.table, frame_index, schedule)
    image = trainer.render_loss.render(deformed, state.poses.at(frame_index))
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def _comparison_sheet(rendered: list[UInt8Array], truth: list[UInt8Array]) -> UInt8Array:
    """Return an image with one line per frame: rendered, truth, difference (gray: none)."""
    lines = []
    for a, b in zip(rendered, truth, strict=True):
        difference = np.clip((a.astype(np.int16) - b) * _DIFFERENCE_GAIN + 128, 0, 255).astype(np.uint8)
        lines.append(np.concatenate([a, b, difference], axis=1))
    sheet = np.concatenate(lines)
    scale = min(1.0, _SHEET_IMAGE_HEIGHT / rendered[0].shape[0])
    size = (round(sheet.shape[1] * scale), round(sheet.shape[0] * scale))
    return np.asarray(cv2.resize(sheet, size, interpolation=cv2.INTER_AREA), np.uint8)


def _append_to_log(folder: Path, progress: TrainingProgress) -> None:
    with (folder / _LOG).open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(progress)) + "\n")


def read_log(folder: Path, until_step: int) -> list[TrainingProgress]:
    """Return the log up to a step; remove later lines, which a resumed run writes again, from the file.

    A line that a crash cut short is dropped.
    """
    kept = []
    for line in _lines(folder / _LOG):
        try:
            progress = TrainingProgress(**json.loads(line))
        except (ValueError, TypeError):
            continue
        if progress.step <= until_step:
            kept.append(progress)
    text = "".join(json.dumps(asdict(p)) + "\n" for p in kept)
    atomic_write(folder / _LOG, text.encode(), fsync=False)
    return kept


@dataclass(frozen=True, slots=True, kw_only=True)
class RunArtifacts:
    """Files of a run folder for a report; what is missing is empty."""

    log: tuple[Mapping[str, Any], ...] = ()  # lines of log.jsonl
    config: str = ""  # config.yaml
    evaluation: Mapping[str, Any] | None = None  # evaluation.json
    openings: Mapping[str, Any] | None = None  # openings.json: "time_s" and lip openings by name
    poses: Mapping[str, Any] | None = None  # poses.json: metrics and curves of the refinement
    validation: tuple[Path, ...] = ()  # images, the newest last


def load_run_artifacts(run_folder: Path) -> RunArtifacts:
    """Read what there is; a last line of the log that was cut off by a crash is left out."""
    log = [line for line in map(_json, _lines(run_folder / _LOG)) if isinstance(line, dict)]
    config = run_folder / _CONFIG
    return RunArtifacts(
        log=tuple(log),
        evaluation=_mapping(run_folder / "evaluation.json"),
        openings=_mapping(run_folder / "openings.json"),
        poses=_mapping(run_folder / _POSES),
        config=config.read_text(encoding="utf-8") if config.is_file() else "",
        validation=tuple(sorted((run_folder / "validation").glob("*.png"))),
    )


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _mapping(file: Path) -> Mapping[str, Any] | None:
    content = _json("\n".join(_lines(file)))
    return content if isinstance(content, dict) else None
