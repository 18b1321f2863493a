# SPDX-License-Identifier: Apache-2.0
"""Refinement of poses and intrinsics through the renderer, with all Gaussians fixed.

A round makes a few steps of Gauss-Newton over all frames at once on
  sum_i n log L_i(x_i, k) + |x_i - tracked|^2 / anchor^2 + |acceleration|^2 / inertia^2 + |k|^2 / intrinsics^2
with each frame's loss L as the likelihood of n independent residuals (Laplace: n log L), and one curvature
for all frames. A frame that determines little of a direction leaves it to its neighbors and to tracking.

Validation and test frames get their poses the same way, after the training frames: their colors are never
learned from, and they change neither the intrinsics nor the poses of training frames.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sparse
import torch
from scipy.sparse.linalg import spsolve
from scipy.spatial.transform import Rotation

from splatface.models.camera import Camera
from splatface.models.training.dataset.types import TRAIN, Dataset
from splatface.models.training.optimization.dataset_statistics import (
    subsample_evenly,
    subsample_interior,
    subsample_with_stride,
)
from splatface.models.training.optimization.gaussian_skinning import (
    LOG_SCALES,
    apply_small_twist,
    pack_bone_poses,
    skin_gaussians,
)
from splatface.models.training.optimization.image_loss import ImageTarget
from splatface.models.training.optimization.render_loss import (
    DeformedGaussians,
    Gradients,
    RenderLoss,
    TorchRenderLoss,
)
from splatface.models.training.optimization.train_config import RefineConfig
from splatface.models.typing import BoolArray, Float32Array, Float64Array, Int64Array, UInt8Array

__all__ = [
    "DAMPING",
    "INTRINSICS_DOF",
    "POSE_DOF",
    "PoseGradient",
    "PosePriors",
    "PoseProblem",
    "PoseRefinementProblem",
    "PoseTrack",
    "apply_twist",
    "effective_residual_count",
    "gauss_newton_step",
    "loss_and_pose_grad",
    "nearest_psd",
    "refine_round",
    "twist_between",
]

# Per frame: rotation vector about the world's origin (rad), translation (m); of torso and head.
POSE_DOF = 12
# Log of the change of focal lengths and camera distance together (a dolly zoom: the size in the image stays,
# since size alone can as well be learned by the Gaussians), and the change of the principal point in px.
INTRINSICS_DOF = 3
DAMPING = 0.2  # Levenberg and Marquardt: fraction of the curvature's diagonal

_PX_PER_RESIDUAL = 150.0  # errors of neighboring pixels are correlated
_MIN_EIGENVALUE = 1e-3  # of a curvature, fraction of the mean
_CURVATURE_FRAMES = 4
_CURVATURE_STEPS = np.array([4e-3, 4e-3, 4e-3, 1e-3, 1e-3, 4e-3] * 2 + [1e-2, 0.5, 0.5])
_EVALUATED_FRAMES = 24
_MAX_TWIST = np.array([0.02, 0.02, 0.02, 4e-3, 4e-3, 0.02] * 2)  # in one iteration


class PoseTrack:
    """Tracked and refined poses of torso and head in all frames [2, F, 4, 4], torso first, and intrinsics."""

    def __init__(self, dataset: Dataset) -> None:
        frames = dataset.frames
        self.time_s: Float64Array = frames.time_ns / 1e9
        self.tracked = np.stack([frames.T_world_torso, frames.T_world_head]).astype(np.float64)
        self.T: Float64Array = self.tracked.copy()
        self.intrinsics: Float64Array = np.zeros(INTRINSICS_DOF)
        self.rounds: list[dict[str, float]] = []  # metrics of each refinement round
        self._camera = dataset.camera

    @property
    def camera(self) -> Camera:
        """Return the data set's camera with refined intrinsics."""
        return self.with_intrinsics(self.intrinsics)

    def with_intrinsics(self, intrinsics: Float64Array) -> Camera:
        """Return the data set's camera with changed intrinsics [INTRINSICS_DOF]."""
        tracked, zoom = self._camera, float(np.exp(intrinsics[0]))
        cx, cy = tracked.cx + float(intrinsics[1]), tracked.cy + float(intrinsics[2])
        T = tracked.T_camera_world.copy()
        T[2, 3] *= zoom
        return replace(tracked, fx=tracked.fx * zoom, fy=tracked.fy * zoom, cx=cx, cy=cy, T_camera_world=T)

    def at(self, frame_index: int) -> Float64Array:
        """Return the refined bones of a frame [2, POSE]; see `pack_bone_poses`."""
        return pack_bone_poses(self.T[1, frame_index], self.T[0, frame_index])

    def changes(self, frame_indices: Int64Array) -> Float64Array:
        """Return the twists [n, POSE_DOF] from tracked to refined poses of frames [n]."""
        return twist_between(self.tracked[:, frame_indices], self.T[:, frame_indices])


