"""Rounds of refinement: all pictures are looked at, the Gaussians stay, poses and lens follow the pictures.

Held-out pictures get their poses the same way, after those trained on: their colors are never learned from,
and they do not move lens or neighbors that are trained on.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatface.models.training.dataset.types import TRAIN
from splatface.models.training.optimization.config import RefineConfig
from splatface.models.training.optimization.dataset_statistics import (
    subsample_evenly,
    subsample_interior,
    subsample_with_stride,
)
from splatface.models.training.optimization.looking import DAMPING, effective_residual_count, nearest_psd
from splatface.models.training.optimization.losses import Target
from splatface.models.training.optimization.pose_look import PoseGradient, loss_and_pose_grad
from splatface.models.training.optimization.pose_solve import PoseProblem, Priors, gauss_newton_step
from splatface.models.training.optimization.poses import INTRINSICS_DOF, POSE_DOF, Poses, apply_twist
from splatface.models.training.optimization.pull import DeformedGaussians, RenderLoss
from splatface.models.training.optimization.skin import pose_rows
from splatface.models.training.optimization.torch_easel import TorchRenderLoss
from splatface.models.typing import Float64Array, Int64Array

__all__ = ["PoseRefinementProblem", "refine_round"]


_PROBED = 4  # pictures whose curvature is measured
_STEPS = np.array([4e-3, 4e-3, 4e-3, 1e-3, 1e-3, 4e-3] * 2 + [1e-2, 0.5, 0.5])  # of the measuring
_WATCHED = 24
_FARTHEST = np.array([0.02, 0.02, 0.02, 4e-3, 4e-3, 0.02] * 2)  # in one sweep


@dataclass(frozen=True, slots=True, eq=False)
class PoseRefinementProblem:
    """What refinement looks at; nothing in it changes but the easel's camera."""

    easel: RenderLoss | TorchRenderLoss
    show: Callable[[int], DeformedGaussians]  # what a row is drawn from
    target: Callable[[int], Target]
    split: NDArray[np.uint8]  # [F]
    known: Int64Array  # rows with known poses, rising


def refine_round(
    poses: Poses, scene: PoseRefinementProblem, how: RefineConfig, *, validation_only: bool = False
) -> bool:
    """Move the poses of known rows, and the lens; whether the pictures are hit better than before.

    Where they are not, everything stays as it was. `held_only`: only rows not trained on move.
    """
    rows = subsample_with_stride(scene.known, how.most)
    trained = scene.split[rows] == TRAIN
    moving = ~trained if validation_only else np.ones(len(rows), np.bool_)
    if not moving.any():
        return False
    before = poses.T.copy(), poses.lens.copy()
    curvature = _curvature(poses, scene, how, rows[trained] if trained.any() else rows)
    first = best = _looks(poses, scene, rows, moving)
    kept, damping = before, DAMPING
    for sweep in range(how.iterations):
        _steps(poses, scene, how, (rows, trained, validation_only), (best, curvature, damping))
        last = sweep == how.iterations - 1
        found = _looks(poses, scene, rows, _watched(moving) if last else moving)
        if _mean(found, moving, last) < _mean(best, moving, last):
            best, kept, damping = found, (poses.T.copy(), poses.lens.copy()), max(damping / 2, DAMPING)
        else:
            # Levenberg and Marquardt: near the optimum an absolute difference bends more than measured.
            poses.T, poses.lens, damping = kept[0].copy(), kept[1].copy(), 5 * damping
            scene.easel.camera = poses.camera
    if not validation_only and trained.any():
        _take_back_mean(poses, rows, trained)
    _fill_in(poses, scene, rows, validation_only)
    after = _looks(poses, scene, rows, _watched(moving))
    better = _mean(after, moving, True) < _mean(first, moving, True)
    if not better:
        poses.T, poses.lens = before
        scene.easel.camera = poses.camera
    return better


