"""x"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from splatface.models.errors import TrainingError
from splatface.models.storage import atomic_write
from splatface.models.training.dataset.frame_images import png_bytes
from splatface.models.training.dataset.types import TRAIN, VAL, Dataset
from splatface.models.training.evaluation.image_metrics import psnr_db
from splatface.models.training.fields.field import Field, GaussianTensors
from splatface.models.training.optimization.dataset_statistics import known_frame_indices, subsample_evenly
from splatface.models.training.optimization.gaussian_skinning import SKIN, unpack
from splatface.models.training.optimization.initialization import build_trainer
from splatface.models.training.optimization.optimizer import ScheduleState, schedule_at
from splatface.models.training.optimization.pose_refinement import pose_curves
from splatface.models.training.optimization.train_config import TrainConfig, config_from_yaml, config_to_yaml
from splatface.models.training.optimization.trainer import STATE, Trainer, load_state, save_state
from splatface.models.typing import UInt8Array

__all__ = [
    "LOG",
    "SHEET_ROWS",
    "RunArtifacts",
    "TrainingProgress",
    "TrainingResult",
    "append_to_log",
    "load_run_artifacts",
    "read_log",
    "render_frame",
    "sheet",
    "train",
    "validate",
]


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """Where a run stands; one line of log.jsonl."""

    stage: str  # "canonical" or "deformation"
    step: int  # of the whole run, 0..steps
    steps: int
    loss: float  # smoothed
    psnr_db: float  # smoothed, pictures trained on
    gaussians: int
    ms_per_step: float
    seconds_left: float
    validation_psnr_db: float | None = None  # of the last validation, where there was one
    seconds: float = 0.0  # trained so far, earlier sittings included


@dataclass(frozen=True, slots=True, eq=False)
class TrainingResult:
    """A trained person, not yet baked to a head."""

    gaussians: GaussianTensors  # N, canonical frame, no graph
    skin_logits: Tensor  # [N]; sigmoid: 0 torso bone .. 1 head bone
    labels: NDArray[np.uint8]  # [N] LABELS of the part each Gaussian belongs to
    field: Field
    config: TrainConfig
    dataset: Dataset  # the one trained on, its poses, lens and motion refined where asked for
    seconds: float
    history: tuple[TrainingProgress, ...] = ()


LOG = "log.jsonl"


def append_to_log(folder: Path, progress: TrainingProgress) -> None:
    """Append a line."""
    with (folder / LOG).open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(progress)) + "\n")


def read_log(folder: Path, until_step: int) -> list[TrainingProgress]:
    """The lines up to a step; later ones, which the resumed run writes again, are taken out of the file.

    A line that a crash cut short is dropped.
    """
    path = folder / LOG
    kept = []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    for line in lines:
        try:
            progress = TrainingProgress(**json.loads(line))
        except (ValueError, TypeError):
            continue
        if progress.step <= until_step:
            kept.append(progress)
    atomic_write(path, "".join(json.dumps(asdict(p)) + "\n" for p in kept).encode(), fsync=False)
    return kept


SHEET_ROWS = 4
_TALLEST = 256  # px of a picture in the sheet
_LOUDER = 4  # differences are shown this much stronger


def render_frame(trainer: Trainer, row: int, schedule: ScheduleState) -> UInt8Array:
    """What the trainer makes of a row of its data set now, [H, W, 3]."""
    state = trainer.state
    image = trainer.render_loss.draw(
        state.field_trainer.forward_eval(state.table, row, schedule), state.poses.at(row)
    )
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def validate(trainer: Trainer, rows: NDArray[np.int64], schedule: ScheduleState, path: Path) -> float:
    """Mean PSNR in dB of rows, and a sheet of the first few at `path`."""
    drawn = [render_frame(trainer, int(row), schedule) for row in rows]
    true = [trainer.targets(int(row)).picture for row in rows]
    errors = [np.mean((a / 255.0 - b / 255.0) ** 2) for a, b in zip(drawn, true, strict=True)]
    path.parent.mkdir(exist_ok=True)
    atomic_write(path, png_bytes(sheet(drawn[:SHEET_ROWS], true[:SHEET_ROWS])), fsync=False)
    return float(np.mean([psnr_db(float(error)) for error in errors]))


def sheet(drawn: list[UInt8Array], true: list[UInt8Array]) -> UInt8Array:
    """One row each: prediction, truth, difference (gray: none)."""
    lines = []
    for mine, theirs in zip(drawn, true, strict=True):
        off = np.clip((mine.astype(np.int16) - theirs) * _LOUDER + 128, 0, 255).astype(np.uint8)
        lines.append(np.concatenate([mine, theirs, off], axis=1))
    whole = np.concatenate(lines)
    share = min(1.0, _TALLEST / drawn[0].shape[0])
    size = (round(whole.shape[1] * share), round(whole.shape[0] * share))
    return np.asarray(cv2.resize(whole, size, interpolation=cv2.INTER_AREA), np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunArtifacts:
    """What a run folder tells of a training; empty where it tells nothing."""

    log: tuple[Mapping[str, Any], ...] = ()  # lines of log.jsonl
    config: str = ""  # config.yaml
    evaluation: Mapping[str, Any] | None = None  # evaluation.json
    openings: Mapping[str, Any] | None = None  # openings.json: "time_s" and lip openings by name
    poses: Mapping[str, Any] | None = None  # poses.json: how they were refined
    validation: tuple[Path, ...] = ()  # pictures, the newest last


def load_run_artifacts(run_folder: Path) -> RunArtifacts:
    """Read what there is; a last line of the log that was cut off by a crash is left out."""
    log = [line for line in map(_json, _lines(run_folder / "log.jsonl")) if isinstance(line, dict)]
    config = run_folder / "config.yaml"
    return RunArtifacts(
        log=tuple(log),
        evaluation=_mapping(run_folder / "evaluation.json"),
        openings=_mapping(run_folder / "openings.json"),
        poses=_mapping(run_folder / "poses.json"),
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
    found = _json("\n".join(_lines(file)))
    return found if isinstance(found, dict) else None


CONFIG, POSES = "config.yaml", "poses.json"
_VALIDATED = 8  # pictures
_RETREATS = 4


def train(
    dataset: Dataset,
    config: TrainConfig,
    run_folder: Path,
    *,
    clock: Callable[[], float],
    report: Callable[[TrainingProgress], None],
) -> TrainingResult:
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
        report: Callable[[TrainingProgress], None],
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.config, self.folder, self.clock, self.report = config, folder, clock, report
        self.key = _key(dataset, config)
        _claim(folder, config)
        self.trainer = build_trainer(dataset, config)
        self.shown = _shown_rows(dataset)
        self.history: list[TrainingProgress] = []
        if (folder / STATE).exists():
            self._load()
            self.history = read_log(folder, self.trainer.state.counters.step)
        else:
            self._save()
        self.began = self.saved = self.told = clock()
        self.before = self.trainer.state.counters.seconds
        self.told_step = self.trainer.state.counters.step

    def to_the_end(self) -> TrainingResult:
        """Step until the schedule is over."""
        while not self.trainer.state.counters.done:
            self._step()
        state = self.trainer.state
        if state.poses.rounds:
            self._tell_poses()
        table = torch.from_numpy(state.table)
        return TrainingResult(
            gaussians=unpack(table),
            skin_logits=table[:, SKIN],
            labels=state.labels,
            field=_on_cpu(state.field_trainer.field),
            config=self.config,
            dataset=self.trainer.refined_dataset(),
            seconds=state.counters.seconds,
            history=tuple(self.history),
        )

    def _step(self) -> None:
        """One step, and what is due after it."""
        config, counters = self.config, self.trainer.state.counters
        schedule = schedule_at(counters.step, counters.seconds, config.stages)
        if self.trainer.refine(schedule) or self.trainer.enable_color_bounds(schedule):
            self._save()
            return
        if not schedule.finished and not self.trainer.step(schedule):
            self._retreat()
            return
        counters.done = schedule.finished
        now = self.clock()
        counters.seconds = self.before + now - self.began
        look = counters.done or counters.step % config.validate_every == 0
        if self.told_step < counters.step and (look or counters.step % config.report_every == 0):
            self._tell(schedule, look)
        if counters.done or now - self.saved >= config.checkpoint_s:
            self._save()
            self.saved = now

    def _tell(self, schedule: ScheduleState, look: bool) -> None:
        """A line for the log and for the caller, after a look at pictures not trained on where asked."""
        counters, stages = self.trainer.state.counters, self.config.stages
        seen = self._validate(schedule) if look and len(self.shown) else None
        now = self.clock()
        taken = (now - self.told) / max(counters.step - self.told_step, 1)
        self.told, self.told_step = now, counters.step
        steps = stages.canonical_steps + stages.deformation_steps
        left = taken * (steps - counters.step) if steps > counters.step else 0.0
        if stages.minutes is not None:
            left = min(left, 60 * stages.minutes - counters.seconds)
        progress = TrainingProgress(
            stage=schedule.stage,
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
        append_to_log(self.folder, progress)
        self.report(progress)

    def _tell_poses(self) -> None:
        poses, known = self.trainer.state.poses, self.trainer.refiner.known
        told = {"rounds": poses.rounds, "curves": pose_curves(poses, known)}
        atomic_write(self.folder / POSES, json.dumps(told).encode())

    def _validate(self, schedule: ScheduleState) -> float:
        name = f"{self.trainer.state.counters.step:07d}.png"
        return validate(self.trainer, self.shown, schedule, self.folder / "validation" / name)

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
    if path.exists() and config_from_yaml(path.read_text(encoding="utf-8")) != config:
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
    rows = known_frame_indices(dataset, VAL)
    rows = rows if len(rows) else known_frame_indices(dataset, TRAIN)
    return subsample_evenly(rows, _VALIDATED, floor=True)
