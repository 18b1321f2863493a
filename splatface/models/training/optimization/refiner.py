"""When poses are refined during a run, and what is looked at for it."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from splatface.models.training.dataset.types import TRAIN, VAL, Dataset
from splatface.models.training.optimization.config import TrainConfig
from splatface.models.training.optimization.dataset_statistics import (
    all_motion,
    known_rows,
    subsample_evenly,
    subsample_with_stride,
)
from splatface.models.training.optimization.known_better import with_refined_motion
from splatface.models.training.optimization.looking import effective_residual_count
from splatface.models.training.optimization.losses import psnr_db
from splatface.models.training.optimization.pose_story import refinement_metrics
from splatface.models.training.optimization.pull import RenderLoss
from splatface.models.training.optimization.refine_motion import (
    REFINED_CHANNELS,
    LossAndGrad,
    MotionObjective,
    extrapolate_correction,
    refine_motion,
)
from splatface.models.training.optimization.refine_poses import PoseRefinementProblem, refine_round
from splatface.models.training.optimization.schedule import CANONICAL, ScheduleState
from splatface.models.training.optimization.state import State
from splatface.models.training.optimization.targets import Targets
from splatface.models.training.optimization.torch_easel import TorchRenderLoss
from splatface.models.typing import Int64Array

__all__ = ["Refiner", "apply_refined_motion", "pose_refinement_config", "usable_frames"]


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
    targets: Targets
    easel: RenderLoss | TorchRenderLoss  # its own, see `calm`

    def due(self, state: State, pace: ScheduleState) -> bool:
        """Whether a round comes before the next step."""
        how, stages, rounds = self.config.refine, self.config.stages, state.poses.rounds
        done = len(rounds)
        if pace.finished:
            return how.rounds > 0 and not (rounds and rounds[-1]["held_only"])
        if done >= how.rounds:
            return False
        first = stages.canonical_steps / (stages.canonical_steps + stages.deformation_steps)
        share = first + max(how.last - first, 0.0) * done / max(how.rounds - 1, 1)
        return pace.progress >= share

    def refine(self, state: State, pace: ScheduleState) -> None:
        """A round, told in `state.poses.rounds`; at the end of a run only pictures not trained on move."""
        poses = state.poses
        before = poses.T.copy(), poses.camera
        self.easel.camera = poses.camera
        scene = PoseRefinementProblem(
            easel=self.easel,
            show=lambda row: state.mover.forward_eval(state.table, row, pace),
            target=self.targets,
            split=self.split,
            known=self.known,
        )
        refine_round(poses, scene, self.config.refine, validation_only=pace.finished)
        shown = self._shown()
        figures = refinement_metrics(
            poses, before, self.known, lambda: self._psnr_db(state, shown, pace), state.counters.step
        )
        poses.rounds.append(figures | {"held_only": float(pace.finished)})

    def refine_motion(self, state: State, pace: ScheduleState, posed: Dataset) -> None:
        """Refine the motion, too, once the face has learned to move.

        `posed` is the data set with the poses of the state and the motion that landmarks tell with them.
        """
        how = self.config.refine
        mine = self.known[self.split[self.known] != TRAIN] if pace.finished else self.known
        rows = subsample_with_stride(mine, how.most)
        if pace.stage == CANONICAL or len(state.poses.rounds) < 2 or not (how.motion and len(rows)):
            return
        mirror = self._mirror(state, pace, posed)
        change = refine_motion(state.motion, mirror, rows, how.motion, how.iterations)
        told, others = all_motion(posed), np.setdiff1d(mine, rows)
        change[others] = extrapolate_correction(told[rows], change[rows], told[others])
        mirror.perform(change)
        figures = {
            "psnr_motion_db": self._psnr_db(state, self._shown(), pace),
            "mouth_changed": float(np.sqrt((change[np.ix_(rows, REFINED_CHANNELS)] ** 2).mean())),
        }
        state.poses.rounds[-1] |= {name: round(value, 4) for name, value in figures.items()}

    def _mirror(self, state: State, pace: ScheduleState, posed: Dataset) -> MotionObjective:
        def tell(change: NDArray[np.float64]) -> None:
            state.motion = change
            apply_refined_motion(state, posed)

        def feel(row: int) -> LossAndGrad:
            shown = state.mover.forward_eval(state.table, row, pace)
            slopes = self.easel.loss_and_grads(shown, state.poses.at(row), self.targets(row))
            return LossAndGrad(
                slopes.loss, state.mover.motion_grad(state.table, row, slopes).astype(np.float64)
            )

        return MotionObjective(tell, feel, effective_residual_count(self.easel.camera))

    def _shown(self) -> Int64Array:
        for part in (VAL, TRAIN):
            rows = self.known[self.split[self.known] == part]
            if len(rows):
                return subsample_evenly(rows, _VALIDATED, floor=True)
        return self.known

    def _psnr_db(self, state: State, rows: Int64Array, pace: ScheduleState) -> float:
        found = []
        for row in rows.tolist():
            drawn = self.easel.draw(state.mover.forward_eval(state.table, row, pace), state.poses.at(row))
            truth = self.targets(row).picture / 255.0
            found.append(psnr_db(float(np.mean((np.clip(drawn, 0, 1) - truth) ** 2))))
        return float(np.mean(found)) if found else 0.0


def apply_refined_motion(state: State, posed: Dataset) -> None:
    """Move as landmarks say in a data set with the state's poses, and pictures beyond them."""
    state.mover.set_motion(with_refined_motion(posed, state.motion))


def usable_frames(dataset: Dataset) -> Int64Array:
    """All rows with known motion and poses, rising."""
    return np.sort(np.concatenate([known_rows(dataset, part) for part in np.unique(dataset.frames.split)]))
