# SPDX-License-Identifier: Apache-2.0
"""Refinement during a run: poses, intrinsics and motion follow the renderer's gradient, Gaussians stay fixed.

Motion: landmarks err by a few percent of a mode from frame to frame, so mouth and brows are refined as poses
are, anchored to the landmarks. (IMavatar, Zheng et al. 2022, and PointAvatar, Zheng et al. 2023, train
expressions so.) With a weak anchor, modes absorb what is no motion at all, and audio cannot predict them.

One step of Gauss-Newton per frame on n log L(x) + |x - landmarks|^2 / (2 anchor^2), with a frame's loss as
the likelihood of n independent residuals (see pose_refinement.py) and one curvature for all frames.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from splatface.models.camera import Camera
from splatface.models.head.head import MOTION_SIZE
from splatface.models.training.dataset.body_poses import with_motion_offset, with_poses
from splatface.models.training.dataset.types import TRAIN, VAL, Dataset
from splatface.models.training.optimization.dataset_statistics import (
    all_motion,
    known_frame_indices,
    subsample_evenly,
    subsample_interior,
    subsample_with_stride,
)
from splatface.models.training.optimization.image_loss import TargetCache, image_psnr_db
from splatface.models.training.optimization.optimizer import CANONICAL, ScheduleState
from splatface.models.training.optimization.pose_refinement import (
    DAMPING,
    PoseRefinementProblem,
    PoseTrack,
    effective_residual_count,
    nearest_psd,
    refine_round,
    twist_between,
)
from splatface.models.training.optimization.render_loss import RenderLoss, TorchRenderLoss
from splatface.models.training.optimization.train_config import TrainConfig
from splatface.models.training.tracking.face_fit import refit_motion_with_poses
from splatface.models.training.tracking.face_model import EYE_CHANNELS
from splatface.models.typing import Float32Array, Float64Array, Int64Array, UInt8Array

if TYPE_CHECKING:
    from splatface.models.training.optimization.trainer import TrainingState

__all__ = [
    "REFINED_CHANNELS",
    "LossAndGrad",
    "MotionObjective",
    "Refiner",
    "apply_refined_motion",
    "extrapolate_correction",
    "jitter_px",
    "pose_curves",
    "pose_refinement_config",
    "refine_motion",
    "refinement_metrics",
    "usable_frames",
    "with_refined_motion",
    "with_refined_poses",
]

REFINED_CHANNELS = np.setdiff1d(np.arange(MOTION_SIZE), EYE_CHANNELS)
_VALIDATION_FRAMES = 16
_CURVATURE_FRAMES = 8
_CURVATURE_STEP = 0.02
_RIDGE = 1e-3  # in the square of a mode
_FACE_POINTS_M = np.array([[x, y, 0.0] for x in (-0.05, 0.05) for y in (-0.05, 0.08)] + [[0.0, 0.02, -0.05]])
_MAX_FRAME_GAP_S = 0.11  # farther apart, a difference is movement and not jitter


@dataclass(frozen=True, slots=True, eq=False)
class Refiner:
    """Refinement of a training state in rounds."""

    config: TrainConfig
    split: UInt8Array  # [F]
    known: Int64Array  # frames with known poses and motion
    targets: TargetCache
    render_loss: RenderLoss | TorchRenderLoss  # its own, see `pose_refinement_config`

    def due(self, state: "TrainingState", schedule: ScheduleState) -> bool:
        """Return whether a round comes before the next step."""
        config, stages, rounds = self.config.refine, self.config.stages, state.poses.rounds
        if schedule.finished:
            return config.rounds > 0 and not (rounds and rounds[-1]["held_only"])
        if len(rounds) >= config.rounds:
            return False
        first = stages.canonical_steps / (stages.canonical_steps + stages.deformation_steps)
        span = max(config.last_round_fraction - first, 0.0)
        return schedule.progress >= first + span * len(rounds) / max(config.rounds - 1, 1)

    def refine_poses(self, state: "TrainingState", schedule: ScheduleState) -> None:
        """Refine poses in one round and append its metrics to `state.poses.rounds`.

        At the end of a run only frames move that were not trained on.
        """
        poses = state.poses
        poses_before, camera_before = poses.T.copy(), poses.camera
        self.render_loss.camera = poses.camera
        problem = PoseRefinementProblem(
            render_loss=self.render_loss,
            deformed=lambda frame_index: state.field_trainer.forward_eval(state.table, frame_index, schedule),
            target=self.targets,
            split=self.split,
            known=self.known,
        )
        refine_round(poses, problem, self.config.refine, validation_only=schedule.finished)
        validated = self._validation_frames()
        metrics = refinement_metrics(
            poses, poses_before, camera_before, self.known, lambda: self._psnr_db(state, validated, schedule)
        )
        step = {"step": float(state.counters.step)}
        poses.rounds.append(step | metrics | {"held_only": float(schedule.finished)})

    def refine_motion(self, state: "TrainingState", schedule: ScheduleState, posed: Dataset) -> None:
        """Refine the motion as well, once the face has learned to move.

        `posed` is the data set with the poses of the state and the motion that landmarks give with them.
        """
        config = self.config.refine
        movable = self.known[self.split[self.known] != TRAIN] if schedule.finished else self.known
        frame_indices = subsample_with_stride(movable, config.max_frames)
        wanted = config.motion_sigma and len(frame_indices)
        if schedule.stage == CANONICAL or len(state.poses.rounds) < 2 or not wanted:
            return
        objective = self._motion_objective(state, schedule, posed)
        change = refine_motion(state.motion, objective, frame_indices, config.motion_sigma, config.iterations)
        tracked, others = all_motion(posed), np.setdiff1d(movable, frame_indices)
        change[others] = extrapolate_correction(
            tracked[frame_indices], change[frame_indices], tracked[others]
        )
        objective.set_change(change)
        refined = change[np.ix_(frame_indices, REFINED_CHANNELS)]
        metrics = {
            "psnr_motion_db": self._psnr_db(state, self._validation_frames(), schedule),
            "mouth_changed": float(np.sqrt((refined**2).mean())),
        }
        state.poses.rounds[-1] |= {name: round(value, 4) for name, value in metrics.items()}

    def _motion_objective(
        self, state: "TrainingState", schedule: ScheduleState, posed: Dataset
    ) -> "MotionObjective":
        def set_change(change: Float64Array) -> None:
            state.motion = change
            apply_refined_motion(state, posed)

        def evaluate(frame_index: int) -> LossAndGrad:
            deformed = state.field_trainer.forward_eval(state.table, frame_index, schedule)
            pose, target = state.poses.at(frame_index), self.targets(frame_index)
            grads = self.render_loss.loss_and_grads(deformed, pose, target)
            motion_grad = state.field_trainer.motion_grad(state.table, frame_index, grads)
            return LossAndGrad(grads.loss, motion_grad.astype(np.float64))

        return MotionObjective(set_change, evaluate, effective_residual_count(self.render_loss.camera))

    def _validation_frames(self) -> Int64Array:
        for part in (VAL, TRAIN):
            frame_indices = self.known[self.split[self.known] == part]
            if len(frame_indices):
                return subsample_evenly(frame_indices, _VALIDATION_FRAMES, floor=True)
        return self.known

    def _psnr_db(self, state: "TrainingState", frame_indices: Int64Array, schedule: ScheduleState) -> float:
        values = []
        for frame_index in frame_indices.tolist():
            deformed = state.field_trainer.forward_eval(state.table, frame_index, schedule)
            image = self.render_loss.render(deformed, state.poses.at(frame_index))
            values.append(image_psnr_db(np.clip(image, 0, 1), self.targets(frame_index)))
        return float(np.mean(values)) if values else 0.0


def pose_refinement_config(config: TrainConfig) -> TrainConfig:
    """Return the config of the loss that poses are refined with: without terms of motion or slow ones."""
    return replace(config, losses=replace(config.losses, lips=0.0, mask=0.0, perceptual=0.0))


def usable_frames(dataset: Dataset) -> Int64Array:
    """Return all frames with known motion and poses, rising."""
    parts = [known_frame_indices(dataset, part) for part in np.unique(dataset.frames.split)]
    return np.sort(np.concatenate(parts))


def with_refined_poses(
    dataset: Dataset, T_world_head: Float64Array, T_world_torso: Float64Array, camera: Camera
) -> Dataset:
    """Return the data set with refined poses [F, 4, 4] and camera, and its landmarks' motion with them.

    Raises:
        TrackingError: when what tracking kept is damaged.
    """
    return refit_motion_with_poses(dataset, with_poses(dataset, T_world_head, T_world_torso, camera))


def with_refined_motion(posed: Dataset, motion: Float64Array) -> Dataset:
    """Return the result of `with_refined_poses` with a correction [F, 16] of its motion."""
    return with_motion_offset(posed, motion, posed.frames.time_ns)


def apply_refined_motion(state: "TrainingState", posed: Dataset) -> None:
    """Set the motion of landmarks in a data set with the state's poses, plus the state's correction."""
    state.field_trainer.set_motion(with_refined_motion(posed, state.motion))


@dataclass(frozen=True, slots=True, eq=False)
class LossAndGrad:
    """A frame's loss, and dL/d(motion) [16]."""

    loss: float
    grads: Float64Array


