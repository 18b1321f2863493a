"""One step of training after another: a picture, its slopes, what learns from them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import TrainingError
from splatface.models.training.dataset.types import MOUTH, Dataset
from splatface.models.training.optimization.adam import Holds, hold_shape, step_table
from splatface.models.training.optimization.colour_bounds import colour_bounds
from splatface.models.training.optimization.config import TrainConfig
from splatface.models.training.optimization.densify import regrow
from splatface.models.training.optimization.known_better import told_by_landmarks, told_by_pictures
from splatface.models.training.optimization.packed import COLOUR, MEANS
from splatface.models.training.optimization.pull import Easel, Slopes
from splatface.models.training.optimization.refiner import Refiner, perform
from splatface.models.training.optimization.relief import Relief
from splatface.models.training.optimization.schedule import Pace, table_rates
from splatface.models.training.optimization.state import State, regrow_state
from splatface.models.training.optimization.targets import Targets
from splatface.models.training.optimization.torch_easel import TorchEasel

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
    easel: Easel | TorchEasel
    refiner: Refiner
    relief: Relief

    def step(self, pace: Pace) -> bool:
        """Learn from one picture; False when too many in a row could not be learned from.

        A step whose loss or slopes are not finite changes nothing but the counters.
        """
        state = self.state
        row = self._row()
        moves = state.mover.move(state.table, row, pace)
        slopes = self.easel.pull(moves, state.poses.at(row), self.targets(row))
        state.counters.step += 1
        if not slopes.finite:
            state.counters.skipped += 1
            return state.counters.skipped < _PATIENCE
        state.counters.skipped = 0
        self._learn(slopes, pace)
        self._count(slopes)
        self._regrow(pace)
        return True

    def refine(self, pace: Pace) -> bool:
        """Refine poses and lens where it is due; whether it was."""
        due = self.refiner.due(self.state, pace)
        if due:
            self.refiner.refine(self.state, pace)
            posed = self._posed()
            perform(self.state, posed)
            self.refiner.follow(self.state, pace, posed)
        return due

    def bound(self, pace: Pace) -> bool:
        """Bound the colours by what pictures show, once no Gaussian is added any more; whether it did."""
        reach = self.config.shape.colour_reach
        if self.state.bounds is not None or reach >= 1 or pace.through <= self.config.densify.last:
            return False
        self.state.bounds = colour_bounds(self.state, self.rows, self.targets, pace, self.config)
        return True

    def look_again(self) -> None:
        """Look through the lens that the state has, and know the motion that goes with its poses."""
        perform(self.state, self._posed())

    def told(self) -> Dataset:
        """The data set as the state's poses, lens and motion tell it."""
        return told_by_pictures(self._posed(), self.state.motion)

    def _posed(self) -> Dataset:
        poses = self.state.poses
        self.easel.camera = poses.camera
        return told_by_landmarks(self.dataset, poses.T[1], poses.T[0], poses.camera)

    def _row(self) -> int:
        """Every picture once, shuffled, then all again; known from the step alone."""
        turn, place = divmod(self.state.counters.step, len(self.rows))
        order = np.random.default_rng([self.config.seed, 2, turn]).permutation(len(self.rows))
        return int(self.rows[order[place]])

    def _learn(self, slopes: Slopes, pace: Pace) -> None:
        state, rates, shape = self.state, self.config.rates, self.config.shape
        counters = state.counters
        counters.updates += 1
        below = state.mover.learn(slopes, pace, counters.rate)
        paces = table_rates(rates, pace.through, state.table.shape[1]) * np.float32(counters.rate)
        step_table(state.table, below, state.moments, paces, counters.updates, self.easel.workers)
        # Teeth that drift forward stand before the lips as soon as the head turns.
        depths = np.where(state.labels == MOUTH, shape.mouth_hold, shape.depth_hold)
        depths = (depths * counters.rate * rates.last_means**pace.through).astype(np.float32)
        fall = counters.rate * rates.last**pace.through
        holds = Holds(state.anchors, depths, shape.skin_hold * fall, shape.shading_hold * fall)
        hold_shape(state.table, holds, shape, self.easel.workers)
        if state.bounds is not None:
            state.bounds.keep(state.table[:, COLOUR])
        state.pull.add(slopes.centres, self.easel.camera.width)

    def _count(self, slopes: Slopes) -> None:
        counters = self.state.counters
        share = 1.0 if counters.updates == 1 else 1 - _SMOOTH
        counters.loss += share * (slopes.loss - counters.loss)
        counters.squared_error += share * (slopes.squared_error - counters.squared_error)

    def _regrow(self, pace: Pace) -> None:
        how, state = self.config.densify, self.state
        if state.counters.updates % how.interval or not how.first <= pace.through <= how.last:
            return
        movable, room = state.mover.movable(len(state.table))
        regrow_state(state, regrow(state.table, state.pull, movable, room, how))
        state.labels = self.relief.labels(state.table[:, MEANS], state.labels)
        state.anchors = self.relief.anchors(state.table[:, MEANS], state.labels, state.anchors)
        if not len(state.table):
            raise TrainingError(
                "densify: expected Gaussians that stay visible, found none left: lower least_opacity, or "
                "check that poses and camera belong to the pictures"
            )