def twist_between(before: Float64Array, after: Float64Array) -> Float64Array:
    """Return the twists [n, POSE_DOF] from poses [2, n, 4, 4] to others; the inverse of `apply_twist`."""
    change = after @ np.linalg.inv(before)
    rotations = [Rotation.from_matrix(bone[:, :3, :3]).as_rotvec() for bone in change]
    return np.concatenate([rotations[0], change[0, :, :3, 3], rotations[1], change[1, :, :3, 3]], axis=1)


def apply_twist(T: Float64Array, twists: Float64Array) -> Float64Array:
    """Return poses [2, n, 4, 4] rotated about the world's origin, then translated by twists [n, POSE_DOF]."""
    change = np.tile(np.eye(4), (2, len(twists), 1, 1))
    for bone in (0, 1):
        twist = twists[:, 6 * bone : 6 * bone + 6]
        change[bone, :, :3, :3] = Rotation.from_rotvec(twist[:, :3]).as_matrix()
        change[bone, :, :3, 3] = twist[:, 3:]
    result: Float64Array = change @ T
    return result


@dataclass(frozen=True, slots=True, eq=False)
class PoseRefinementProblem:
    """Inputs of a refinement; nothing in it changes but the camera of `render_loss`."""

    render_loss: RenderLoss | TorchRenderLoss
    deformed: Callable[[int], DeformedGaussians]  # of a frame
    target: Callable[[int], ImageTarget]
    split: UInt8Array  # [F]
    known: Int64Array  # frames with known poses, rising

    def gradient(self, pose: Float64Array, frame_index: int) -> "PoseGradient":
        """Return loss and gradient of a frame in a pose [2, POSE]."""
        return loss_and_pose_grad(
            self.render_loss, self.deformed(frame_index), pose, self.target(frame_index)
        )


@dataclass(frozen=True, slots=True, eq=False)
class _FrameGradients:
    """Losses and gradients of n frames at the current poses."""

    losses: Float64Array  # [n]
    grads: Float64Array  # [n, POSE_DOF + INTRINSICS_DOF]

    def select(self, mask: BoolArray) -> "_FrameGradients":
        return _FrameGradients(self.losses[mask], self.grads[mask])

    def mean_loss(self, mask: BoolArray) -> float:
        return float(self.losses[mask].mean())


def refine_round(
    poses: PoseTrack,
    problem: PoseRefinementProblem,
    config: RefineConfig,
    *,
    validation_only: bool = False,
) -> bool:
    """Move the poses of known frames, and the intrinsics; return whether the loss is lower than before.

    Where it is not, everything stays as it was. `validation_only`: only frames not trained on move.
    """
    frame_indices = subsample_with_stride(problem.known, config.max_frames)
    trained = problem.split[frame_indices] == TRAIN
    moving = ~trained if validation_only else np.ones(len(frame_indices), np.bool_)
    if not moving.any():
        return False
    evaluated = _evaluated(moving)
    start = poses.T.copy(), poses.intrinsics.copy()
    curvature = _curvature(poses, problem, config, frame_indices[trained] if trained.any() else frame_indices)
    first = best = _frame_gradients(poses, problem, frame_indices, moving)
    best_poses, damping = start, DAMPING
    for iteration in range(config.iterations):
        if not validation_only and trained.any():
            _step(poses, problem, config, frame_indices[trained], best.select(trained), curvature, damping)
        if not trained.all():
            _step(poses, problem, config, frame_indices, best, curvature, damping, free=~trained)
        compared = evaluated if iteration == config.iterations - 1 else moving
        current = _frame_gradients(poses, problem, frame_indices, compared)
        if current.mean_loss(compared) < best.mean_loss(compared):
            best, best_poses = current, (poses.T.copy(), poses.intrinsics.copy())
            damping = max(damping / 2, DAMPING)
        else:
            # Levenberg and Marquardt: near the optimum an absolute error curves more than measured.
            poses.T, poses.intrinsics, damping = best_poses[0].copy(), best_poses[1].copy(), 5 * damping
            problem.render_loss.camera = poses.camera
    if not validation_only and trained.any():
        _remove_mean_change(poses, frame_indices, trained)
    _interpolate_others(poses, problem, frame_indices, validation_only)
    last = _frame_gradients(poses, problem, frame_indices, evaluated)
    better = last.mean_loss(evaluated) < first.mean_loss(evaluated)
    if not better:
        poses.T, poses.intrinsics = start
        problem.render_loss.camera = poses.camera
    return better


