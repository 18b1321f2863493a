# SPDX-License-Identifier: Apache-2.0
"""Training steps of a head, and the state they change: saved atomically, without pickle, bit for bit."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from splatface.models.errors import TrainingError
from splatface.models.head.head import Splats
from splatface.models.render.cpu import CpuRenderer
from splatface.models.storage import atomic_write
from splatface.models.training.dataset.types import MOUTH, Dataset
from splatface.models.training.optimization.dataset_statistics import subsample_evenly
from splatface.models.training.optimization.densification import (
    DensificationResult,
    DensificationStats,
    SurfacePrior,
    densify_and_prune,
    zero_densification_stats,
)
from splatface.models.training.optimization.field_trainers import Arrays, FieldTrainer
from splatface.models.training.optimization.gaussian_skinning import MEANS, SH_DC, skin_gaussians
from splatface.models.training.optimization.image_loss import TargetCache
from splatface.models.training.optimization.optimizer import (
    AdamState,
    ParameterAnchors,
    ScheduleState,
    apply_constraints,
    step_table,
    table_rates,
)
from splatface.models.training.optimization.pose_refinement import PoseTrack
from splatface.models.training.optimization.refinement import (
    Refiner,
    apply_refined_motion,
    with_refined_motion,
    with_refined_poses,
)
from splatface.models.training.optimization.render_loss import Gradients, RenderLoss, TorchRenderLoss
from splatface.models.training.optimization.train_config import TrainConfig
from splatface.models.training.optimization.visible_colors import (
    MAX_SAMPLED_FRAMES,
    ColorBounds,
    accumulate_visible_colors_over_frames,
    color_bounds_from_sums,
)
from splatface.models.typing import Float32Array, Float64Array, Int64Array, UInt8Array

__all__ = [
    "CHECKPOINT",
    "Trainer",
    "TrainingCounters",
    "TrainingState",
    "load_checkpoint",
    "remap_gaussians",
    "save_checkpoint",
]

CHECKPOINT = "state.safetensors"
_SMOOTHING = 0.98  # of the running means that are reported
_MAX_SKIPPED = 5  # steps in a row
_FIELD_PREFIX = "field_trainer."


@dataclass(slots=True)
class TrainingCounters:
    """Counters of a run."""

    step: int = 0  # frames trained on
    updates: int = 0  # steps of Adam on the table
    seconds: float = 0.0  # trained, before earlier interruptions included
    rate: float = 1.0  # halved at each rollback
    rollbacks: int = 0
    skipped: int = 0  # steps in a row that were not finite
    loss: float = 0.0  # running mean
    squared_error: float = 0.0  # running mean
    done: bool = False


@dataclass(slots=True, eq=False)
class TrainingState:
    """A head in training."""

    table: Float32Array  # [N, W], see gaussian_skinning.py
    labels: UInt8Array  # [N]
    anchors: Float32Array  # [N, 2] depth, m, and skinning logit that `apply_constraints` draws each back to
    moments: AdamState
    densification_stats: DensificationStats
    poses: PoseTrack
    motion: Float64Array  # [F, 16] correction of the motion from landmarks
    field_trainer: FieldTrainer
    bounds: ColorBounds | None = None  # of the colors, once enabled
    counters: TrainingCounters = field(default_factory=TrainingCounters)


@dataclass(slots=True, eq=False)
class Trainer:
    """A state with all that a step needs."""

    state: TrainingState
    config: TrainConfig
    dataset: Dataset
    frame_indices: Int64Array  # trained on
    targets: TargetCache
    render_loss: RenderLoss | TorchRenderLoss
    refiner: Refiner
    surface_prior: SurfacePrior

    def step(self, schedule: ScheduleState) -> bool:
        """Learn from one frame; return False when too many in a row were not finite.

        A step whose loss or gradients are not finite changes nothing but the counters.
        """
        state, frame_index = self.state, self._next_frame()
        deformed = state.field_trainer.forward_train(state.table, frame_index, schedule)
        pose, target = state.poses.at(frame_index), self.targets(frame_index)
        grads = self.render_loss.loss_and_grads(deformed, pose, target)
        state.counters.step += 1
        if not grads.finite:
            state.counters.skipped += 1
            return state.counters.skipped < _MAX_SKIPPED
        state.counters.skipped = 0
        self._update(grads, schedule)
        self._update_running_means(grads)
        self._densify(schedule)
        return True

    def refine(self, schedule: ScheduleState) -> bool:
        """Refine poses, intrinsics and motion if a round is due; return whether it was."""
        due = self.refiner.due(self.state, schedule)
        if due:
            self.refiner.refine_poses(self.state, schedule)
            posed = self._posed_dataset()
            apply_refined_motion(self.state, posed)
            self.refiner.refine_motion(self.state, schedule, posed)
        return due

    def enable_color_bounds(self, schedule: ScheduleState) -> bool:
        """Bound the colors by what the frames show, once densification is over; return whether it did."""
        max_deviation = self.config.constraints.max_color_deviation
        densifying = schedule.progress <= self.config.densify.stop_fraction
        if self.state.bounds is not None or max_deviation >= 1 or densifying:
            return False
        self.state.bounds = self._color_bounds(schedule)
        return True

    def reload_camera_and_motion(self) -> None:
        """Use the camera of the state, and the motion that goes with its poses."""
        apply_refined_motion(self.state, self._posed_dataset())

    def refined_dataset(self) -> Dataset:
        """Return the data set with the state's poses, camera and motion."""
        return with_refined_motion(self._posed_dataset(), self.state.motion)

    def _posed_dataset(self) -> Dataset:
        poses = self.state.poses
        self.render_loss.camera = poses.camera
        return with_refined_poses(self.dataset, poses.T[1], poses.T[0], poses.camera)

    def _next_frame(self) -> int:
        """Return the frame of this step, which depends on the step alone: shuffled epochs."""
        epoch, position = divmod(self.state.counters.step, len(self.frame_indices))
        generator = np.random.default_rng([self.config.seed, 2, epoch])
        return int(self.frame_indices[generator.permutation(len(self.frame_indices))[position]])

    def _update(self, grads: Gradients, schedule: ScheduleState) -> None:
        """Step field and table, and apply constraints and color bounds."""
        state, rates, constraints = self.state, self.config.rates, self.config.constraints
        counters, workers = state.counters, self.render_loss.workers
        counters.updates += 1
        table_grad = state.field_trainer.backward_and_step(grads, schedule, counters.rate)
        columns = table_rates(rates, schedule.progress, state.table.shape[1]) * np.float32(counters.rate)
        step_table(state.table, table_grad, state.moments, columns, counters.updates, workers)
        # Teeth that drift forward stand before the lips as soon as the head turns.
        depth_rates = np.where(
            state.labels == MOUTH, constraints.mouth_anchor_rate, constraints.depth_anchor_rate
        )
        depth_rates = depth_rates * counters.rate * rates.final_lr_ratio_means**schedule.progress
        decay = counters.rate * rates.final_lr_ratio**schedule.progress
        anchors = ParameterAnchors(
            anchors=state.anchors,
            depth_rates=depth_rates.astype(np.float32),
            skinning_rate=constraints.skinning_anchor_rate * decay,
            sh_rest_decay=constraints.sh_rest_decay * decay,
        )
        apply_constraints(state.table, anchors, constraints, workers)
        if state.bounds is not None:
            state.bounds.clamp_(state.table[:, SH_DC])
        state.densification_stats.add(grads.means2d_grad, self.render_loss.camera.width)

    def _update_running_means(self, grads: Gradients) -> None:
        counters = self.state.counters
        weight = 1.0 if counters.updates == 1 else 1 - _SMOOTHING
        counters.loss += weight * (grads.loss - counters.loss)
        counters.squared_error += weight * (grads.squared_error - counters.squared_error)

    def _densify(self, schedule: ScheduleState) -> None:
        config, state = self.config.densify, self.state
        in_time = config.start_fraction <= schedule.progress <= config.stop_fraction
        if state.counters.updates % config.interval or not in_time:
            return
        dynamic, max_new_dynamic = state.field_trainer.dynamic_mask(len(state.table))
        densified = densify_and_prune(
            state.table, state.densification_stats, dynamic, max_new_dynamic, config
        )
        remap_gaussians(state, densified)
        state.labels = self.surface_prior.labels_at(state.table[:, MEANS], state.labels)
        state.anchors = self.surface_prior.anchors_at(state.table[:, MEANS], state.labels, state.anchors)
        if not len(state.table):
            raise TrainingError(
                "densify: expected Gaussians that stay visible, found none left: lower prune_opacity, or "
                "check that poses and camera belong to the pictures"
            )

    def _color_bounds(self, schedule: ScheduleState) -> ColorBounds:
        """Return limits of the rest colors from frames trained on; takes seconds."""
        state, renderer = self.state, CpuRenderer(self.config.threads)

        def splats(frame_index: int) -> Splats:
            d = state.field_trainer.forward_eval(state.table, frame_index, schedule)
            pose = state.poses.at(frame_index)
            return skin_gaussians(d.table, d.indices, d.deltas, pose, renderer.workers).splats

        frame_indices = subsample_evenly(self.frame_indices, MAX_SAMPLED_FRAMES).tolist()
        sums = accumulate_visible_colors_over_frames(
            splats, state.poses.camera, renderer, self.targets, frame_indices
        )
        return color_bounds_from_sums(sums, self.config.constraints.max_color_deviation)


