"""One step of training after another: a picture, its slopes, what learns from them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import TrainingError
from splatface.models.head.splats import Splats
from splatface.models.render.cpu import CpuRenderer
from splatface.models.training.dataset.types import MOUTH, Dataset
from splatface.models.training.optimization.adam import ParameterAnchors, apply_constraints, step_table
from splatface.models.training.optimization.color_bounds import (
    MAX_SAMPLED_FRAMES,
    accumulate_visible_colors_over_frames,
)
from splatface.models.training.optimization.config import TrainConfig
from splatface.models.training.optimization.dataset_statistics import subsample_evenly
from splatface.models.training.optimization.densify import densify_and_prune
from splatface.models.training.optimization.known_better import with_refined_motion, with_refined_poses
from splatface.models.training.optimization.packed import MEANS, SH_DC
from splatface.models.training.optimization.pull import Gradients, RenderLoss
from splatface.models.training.optimization.refiner import Refiner, apply_refined_motion
from splatface.models.training.optimization.relief import SurfacePrior
from splatface.models.training.optimization.schedule import ScheduleState, table_rates
from splatface.models.training.optimization.sight import ColorBounds, bounds_of
from splatface.models.training.optimization.skin_kernels import skin_gaussians
from splatface.models.training.optimization.state import State, remap_state
from splatface.models.training.optimization.targets import Targets
from splatface.models.training.optimization.torch_easel import TorchRenderLoss

__all__ = ["Trainer"]

_SMOOTH = 0.98  # of the running means that are reported
_PATIENCE = 5  # steps in a row that may be skipped


@dataclass(slots=True, eq=False)
class Trainer:
    """A state with all that a step needs."""

    state: State
    config: TrainConfig
    dataset: Dataset
    rows: NDArray[np.int64]  # trained on
    targets: Targets
    easel: RenderLoss | TorchRenderLoss
    refiner: Refiner
    relief: SurfacePrior

    def step(self, pace: ScheduleState) -> bool:
        """Learn from one picture; False when too many in a row could not be learned from.

        A step whose loss or slopes are not finite changes nothing but the counters.
        """
        state = self.state
        row = self._row()
        moves = state.mover.forward_train(state.table, row, pace)
        slopes = self.easel.loss_and_grads(moves, state.poses.at(row), self.targets(row))
        state.counters.step += 1
        if not slopes.finite:
            state.counters.skipped += 1
            return state.counters.skipped < _PATIENCE
        state.counters.skipped = 0
        self._learn(slopes, pace)
        self._count(slopes)
        self._regrow(pace)
        return True

    def refine(self, pace: ScheduleState) -> bool:
        """Refine poses and lens where it is due; whether it was."""
        due = self.refiner.due(self.state, pace)
        if due:
            self.refiner.refine(self.state, pace)
            posed = self._posed()
            apply_refined_motion(self.state, posed)
            self.refiner.refine_motion(self.state, pace, posed)
        return due

    def enable_color_bounds(self, pace: ScheduleState) -> bool:
        """Bound the colors by what pictures show, once no Gaussian is added any more; whether it did."""
        reach = self.config.shape.max_color_deviation
        if self.state.bounds is not None or reach >= 1 or pace.progress <= self.config.densify.last:
            return False
        self.state.bounds = _color_bounds(self.state, self.rows, self.targets, pace, self.config)
        return True

    def reload_camera_and_motion(self) -> None:
        """Look through the lens that the state has, and know the motion that goes with its poses."""
        apply_refined_motion(self.state, self._posed())

    def refined_dataset(self) -> Dataset:
        """The data set as the state's poses, lens and motion tell it."""
        return with_refined_motion(self._posed(), self.state.motion)

    def _posed(self) -> Dataset:
        poses = self.state.poses
        self.easel.camera = poses.camera
        return with_refined_poses(self.dataset, poses.T[1], poses.T[0], poses.camera)

    def _row(self) -> int:
        """Every picture once, shuffled, then all again; known from the step alone."""
        turn, place = divmod(self.state.counters.step, len(self.rows))
        order = np.random.default_rng([self.config.seed, 2, turn]).permutation(len(self.rows))
        return int(self.rows[order[place]])

    def _learn(self, slopes: Gradients, pace: ScheduleState) -> None:
        state, rates, shape = self.state, self.config.rates, self.config.shape
        counters = state.counters
        counters.updates += 1
        below = state.mover.backward_and_step(slopes, pace, counters.rate)
        paces = table_rates(rates, pace.progress, state.table.shape[1]) * np.float32(counters.rate)
        step_table(state.table, below, state.moments, paces, counters.updates, self.easel.workers)
        # Teeth that drift forward stand before the lips as soon as the head turns.
        depths = np.where(state.labels == MOUTH, shape.mouth_hold, shape.depth_anchor_rate)
        depths = (depths * counters.rate * rates.final_lr_ratio_means**pace.progress).astype(np.float32)
        fall = counters.rate * rates.last**pace.progress
        holds = ParameterAnchors(
            state.anchors, depths, shape.skinning_anchor_rate * fall, shape.sh_rest_decay * fall
        )
        apply_constraints(state.table, holds, shape, self.easel.workers)
        if state.bounds is not None:
            state.bounds.clamp_(state.table[:, SH_DC])
        state.densification_stats.add(slopes.means2d_grad, self.easel.camera.width)

    def _count(self, slopes: Gradients) -> None:
        counters = self.state.counters
        share = 1.0 if counters.updates == 1 else 1 - _SMOOTH
        counters.loss += share * (slopes.loss - counters.loss)
        counters.squared_error += share * (slopes.squared_error - counters.squared_error)

    def _regrow(self, pace: ScheduleState) -> None:
        how, state = self.config.densify, self.state
        if state.counters.updates % how.interval or not how.first <= pace.progress <= how.last:
            return
        movable, room = state.mover.dynamic_mask(len(state.table))
        remap_state(state, densify_and_prune(state.table, state.densification_stats, movable, room, how))
        state.labels = self.relief.labels(state.table[:, MEANS], state.labels)
        state.anchors = self.relief.anchors(state.table[:, MEANS], state.labels, state.anchors)
        if not len(state.table):
            raise TrainingError(
                "densify: expected Gaussians that stay visible, found none left: lower least_opacity, or "
                "check that poses and camera belong to the pictures"
            )


def _color_bounds(
    state: State, rows: NDArray[np.int64], targets: Targets, pace: ScheduleState, config: TrainConfig
) -> ColorBounds:
    """Limits of the resting colors of the Gaussians as they stand in pictures of these rows (seconds)."""
    renderer = CpuRenderer(config.threads)

    def splats(row: int) -> Splats:
        moves = state.mover.forward_eval(state.table, row, pace)
        return skin_gaussians(
            moves.table, moves.rows, moves.deltas, state.poses.at(row), renderer.workers
        ).splats

    sums = accumulate_visible_colors_over_frames(
        splats, (state.poses.camera, renderer), targets, subsample_evenly(rows, MAX_SAMPLED_FRAMES)
    )
    return bounds_of(sums, config.shape.max_color_deviation)