@dataclass(frozen=True, slots=True, eq=False)
class MotionObjective:
    """Loss of frames as a function of their motion."""

    set_change: Callable[[Float64Array], None]  # of every frame's motion [F, 16], from that of the landmarks
    evaluate: Callable[[int], LossAndGrad]  # of a frame, with the change that was set
    residuals: float  # of a frame, independent ones


def refine_motion(
    change: Float64Array,
    objective: MotionObjective,
    frame_indices: Int64Array,
    anchor: float,
    iterations: int,
) -> Float64Array:
    """Return the change [F, 16] of the motion of frames that minimizes their loss; that of others stays.

    Args:
        change: [F, 16] from the landmarks' motion, to begin with.
        objective: is left at a change near to the result.
        frame_indices: rising.
        anchor: standard deviation of the landmarks' error, in a mode.
        iterations: over the frames; a step that does not lower a frame's objective is taken back.
    """
    best, refined = change.copy(), np.ix_(frame_indices, REFINED_CHANNELS)
    curvature = _curvature(best, objective, frame_indices)
    losses, grads = _losses_and_grads(objective, frame_indices)
    damping = np.full(len(frame_indices), DAMPING)
    for _ in range(iterations):
        precision = objective.residuals / losses
        trial = best.copy()
        trial[refined] += _steps(curvature, grads, best[refined], precision, damping, anchor)
        objective.set_change(trial)
        trial_losses, trial_grads = _losses_and_grads(objective, frame_indices)
        gained = objective.residuals * (np.log(losses) - np.log(trial_losses))
        anchor_cost = (trial[refined] ** 2).sum(axis=1) - (best[refined] ** 2).sum(axis=1)
        better = gained > anchor_cost / anchor**2 / 2
        best[frame_indices[better]] = trial[frame_indices[better]]
        losses[better], grads[better] = trial_losses[better], trial_grads[better]
        damping[:] = np.where(better, np.maximum(damping / 2, DAMPING), 5 * damping)
    return best


