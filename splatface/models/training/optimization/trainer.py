"""x"""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from splatface.models.camera import Camera
from splatface.models.errors import TrainingError
from splatface.models.head.head import Splats
from splatface.models.render.cpu import CpuRenderer
from splatface.models.storage import atomic_write
from splatface.models.training.dataset.body_poses import with_motion_offset, with_poses
from splatface.models.training.dataset.types import MOUTH, TRAIN, VAL, Dataset
from splatface.models.training.evaluation.image_metrics import psnr_db
from splatface.models.training.optimization.dataset_statistics import (
    all_motion,
    known_frame_indices,
    subsample_evenly,
    subsample_with_stride,
)
from splatface.models.training.optimization.densification import (
    DensificationResult,
    DensificationStats,
    SurfacePrior,
    densify_and_prune,
    zero_densification_stats,
)
from splatface.models.training.optimization.field_trainers import FieldTrainer
from splatface.models.training.optimization.gaussian_skinning import MEANS, SH_DC, skin_gaussians
from splatface.models.training.optimization.image_loss import TargetCache
from splatface.models.training.optimization.motion_refinement import (
    REFINED_CHANNELS,
    LossAndGrad,
    MotionObjective,
    extrapolate_correction,
    refine_motion,
)
from splatface.models.training.optimization.optimizer import (
    CANONICAL,
    AdamState,
    ParameterAnchors,
    ScheduleState,
    apply_constraints,
    step_table,
    table_rates,
)
from splatface.models.training.optimization.pose_refinement import (
    PoseRefinementProblem,
    PoseTrack,
    effective_residual_count,
    refine_round,
    refinement_metrics,
)
from splatface.models.training.optimization.render_loss import Gradients, RenderLoss, TorchRenderLoss
from splatface.models.training.optimization.train_config import TrainConfig
from splatface.models.training.optimization.visible_colors import (
    MAX_SAMPLED_FRAMES,
    ColorBounds,
    accumulate_visible_colors_over_frames,
    color_bounds_from_sums,
)
from splatface.models.training.tracking.face_fit import refit_motion_with_poses
from splatface.models.typing import Float64Array, Int64Array

__all__ = [
    "STATE",
    "Refiner",
    "Trainer",
    "TrainingCounters",
    "TrainingState",
    "apply_refined_motion",
    "load_state",
    "pose_refinement_config",
    "remap_state",
    "save_state",
    "usable_frames",
    "with_refined_motion",
    "with_refined_poses",
]


def with_refined_poses(
    dataset: Dataset, T_world_head: Float64Array, T_world_torso: Float64Array, camera: Camera
) -> Dataset:
    """The data set with refined poses [F, 4, 4] and lens, and the motion that its landmarks tell with them.

    Raises:
        TrackingError: when what tracking kept is damaged.
    """
    return refit_motion_with_poses(dataset, with_poses(dataset, T_world_head, T_world_torso, camera))


def with_refined_motion(told: Dataset, motion: Float64Array) -> Dataset:
    """What `told_by_landmarks` gave, with what the pictures add to its motion [F, 16]."""
    return with_motion_offset(told, motion, told.frames.time_ns)


STATE = "state.safetensors"
Arrays = dict[str, NDArray[np.generic]]


@dataclass(slots=True)
class TrainingCounters:
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
class TrainingState:
    """A head in training."""

    table: NDArray[np.float32]  # [N, W], see packed.py
    labels: NDArray[np.uint8]  # [N]
    anchors: NDArray[np.float32]  # [N, 2] depth, m, and skin logit that `hold_shape` draws each back to
    moments: AdamState
    densification_stats: DensificationStats
    poses: PoseTrack
    motion: NDArray[np.float64]  # [F, 16] what pictures add to the motion that landmarks tell
    field_trainer: FieldTrainer
    bounds: ColorBounds | None = None  # of the colors, once they are found
    counters: TrainingCounters = field(default_factory=TrainingCounters)


def remap_state(state: TrainingState, regrown: DensificationResult) -> None:
    """Follow a parting: halves keep the scale of their steps, not the direction."""
    at = regrown.sources
    first, second = state.moments.exp_avg[at], state.moments.exp_avg_sq[at]
    first[regrown.fresh] = 0
    state.field_trainer.regrow(regrown)
    state.table, state.labels, state.anchors = regrown.table, state.labels[at], state.anchors[at]
    state.moments, state.densification_stats = AdamState(first, second), zero_densification_stats(len(at))