def _watched(moving: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A few of the rows that move, evenly spread."""
    rows = np.flatnonzero(moving)
    few = np.zeros(len(moving), np.bool_)
    few[subsample_evenly(rows, _WATCHED)] = True
    return few


def _mean(looks: tuple[Float64Array, Float64Array], moving: NDArray[np.bool_], few: bool) -> float:
    return float(looks[0][_watched(moving) if few else moving].mean())


def _steps(
    poses: Poses,
    scene: PoseRefinementProblem,
    how: RefineConfig,
    which: tuple[Int64Array, NDArray[np.bool_], bool],
    known: tuple[tuple[Float64Array, Float64Array], Float64Array, float],
) -> None:
    """Pictures trained on first, by themselves, then the others beside them."""
    rows, trained, held_only = which
    looks, curvature, damping = known
    if not held_only and trained.any():
        own = np.ones(int(trained.sum()), np.bool_)
        turn = _Step(rows[trained], own, looks[0][trained], looks[1][trained], damping)
        _step(poses, scene, how, turn, curvature)
    if not trained.all():
        _step(poses, scene, how, _Step(rows, ~trained, *looks, damping), curvature)


@dataclass(frozen=True, slots=True, eq=False)
class _Step:
    """One step of a sweep."""

    rows: Int64Array
    free: NDArray[np.bool_]  # [n]
    losses: Float64Array  # [n]
    slopes: Float64Array  # [n, FREEDOMS + LENS]
    damping: float


def _look(scene: PoseRefinementProblem, pose: Float64Array, row: int) -> PoseGradient:
    return loss_and_pose_grad(scene.easel, scene.show(row), pose, scene.target(row))


def _looks(
    poses: Poses, scene: PoseRefinementProblem, rows: Int64Array, moving: NDArray[np.bool_]
) -> tuple[Float64Array, Float64Array]:
    """Losses [n] and slopes [n, FREEDOMS + LENS]; a picture that cannot be looked at pulls nowhere."""
    losses, slopes = np.ones(len(rows)), np.zeros((len(rows), POSE_DOF + INTRINSICS_DOF))
    for i in np.flatnonzero(moving):
        found = _look(scene, poses.at(int(rows[i])), int(rows[i]))
        if found.finite:
            losses[i], slopes[i] = found.loss, found.slopes
    return losses, slopes


def _step(
    poses: Poses, scene: PoseRefinementProblem, how: RefineConfig, turn: _Step, curvature: Float64Array
) -> None:
    camera, rows = scene.easel.camera, turn.rows
    asked = PoseProblem(
        time_s=poses.time_s[rows],
        T=poses.T[:, rows],
        deviation=poses.changes(rows),
        lens=poses.lens,
        free=turn.free,
        losses=turn.losses,
        slopes=turn.slopes,
        residuals=effective_residual_count(camera),
        damping=turn.damping,
    )
    trained = bool((scene.split[rows[turn.free]] == TRAIN).all())
    twists, lens = gauss_newton_step(asked, curvature, _priors(how, trained))
    poses.T[:, rows] = apply_twist(poses.T[:, rows], np.clip(twists, -_FARTHEST, _FARTHEST))
    poses.lens = poses.lens + lens
    scene.easel.camera = poses.camera


def _take_back_mean(poses: Poses, rows: Int64Array, trained: NDArray[np.bool_]) -> None:
    """What all pictures share is the Gaussians' business: poses must not wander away with them."""
    mean = poses.changes(rows[trained]).mean(axis=0)
    poses.T[:, rows] = apply_twist(poses.T[:, rows], np.tile(-mean, (len(rows), 1)))


def _fill_in(poses: Poses, scene: PoseRefinementProblem, rows: Int64Array, held_only: bool) -> None:
    """Pictures between those looked at go along with them."""
    others = np.setdiff1d(scene.known, rows)
    others = others[scene.split[others] != TRAIN] if held_only else others
    if len(others):
        changes, at = poses.changes(rows), poses.time_s
        between = np.stack([np.interp(at[others], at[rows], change) for change in changes.T], axis=1)
        poses.T[:, others] = apply_twist(poses.tracked[:, others], between)


def _priors(how: RefineConfig, trained: bool) -> Priors:
    turn, shift = np.radians(how.rotation_sigma_deg), how.translation_sigma_m
    # What sways least is the torso, whose picture is plainer too.
    anchor = np.repeat([turn / 2, shift, turn, shift], 3)
    inertia = np.repeat(
        [how.angular_accel_sigma / 2, how.shift_m_s2, how.angular_accel_sigma, how.shift_m_s2], 3
    )
    lens = np.array([how.focal, how.center_px, how.center_px]) if trained else np.zeros(INTRINSICS_DOF)
    return Priors(anchor, inertia, lens)


def _curvature(
    poses: Poses, scene: PoseRefinementProblem, how: RefineConfig, rows: Int64Array
) -> Float64Array:
    """Mean second derivative of the loss at a few rows, from differences of slopes; positive."""
    picked = subsample_interior(rows, _PROBED)
    asked = POSE_DOF + (INTRINSICS_DOF if how.focal or how.center_px else 0)
    total = np.zeros((POSE_DOF + INTRINSICS_DOF, POSE_DOF + INTRINSICS_DOF))
    for row in picked.tolist():
        for k, size in enumerate(_STEPS[:asked]):
            ends = [_nudged(poses, scene, row, k, sign * size).slopes for sign in (1, -1)]
            total[k] += (ends[0] - ends[1]) / (2 * size)
    in_steps = np.outer(_STEPS, _STEPS)
    found: Float64Array = nearest_psd(total * in_steps / len(picked)) / in_steps
    return found


def _nudged(poses: Poses, scene: PoseRefinementProblem, row: int, freedom: int, size: float) -> PoseGradient:
    """A look at a row with one freedom a little off."""
    off = np.zeros(POSE_DOF + INTRINSICS_DOF)
    off[freedom] = size
    T = apply_twist(poses.T[:, row : row + 1], off[None, :POSE_DOF])
    scene.easel.camera = poses.with_intrinsics(poses.lens + off[POSE_DOF:])
    found = _look(scene, pose_rows(T[1, 0], T[0, 0]), row)
    scene.easel.camera = poses.camera
    return found