def _evaluated(moving: BoolArray) -> BoolArray:
    """Return a few of the frames that move, evenly spread."""
    few = np.zeros(len(moving), np.bool_)
    few[subsample_evenly(np.flatnonzero(moving), _EVALUATED_FRAMES)] = True
    return few


def _frame_gradients(
    poses: PoseTrack, problem: PoseRefinementProblem, frame_indices: Int64Array, selected: BoolArray
) -> _FrameGradients:
    """Return losses and gradients of selected frames; a frame that is not finite has gradient 0."""
    losses = np.ones(len(frame_indices))
    grads = np.zeros((len(frame_indices), POSE_DOF + INTRINSICS_DOF))
    for i in np.flatnonzero(selected):
        frame_index = int(frame_indices[i])
        gradient = problem.gradient(poses.at(frame_index), frame_index)
        if gradient.finite:
            losses[i], grads[i] = gradient.loss, gradient.grads
    return _FrameGradients(losses, grads)


def _step(
    poses: PoseTrack,
    problem: PoseRefinementProblem,
    config: RefineConfig,
    frame_indices: Int64Array,
    gradients: _FrameGradients,
    curvature: Float64Array,
    damping: float,
    free: BoolArray | None = None,
) -> None:
    """Move the `free` ones of frames [n] (all when left out) by one step of Gauss-Newton."""
    free = np.ones(len(frame_indices), np.bool_) if free is None else free
    pose_problem = PoseProblem(
        time_s=poses.time_s[frame_indices],
        T=poses.T[:, frame_indices],
        deviation=poses.changes(frame_indices),
        intrinsics=poses.intrinsics,
        free=free,
        losses=gradients.losses,
        grads=gradients.grads,
        residuals=effective_residual_count(problem.render_loss.camera),
        damping=damping,
    )
    trained = bool((problem.split[frame_indices[free]] == TRAIN).all())
    twists, intrinsics = gauss_newton_step(pose_problem, curvature, _priors(config, trained))
    twists = np.clip(twists, -_MAX_TWIST, _MAX_TWIST)
    poses.T[:, frame_indices] = apply_twist(poses.T[:, frame_indices], twists)
    poses.intrinsics = poses.intrinsics + intrinsics
    problem.render_loss.camera = poses.camera


def _remove_mean_change(poses: PoseTrack, frame_indices: Int64Array, trained: BoolArray) -> None:
    """Remove the change common to all frames, which is the Gaussians' part: poses must not drift with it."""
    mean = poses.changes(frame_indices[trained]).mean(axis=0)
    twists = np.tile(-mean, (len(frame_indices), 1))
    poses.T[:, frame_indices] = apply_twist(poses.T[:, frame_indices], twists)


def _interpolate_others(
    poses: PoseTrack, problem: PoseRefinementProblem, frame_indices: Int64Array, validation_only: bool
) -> None:
    """Interpolate the changes of known frames between those that were rendered."""
    others = np.setdiff1d(problem.known, frame_indices)
    others = others[problem.split[others] != TRAIN] if validation_only else others
    if len(others):
        changes, time_s = poses.changes(frame_indices), poses.time_s
        twists = np.stack(
            [np.interp(time_s[others], time_s[frame_indices], change) for change in changes.T], axis=1
        )
        poses.T[:, others] = apply_twist(poses.tracked[:, others], twists)


def _priors(config: RefineConfig, trained: bool) -> "PosePriors":
    rotation, translation = np.radians(config.rotation_sigma_deg), config.translation_sigma_m
    angular, linear = config.angular_accel_sigma, config.linear_accel_sigma
    # The torso moves least, and has the plainer image.
    anchor = np.repeat([rotation / 2, translation, rotation, translation], 3)
    inertia = np.repeat([angular / 2, linear, angular, linear], 3)
    intrinsics = np.array([config.focal_sigma, config.center_sigma_px, config.center_sigma_px])
    return PosePriors(anchor, inertia, intrinsics if trained else np.zeros(INTRINSICS_DOF))