def remap_gaussians(state: TrainingState, densified: DensificationResult) -> None:
    """Follow a densification: halves keep the scale of their steps, not the direction."""
    sources = densified.sources
    first, second = state.moments.exp_avg[sources], state.moments.exp_avg_sq[sources]
    first[densified.is_new] = 0
    state.field_trainer.remap_gaussians(densified)
    state.table = densified.table
    state.labels, state.anchors = state.labels[sources], state.anchors[sources]
    state.moments = AdamState(first, second)
    state.densification_stats = zero_densification_stats(len(sources))


def save_checkpoint(state: TrainingState, path: Path, key: str) -> None:
    """Write the state; `key` says which run it belongs to. Raises OSError when the disk is full."""
    arrays = {name: np.asarray(array, order="C") for name, array in _arrays(state).items()}
    metadata = {
        "key": key,
        "counters": json.dumps(asdict(state.counters)),
        "rounds": json.dumps(state.poses.rounds),
    }
    atomic_write(path, safetensors.numpy.save(arrays, metadata=metadata))


def load_checkpoint(state: TrainingState, path: Path, key: str) -> None:
    """Restore a state of the same run. Raises TrainingError where it is damaged or another run's."""
    try:
        with safe_open(path, framework="numpy") as file:
            metadata: dict[str, Any] = file.metadata() or {}
            arrays: Arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise TrainingError(
            f"{path}: expected a whole checkpoint, found {error}: start in a new folder"
        ) from error
    if metadata.get("key") != key:
        raise TrainingError(
            f"{path}: expected a checkpoint of this data set and config, found one of another run: "
            "give the same config to go on, or a new folder to start"
        )
    state.counters = TrainingCounters(**json.loads(metadata["counters"]))
    state.poses.rounds = json.loads(metadata["rounds"])
    _restore(state, arrays)