def extrapolate_correction(tracked: Float32Array, change: Float64Array, others: Float32Array) -> Float64Array:
    """Return the change [m, 16] of frames not rendered: the part common to all, by ridge regression.

    Args:
        tracked: [n, 16] motion of the rendered frames, by their landmarks.
        change: [n, 16] of it.
        others: [m, 16] motion of the others. Errors that differ from frame to frame stay with them.
    """
    mean, mean_change = tracked.mean(axis=0, dtype=np.float64), change.mean(axis=0)
    centered = tracked - mean
    inner = centered.T @ centered + _RIDGE * len(tracked) * np.eye(centered.shape[1])
    weights = np.linalg.solve(inner, centered.T @ (change - mean_change))
    result: Float64Array = mean_change + (others - mean) @ weights
    return result


def _losses_and_grads(
    objective: MotionObjective, frame_indices: Int64Array
) -> tuple[Float64Array, Float64Array]:
    """Return losses [n] and gradients [n, refined channels]; a frame that is not finite has gradient 0."""
    losses, grads = np.ones(len(frame_indices)), np.zeros((len(frame_indices), len(REFINED_CHANNELS)))
    for i, frame_index in enumerate(frame_indices.tolist()):
        result = objective.evaluate(frame_index)
        if np.isfinite(result.loss) and np.isfinite(result.grads).all():
            losses[i], grads[i] = max(result.loss, 1e-6), result.grads[REFINED_CHANNELS]
    return losses, grads


def _steps(
    curvature: Float64Array,
    grads: Float64Array,
    deviation: Float64Array,
    precision: Float64Array,
    damping: Float64Array,
    anchor: float,
) -> Float64Array:
    """Return the step of each frame [n, m]."""
    diagonal = np.diag(np.diag(curvature))
    damped = precision[:, None, None] * (curvature + damping[:, None, None] * diagonal)
    hessian = damped + np.eye(len(curvature)) / anchor**2
    gradient = precision[:, None] * grads + deviation / anchor**2
    return np.asarray(np.linalg.solve(hessian, -gradient[:, :, None])[:, :, 0], np.float64)