def _curvature(
    poses: PoseTrack, problem: PoseRefinementProblem, config: RefineConfig, frame_indices: Int64Array
) -> Float64Array:
    """Return the mean second derivative of the loss at a few frames, from differences; positive."""
    selected = subsample_interior(frame_indices, _CURVATURE_FRAMES)
    dof = POSE_DOF + (INTRINSICS_DOF if config.focal_sigma or config.center_sigma_px else 0)
    total = np.zeros((POSE_DOF + INTRINSICS_DOF, POSE_DOF + INTRINSICS_DOF))
    for frame_index in selected.tolist():
        for k, size in enumerate(_CURVATURE_STEPS[:dof]):
            ends = [_perturbed(poses, problem, frame_index, k, sign * size).grads for sign in (1, -1)]
            total[k] += (ends[0] - ends[1]) / (2 * size)
    scale = np.outer(_CURVATURE_STEPS, _CURVATURE_STEPS)
    result: Float64Array = nearest_psd(total * scale / len(selected)) / scale
    return result


def _perturbed(
    poses: PoseTrack, problem: PoseRefinementProblem, frame_index: int, parameter: int, size: float
) -> "PoseGradient":
    """Return the gradient of a frame with one parameter changed by `size`."""
    change = np.zeros(POSE_DOF + INTRINSICS_DOF)
    change[parameter] = size
    T = apply_twist(poses.T[:, frame_index : frame_index + 1], change[None, :POSE_DOF])
    problem.render_loss.camera = poses.with_intrinsics(poses.intrinsics + change[POSE_DOF:])
    gradient = problem.gradient(pack_bone_poses(T[1, 0], T[0, 0]), frame_index)
    problem.render_loss.camera = poses.camera
    return gradient


def effective_residual_count(camera: Camera) -> float:
    """Return the number of independent residuals of a frame."""
    return camera.width * camera.height / _PX_PER_RESIDUAL


def nearest_psd(curvature: Float64Array) -> Float64Array:
    """Return the nearest symmetric positive definite matrix to a measured curvature [m, m]."""
    values, vectors = np.linalg.eigh((curvature + curvature.T) / 2)
    values = np.maximum(values, _MIN_EIGENVALUE * max(float(values.mean()), 1e-12))
    result: Float64Array = (vectors * values) @ vectors.T
    return result


@dataclass(frozen=True, slots=True, eq=False)
class PosePriors:
    """Standard deviations expected before any frame is rendered."""

    anchor: Float64Array  # [POSE_DOF] rad and m, between tracking and truth
    inertia: Float64Array  # [POSE_DOF] rad/s^2 and m/s^2
    intrinsics: Float64Array  # [INTRINSICS_DOF]; 0 keeps a value


@dataclass(frozen=True, slots=True, eq=False)
class PoseProblem:
    """Inputs of a Gauss-Newton step: n frames, rising in time."""

    time_s: Float64Array  # [n]
    T: Float64Array  # [2, n, 4, 4] current
    deviation: Float64Array  # [n, POSE_DOF] current, from tracking
    intrinsics: Float64Array  # [INTRINSICS_DOF] current
    free: BoolArray  # [n] frames that may move
    losses: Float64Array  # [n]
    grads: Float64Array  # [n, POSE_DOF + INTRINSICS_DOF]
    residuals: float  # of a frame, independent ones
    damping: float = DAMPING


def gauss_newton_step(
    problem: PoseProblem, curvature: Float64Array, priors: PosePriors
) -> tuple[Float64Array, Float64Array]:
    """Return twists [n, POSE_DOF] (0 where not free) and the change of intrinsics [INTRINSICS_DOF].

    `curvature` [POSE_DOF + INTRINSICS_DOF] squared, positive, is the second derivative of a frame's loss.
    """
    free = np.flatnonzero(problem.free)
    shared = np.flatnonzero(priors.intrinsics > 0) + POSE_DOF
    precision = problem.residuals / np.maximum(problem.losses[free], 1e-6)
    damped = curvature + problem.damping * np.diag(np.diag(curvature))
    operator, acceleration = _accelerations(problem)
    anchor_weight, inertia_weight = 1 / priors.anchor**2, 1 / priors.inertia**2
    operator = operator[:, free]
    hessian = sparse.kron(sparse.diags(precision), damped[:POSE_DOF, :POSE_DOF])
    hessian = hessian + sparse.kron(sparse.eye(len(free)), np.diag(anchor_weight))
    hessian = hessian + sparse.kron(operator.T @ operator, np.diag(inertia_weight))
    gradient = precision[:, None] * problem.grads[free, :POSE_DOF] + anchor_weight * problem.deviation[free]
    gradient += operator.T @ (acceleration * inertia_weight)
    if len(shared):
        prior_weight = 1 / priors.intrinsics[shared - POSE_DOF] ** 2
        border = sparse.kron(precision[:, None], damped[:POSE_DOF, shared])
        corner = precision.sum() * damped[np.ix_(shared, shared)] + np.diag(prior_weight)
        hessian = sparse.bmat([[hessian, border], [border.T, sparse.csr_matrix(corner)]])
        shared_gradient = precision @ problem.grads[np.ix_(free, shared)]
        shared_gradient = shared_gradient + prior_weight * problem.intrinsics[shared - POSE_DOF]
        step = spsolve(hessian.tocsc(), -np.concatenate([gradient.ravel(), shared_gradient]))
    else:
        step = spsolve(hessian.tocsc(), -gradient.ravel())
    twists, change = np.zeros((len(problem.time_s), POSE_DOF)), np.zeros(INTRINSICS_DOF)
    twists[free] = step[: gradient.size].reshape(-1, POSE_DOF)
    change[shared - POSE_DOF] = step[gradient.size :]
    return twists, change