def save_state(state: TrainingState, path: Path, key: str) -> None:
    """Write the state; `key` says which run it belongs to. Raises OSError when the disk is full."""
    arrays = {name: np.asarray(array, order="C") for name, array in _arrays(state).items()}
    notes = {
        "key": key,
        "counters": json.dumps(asdict(state.counters)),
        "rounds": json.dumps(state.poses.rounds),
    }
    atomic_write(path, safetensors.numpy.save(arrays, metadata=notes))


def load_state(state: TrainingState, path: Path, key: str) -> None:
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
    state.counters = TrainingCounters(**json.loads(notes["counters"]))
    state.poses.rounds = json.loads(notes["rounds"])
    _restore(state, found)


def _arrays(state: TrainingState) -> Arrays:
    poses = state.poses
    own: Arrays = {
        "table": state.table,
        "labels": state.labels,
        "anchors": state.anchors,
        "first": state.moments.exp_avg,
        "second": state.moments.exp_avg_sq,
        "slopes": state.densification_stats.grads,
        "seen": state.densification_stats.count,
        "poses": poses.T,
        "lens": poses.lens,
        "motion": state.motion,
    }
    if state.bounds is not None:
        own |= {"colors.low": state.bounds.low, "colors.high": state.bounds.high}
    return own | {f"mover.{name}": array for name, array in state.field_trainer.state_dict().items()}


def _restore(state: TrainingState, found: Arrays) -> None:
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
    state.field_trainer.load_state_dict(
        {k.removeprefix(prefix): v for k, v in taken.items() if k.startswith(prefix)}
    )


_VALIDATED = 16  # pictures


def pose_refinement_config(config: TrainConfig) -> TrainConfig:
    """The config of the easel that poses are refined with: no terms for what moves or is slow."""
    return replace(config, losses=replace(config.losses, lips=0.0, mask=0.0, perceptual=0.0))


@dataclass(frozen=True, slots=True, eq=False)
class Refiner:
    """Refines the poses of a state when it is due."""

    config: TrainConfig
    split: NDArray[np.uint8]  # [F]
    known: Int64Array
    targets: TargetCache
    render_loss: RenderLoss | TorchRenderLoss  # its own, see `calm`

    def due(self, state: TrainingState, schedule: ScheduleState) -> bool:
        """Whether a round comes before the next step."""
        how, stages, rounds = self.config.refine, self.config.stages, state.poses.rounds
        done = len(rounds)
        if schedule.finished:
            return how.rounds > 0 and not (rounds and rounds[-1]["held_only"])
        if done >= how.rounds:
            return False
        first = stages.canonical_steps / (stages.canonical_steps + stages.deformation_steps)
        share = first + max(how.last - first, 0.0) * done / max(how.rounds - 1, 1)
        return schedule.progress >= share

    def refine(self, state: TrainingState, schedule: ScheduleState) -> None:
        """A round, told in `state.poses.rounds`; at the end of a run only pictures not trained on move."""
        poses = state.poses
        before = poses.T.copy(), poses.camera
        self.render_loss.camera = poses.camera
        scene = PoseRefinementProblem(
            render_loss=self.render_loss,
            show=lambda row: state.field_trainer.forward_eval(state.table, row, schedule),
            target=self.targets,
            split=self.split,
            known=self.known,
        )
        refine_round(poses, scene, self.config.refine, validation_only=schedule.finished)
        shown = self._shown()
        figures = refinement_metrics(
            poses, before, self.known, lambda: self._psnr_db(state, shown, schedule), state.counters.step
        )
        poses.rounds.append(figures | {"held_only": float(schedule.finished)})

    def refine_motion(self, state: TrainingState, schedule: ScheduleState, posed: Dataset) -> None:
        """Refine the motion, too, once the face has learned to move.

        `posed` is the data set with the poses of the state and the motion that landmarks tell with them.
        """
        how = self.config.refine
        mine = self.known[self.split[self.known] != TRAIN] if schedule.finished else self.known
        rows = subsample_with_stride(mine, how.most)
        if schedule.stage == CANONICAL or len(state.poses.rounds) < 2 or not (how.motion and len(rows)):
            return
        mirror = self._mirror(state, schedule, posed)
        change = refine_motion(state.motion, mirror, rows, how.motion, how.iterations)
        told, others = all_motion(posed), np.setdiff1d(mine, rows)
        change[others] = extrapolate_correction(told[rows], change[rows], told[others])
        mirror.perform(change)
        figures = {
            "psnr_motion_db": self._psnr_db(state, self._shown(), schedule),
            "mouth_changed": float(np.sqrt((change[np.ix_(rows, REFINED_CHANNELS)] ** 2).mean())),
        }
        state.poses.rounds[-1] |= {name: round(value, 4) for name, value in figures.items()}

    def _mirror(self, state: TrainingState, schedule: ScheduleState, posed: Dataset) -> MotionObjective:
        def tell(change: NDArray[np.float64]) -> None:
            state.motion = change
            apply_refined_motion(state, posed)

        def feel(row: int) -> LossAndGrad:
            shown = state.field_trainer.forward_eval(state.table, row, schedule)
            grads = self.render_loss.loss_and_grads(shown, state.poses.at(row), self.targets(row))
            return LossAndGrad(
                grads.loss, state.field_trainer.motion_grad(state.table, row, grads).astype(np.float64)
            )

        return MotionObjective(tell, feel, effective_residual_count(self.render_loss.camera))

    def _shown(self) -> Int64Array:
        for part in (VAL, TRAIN):
            rows = self.known[self.split[self.known] == part]
            if len(rows):
                return subsample_evenly(rows, _VALIDATED, floor=True)
        return self.known

    def _psnr_db(self, state: TrainingState, rows: Int64Array, schedule: ScheduleState) -> float:
        found = []
        for row in rows.tolist():
            drawn = self.render_loss.draw(
                state.field_trainer.forward_eval(state.table, row, schedule), state.poses.at(row)
            )
            truth = self.targets(row).picture / 255.0
            found.append(psnr_db(float(np.mean((np.clip(drawn, 0, 1) - truth) ** 2))))
        return float(np.mean(found)) if found else 0.0