def _arrays(state: TrainingState) -> Arrays:
    arrays: Arrays = {
        "table": state.table,
        "labels": state.labels,
        "anchors": state.anchors,
        "exp_avg": state.moments.exp_avg,
        "exp_avg_sq": state.moments.exp_avg_sq,
        "grad2d": state.densification_stats.grad2d,
        "grad2d_count": state.densification_stats.count,
        "poses": state.poses.T,
        "intrinsics": state.poses.intrinsics,
        "motion": state.motion,
    }
    if state.bounds is not None:
        arrays |= {"colors.low": state.bounds.low, "colors.high": state.bounds.high}
    return arrays | {_FIELD_PREFIX + name: array for name, array in state.field_trainer.state_dict().items()}


def _restore(state: TrainingState, saved: Arrays) -> None:
    arrays: Any = {name: np.array(array) for name, array in saved.items()}
    state.table, state.labels, state.anchors = arrays["table"], arrays["labels"], arrays["anchors"]
    state.moments = AdamState(arrays["exp_avg"], arrays["exp_avg_sq"])
    state.densification_stats = DensificationStats(arrays["grad2d"], arrays["grad2d_count"])
    state.bounds = None
    if "colors.low" in arrays:
        state.bounds = ColorBounds(arrays["colors.low"], arrays["colors.high"])
    poses = state.poses
    poses.T, poses.intrinsics, state.motion = arrays["poses"], arrays["intrinsics"], arrays["motion"]
    of_field = {k: v for k, v in arrays.items() if k.startswith(_FIELD_PREFIX)}
    state.field_trainer.load_state_dict({k.removeprefix(_FIELD_PREFIX): v for k, v in of_field.items()})