def _accelerations(problem: PoseProblem) -> tuple[sparse.csr_matrix, Float64Array]:
    """Return the operator [n - 2, n] from twists to accelerations, and the current ones [n - 2, POSE_DOF]."""
    count = len(problem.time_s)
    if count < 3:
        return sparse.csr_matrix((0, count)), np.zeros((0, POSE_DOF))
    gaps = np.diff(problem.time_s)
    middle = (gaps[1:] + gaps[:-1]) / 2
    before, after = 1 / (gaps[:-1] * middle), 1 / (gaps[1:] * middle)
    operator = sparse.diags([before, -before - after, after], [0, 1, 2], shape=(count - 2, count))
    speeds = np.empty((count - 1, POSE_DOF))
    for bone in (0, 1):
        rotations = Rotation.from_matrix(problem.T[bone, :, :3, :3])
        speeds[:, 6 * bone : 6 * bone + 3] = (rotations[1:] * rotations[:-1].inv()).as_rotvec() / gaps[
            :, None
        ]
        speeds[:, 6 * bone + 3 : 6 * bone + 6] = np.diff(problem.T[bone, :, :3, 3], axis=0) / gaps[:, None]
    return sparse.csr_matrix(operator), np.diff(speeds, axis=0) / middle[:, None]


@dataclass(frozen=True, slots=True, eq=False)
class PoseGradient:
    """A frame's loss, and its gradient with respect to pose and intrinsics."""

    loss: float
    grads: Float64Array  # [POSE_DOF + INTRINSICS_DOF]

    @property
    def finite(self) -> bool:
        """Return whether loss and gradient are finite."""
        return bool(np.isfinite(self.loss) and np.isfinite(self.grads).all())


def loss_and_pose_grad(
    render_loss: RenderLoss | TorchRenderLoss,
    deformed: DeformedGaussians,
    pose: Float64Array,
    target: ImageTarget,
) -> PoseGradient:
    """Return the loss of a frame in a pose [2, POSE], and its gradient at twist 0 and at the camera used.

    Mouth and eyes count as they do in training: poses fitted without them lost 1.1 dB in the mouth, whose
    motion was tracked together with the pose.
    """
    grads = render_loss.loss_and_grads(deformed, pose, target)
    twist = torch.zeros(2, 6, dtype=torch.float64, requires_grad=True)
    pose_grad = torch.from_numpy(grads.pose.astype(np.float64))
    (apply_small_twist(torch.from_numpy(pose), twist) * pose_grad).sum().backward()
    assert twist.grad is not None
    result = np.empty(POSE_DOF + INTRINSICS_DOF)
    result[:POSE_DOF] = twist.grad.numpy().ravel()
    skinned = skin_gaussians(deformed.table, deformed.indices, deformed.deltas, pose, render_loss.workers)
    result[POSE_DOF:] = _intrinsics_grad(grads, skinned.splats.means, render_loss.camera)
    # A camera farther away is a person farther away.
    translation_grad = result[3:6] + result[9:12]
    T = render_loss.camera.T_camera_world
    result[POSE_DOF] += T[2, 3] * (T[2, :3] @ translation_grad)
    return PoseGradient(grads.loss, result)


def _intrinsics_grad(grads: Gradients, means: Float32Array, camera: Camera) -> Float64Array:
    """Return dL/d(intrinsics): a longer focal length moves centers outwards and enlarges ellipses."""
    in_camera = means @ camera.T_camera_world[:3, :3].T + camera.T_camera_world[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        from_center = in_camera[:, :2] / in_camera[:, 2:] * (camera.fx, camera.fy)
    means2d_grad = grads.means2d_grad.astype(np.float64)
    by_position = np.where(means2d_grad != 0, means2d_grad * from_center, 0.0).sum()
    by_size = grads.table[:, LOG_SCALES].sum(dtype=np.float64)
    return np.array([by_position + by_size, *means2d_grad.sum(axis=0)])