def _curvature(change: Float64Array, objective: MotionObjective, frame_indices: Int64Array) -> Float64Array:
    """Return the mean second derivative [m, m] of the loss at a few frames, from differences; positive.

    The objective is left at `change`.
    """
    selected = subsample_interior(frame_indices, _CURVATURE_FRAMES)
    total = np.empty((len(REFINED_CHANNELS), len(REFINED_CHANNELS)))
    for k, channel in enumerate(REFINED_CHANNELS.tolist()):
        ends = []
        for sign in (1, -1):
            perturbed = change.copy()
            perturbed[:, channel] += sign * _CURVATURE_STEP
            objective.set_change(perturbed)
            ends.append(_losses_and_grads(objective, selected)[1].mean(axis=0))
        total[k] = (ends[0] - ends[1]) / (2 * _CURVATURE_STEP)
    objective.set_change(change)
    return nearest_psd(total)


def refinement_metrics(
    poses: PoseTrack,
    poses_before: Float64Array,
    camera_before: Camera,
    frame_indices: Int64Array,
    psnr_db: Callable[[], float],
) -> dict[str, float]:
    """Return plain metrics of a round for the report.

    Args:
        poses: after the round.
        poses_before: [2, F, 4, 4] before it.
        camera_before: before it.
        frame_indices: frames with known poses.
        psnr_db: of held-out frames with the poses as they are when it is called.

    Rotation, translation and px are of the head from where it was tracked.
    """
    T, intrinsics = poses.T, poses.intrinsics
    psnr_after_db = psnr_db()
    change = twist_between(poses.tracked[:, frame_indices], poses.T[:, frame_indices])[:, 6:]
    tracked_px = _face_points_px(poses.tracked[1, frame_indices], camera_before)
    refined_px = _face_points_px(poses.T[1, frame_indices], poses.camera)
    poses.T = poses_before
    psnr_before_db = psnr_db()
    poses.T, poses.intrinsics = T, intrinsics
    metrics = {
        "psnr_before_db": psnr_before_db,
        "psnr_after_db": psnr_after_db,
        "turned_deg": float(np.degrees(_rms(change[:, :3]))),
        "shifted_mm": float(1000 * _rms(change[:, 3:])),
        "moved_px": _rms((refined_px - tracked_px).reshape(-1, 2)),
        "jitter_before_px": jitter_px(poses.time_s[frame_indices], tracked_px),
        "jitter_after_px": jitter_px(poses.time_s[frame_indices], refined_px),
        "focal_share": float(np.exp(poses.intrinsics[0])),
    }
    return {name: round(value, 4) for name, value in metrics.items()}


def pose_curves(poses: PoseTrack, frame_indices: Int64Array) -> dict[str, list[float]]:
    """Return the change of the head's pose by refinement over time: degrees, mm and "time_s", by name."""
    change = poses.changes(frame_indices)[:, 6:]
    series = {
        "time_s": poses.time_s[frame_indices],
        **{f"{name}, °": np.degrees(change[:, i]) for i, name in enumerate(("pitch", "yaw", "roll"))},
        **{f"{name}, mm": 1000 * change[:, 3 + i] for i, name in enumerate(("right", "down", "away"))},
    }
    return {name: np.round(values, 4).tolist() for name, values in series.items()}


def jitter_px(time_s: Float64Array, points_px: Float64Array) -> float:
    """Return the root mean square of the noise of points [n, P, 2] px from frame to frame.

    Second differences over sqrt 6: the standard deviation of white noise, were there no movement. 0 where
    no three frames are close together.
    """
    if len(time_s) < 3:
        return 0.0
    close = np.maximum(np.diff(time_s)[1:], np.diff(time_s)[:-1]) < _MAX_FRAME_GAP_S
    second_differences = (points_px[2:] - 2 * points_px[1:-1] + points_px[:-2])[close]
    return _rms(second_differences.reshape(-1, 2)) / np.sqrt(6) if len(second_differences) else 0.0


def _face_points_px(T_world_head: Float64Array, camera: Camera) -> Float64Array:
    """Return the image positions [n, P, 2] of points of the face."""
    world = np.einsum("nij,pj->npi", T_world_head[:, :3, :3], _FACE_POINTS_M) + T_world_head[:, None, :3, 3]
    in_camera = world @ camera.T_camera_world[:3, :3].T + camera.T_camera_world[:3, 3]
    focal, center = (camera.fx, camera.fy), (camera.cx, camera.cy)
    result: Float64Array = in_camera[..., :2] / in_camera[..., 2:] * focal + center
    return result


def _rms(vectors: Float64Array) -> float:
    """Return the root mean square of the lengths of vectors [n, D]."""
    return float(np.sqrt((vectors**2).sum(axis=-1).mean()))