def apply_refined_motion(state: TrainingState, posed: Dataset) -> None:
    """Move as landmarks say in a data set with the state's poses, and pictures beyond them."""
    state.field_trainer.set_motion(with_refined_motion(posed, state.motion))


def usable_frames(dataset: Dataset) -> Int64Array:
    """All rows with known motion and poses, rising."""
    return np.sort(
        np.concatenate([known_frame_indices(dataset, part) for part in np.unique(dataset.frames.split)])
    )


_SMOOTH = 0.98  # of the running means that are reported
_PATIENCE = 5  # steps in a row that may be skipped


@dataclass(slots=True, eq=False)
class Trainer:
    """A state with all that a step needs."""

    state: TrainingState
    config: TrainConfig
    dataset: Dataset
    rows: NDArray[np.int64]  # trained on
    targets: TargetCache
    render_loss: RenderLoss | TorchRenderLoss
    refiner: Refiner
    surface_prior: SurfacePrior

    def step(self, schedule: ScheduleState) -> bool:
        """Learn from one picture; False when too many in a row could not be learned from.

        A step whose loss or slopes are not finite changes nothing but the counters.
        """
        state = self.state
        row = self._row()
        deformed = state.field_trainer.forward_train(state.table, row, schedule)
        grads = self.render_loss.loss_and_grads(deformed, state.poses.at(row), self.targets(row))
        state.counters.step += 1
        if not grads.finite:
            state.counters.skipped += 1
            return state.counters.skipped < _PATIENCE
        state.counters.skipped = 0
        self._learn(grads, schedule)
        self._count(grads)
        self._regrow(schedule)
        return True

    def refine(self, schedule: ScheduleState) -> bool:
        """Refine poses and lens where it is due; whether it was."""
        due = self.refiner.due(self.state, schedule)
        if due:
            self.refiner.refine(self.state, schedule)
            posed = self._posed()
            apply_refined_motion(self.state, posed)
            self.refiner.refine_motion(self.state, schedule, posed)
        return due

    def enable_color_bounds(self, schedule: ScheduleState) -> bool:
        """Bound the colors by what pictures show, once no Gaussian is added any more; whether it did."""
        reach = self.config.shape.max_color_deviation
        if self.state.bounds is not None or reach >= 1 or schedule.progress <= self.config.densify.last:
            return False
        self.state.bounds = _color_bounds(self.state, self.rows, self.targets, schedule, self.config)
        return True

    def reload_camera_and_motion(self) -> None:
        """Look through the lens that the state has, and know the motion that goes with its poses."""
        apply_refined_motion(self.state, self._posed())

    def refined_dataset(self) -> Dataset:
        """The data set as the state's poses, lens and motion tell it."""
        return with_refined_motion(self._posed(), self.state.motion)

    def _posed(self) -> Dataset:
        poses = self.state.poses
        self.render_loss.camera = poses.camera
        return with_refined_poses(self.dataset, poses.T[1], poses.T[0], poses.camera)

    def _row(self) -> int:
        """Every picture once, shuffled, then all again; known from the step alone."""
        turn, place = divmod(self.state.counters.step, len(self.rows))
        order = np.random.default_rng([self.config.seed, 2, turn]).permutation(len(self.rows))
        return int(self.rows[order[place]])

    def _learn(self, grads: Gradients, schedule: ScheduleState) -> None:
        state, rates, shape = self.state, self.config.rates, self.config.shape
        counters = state.counters
        counters.updates += 1
        below = state.field_trainer.backward_and_step(grads, schedule, counters.rate)
        paces = table_rates(rates, schedule.progress, state.table.shape[1]) * np.float32(counters.rate)
        step_table(state.table, below, state.moments, paces, counters.updates, self.render_loss.workers)
        # Teeth that drift forward stand before the lips as soon as the head turns.
        depths = np.where(state.labels == MOUTH, shape.mouth_hold, shape.depth_anchor_rate)
        depths = (depths * counters.rate * rates.final_lr_ratio_means**schedule.progress).astype(np.float32)
        fall = counters.rate * rates.last**schedule.progress
        holds = ParameterAnchors(
            state.anchors, depths, shape.skinning_anchor_rate * fall, shape.sh_rest_decay * fall
        )
        apply_constraints(state.table, holds, shape, self.render_loss.workers)
        if state.bounds is not None:
            state.bounds.clamp_(state.table[:, SH_DC])
        state.densification_stats.add(grads.means2d_grad, self.render_loss.camera.width)

    def _count(self, grads: Gradients) -> None:
        counters = self.state.counters
        share = 1.0 if counters.updates == 1 else 1 - _SMOOTH
        counters.loss += share * (grads.loss - counters.loss)
        counters.squared_error += share * (grads.squared_error - counters.squared_error)

    def _regrow(self, schedule: ScheduleState) -> None:
        how, state = self.config.densify, self.state
        if state.counters.updates % how.interval or not how.first <= schedule.progress <= how.last:
            return
        movable, room = state.field_trainer.dynamic_mask(len(state.table))
        remap_state(state, densify_and_prune(state.table, state.densification_stats, movable, room, how))
        state.labels = self.surface_prior.labels(state.table[:, MEANS], state.labels)
        state.anchors = self.surface_prior.anchors(state.table[:, MEANS], state.labels, state.anchors)
        if not len(state.table):
            raise TrainingError(
                "densify: expected Gaussians that stay visible, found none left: lower least_opacity, or "
                "check that poses and camera belong to the pictures"
            )


def _color_bounds(
    state: TrainingState,
    rows: NDArray[np.int64],
    targets: TargetCache,
    schedule: ScheduleState,
    config: TrainConfig,
) -> ColorBounds:
    """Limits of the resting colors of the Gaussians as they stand in pictures of these rows (seconds)."""
    renderer = CpuRenderer(config.threads)

    def splats(row: int) -> Splats:
        deformed = state.field_trainer.forward_eval(state.table, row, schedule)
        return skin_gaussians(
            deformed.table, deformed.rows, deformed.deltas, state.poses.at(row), renderer.workers
        ).splats

    sums = accumulate_visible_colors_over_frames(
        splats, (state.poses.camera, renderer), targets, subsample_evenly(rows, MAX_SAMPLED_FRAMES).tolist()
    )
    return color_bounds_from_sums(sums, config.shape.max_color_deviation)
