"""What mouth and brows do in each picture, as the picture itself says it; Gaussians and poses stay.

Landmarks err by a few percent of a mode, picture by picture, so motion follows the renderer's gradient as
poses do, held by what landmarks said. (IMavatar, Zheng et al. 2022, and PointAvatar, Zheng et al. 2023, train
expressions so.) Held loosely, modes take up what is no motion at all, and hearing cannot foretell them.

One step of Gauss-Newton for each picture on n log L(x) + |x - landmarks|^2 / (2 anchor^2), with a picture's
loss as the likelihood of n independent residuals (see pose_solve.py) and one curvature for all pictures.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from splatface.models.head.head import MOTION_SIZE
from splatface.models.training.optimization.dataset_statistics import subsample_interior
from splatface.models.training.optimization.pose_refinement import DAMPING, nearest_psd
from splatface.models.training.tracking.face_model import EYE_CHANNELS
from splatface.models.typing import Float32Array, Float64Array, Int64Array

__all__ = ["REFINED_CHANNELS", "LossAndGrad", "MotionObjective", "extrapolate_correction", "refine_motion"]


REFINED_CHANNELS = np.setdiff1d(np.arange(MOTION_SIZE), EYE_CHANNELS)
_PROBED = 8  # pictures whose curvature is measured
_STEP = 0.02  # of the measuring
_RIDGE = 1e-3  # in a mode's own square


@dataclass(frozen=True, slots=True, eq=False)
class LossAndGrad:
    """A picture's loss, and dL/d(motion) [16]."""

    loss: float
    grads: Float64Array


@dataclass(frozen=True, slots=True, eq=False)
class MotionObjective:
    """A face that can be told what to do, and be looked at."""

    perform: Callable[
        [Float64Array], None
    ]  # change [F, 16] of every row's motion from what the landmarks say
    feel: Callable[[int], LossAndGrad]  # a row, performing this
    residuals: float  # of a picture, independent ones


def refine_motion(
    change: Float64Array, mirror: MotionObjective, rows: Int64Array, anchor: float, sweeps: int
) -> Float64Array:
    """The change [F, 16] of the motion of `rows` that their pictures ask for; the others' stays.

    Args:
        change: [F, 16] from what landmarks say, to begin with.
        mirror: is left performing something near to what is found.
        rows: rising.
        anchor: standard deviation of what landmarks are off by, in a mode.
        sweeps: looks at each picture; a step that does not let it be hit better is taken back.
    """
    best, place = change.copy(), np.ix_(rows, REFINED_CHANNELS)
    curvature = _curvature(best, mirror, rows)
    losses, grads = _feel(mirror, rows)
    damping = np.full(len(rows), DAMPING)
    for _ in range(sweeps):
        sure = mirror.residuals / losses
        trial = best.copy()
        trial[place] += _steps(curvature, grads, best[place], sure, damping, anchor)
        mirror.perform(trial)
        then, trial_grads = _feel(mirror, rows)
        gained = mirror.residuals * (np.log(losses) - np.log(then))
        better = gained > ((trial[place] ** 2).sum(axis=1) - (best[place] ** 2).sum(axis=1)) / anchor**2 / 2
        best[rows[better]] = trial[rows[better]]
        losses[better], grads[better] = then[better], trial_grads[better]
        damping[:] = np.where(better, np.maximum(damping / 2, DAMPING), 5 * damping)
    return best


def extrapolate_correction(told: Float32Array, change: Float64Array, others: Float32Array) -> Float64Array:
    """The change [m, 16] of pictures that nobody looked at: what is the same for all, by ridge regression.

    Args:
        told: [n, 16] motion of the pictures looked at, by their landmarks.
        change: [n, 16] of it, found.
        others: [m, 16] motion of the others. What errs from picture to picture stays with them.
    """
    mean, middle = told.mean(axis=0, dtype=np.float64), change.mean(axis=0)
    off = told - mean
    inner = off.T @ off + _RIDGE * len(told) * np.eye(off.shape[1])
    found: Float64Array = middle + (others - mean) @ np.linalg.solve(inner, off.T @ (change - middle))
    return found


def _feel(mirror: MotionObjective, rows: Int64Array) -> tuple[Float64Array, Float64Array]:
    """Losses [n] and slopes [n, FOLLOWING]; a picture that cannot be looked at pulls nowhere."""
    losses, grads = np.ones(len(rows)), np.zeros((len(rows), len(REFINED_CHANNELS)))
    for i, row in enumerate(rows.tolist()):
        felt = mirror.feel(row)
        if np.isfinite(felt.loss) and np.isfinite(felt.grads).all():
            losses[i], grads[i] = max(felt.loss, 1e-6), felt.grads[REFINED_CHANNELS]
    return losses, grads


def _steps(
    curvature: Float64Array,
    grads: Float64Array,
    away: Float64Array,
    sure: Float64Array,
    damping: Float64Array,
    anchor: float,
) -> Float64Array:
    """Where each picture [n, m] should go."""
    diagonal = np.diag(np.diag(curvature))
    bent = sure[:, None, None] * (curvature + damping[:, None, None] * diagonal)
    held = bent + np.eye(len(curvature)) / anchor**2
    pull = sure[:, None] * grads + away / anchor**2
    return np.asarray(np.linalg.solve(held, -pull[:, :, None])[:, :, 0], np.float64)


def _curvature(change: Float64Array, mirror: MotionObjective, rows: Int64Array) -> Float64Array:
    """Mean second derivative [m, m] of the loss at a few rows, from differences of slopes; positive.

    The mirror is left performing `change`.
    """
    picked = subsample_interior(rows, _PROBED)
    total = np.empty((len(REFINED_CHANNELS), len(REFINED_CHANNELS)))
    for k, column in enumerate(REFINED_CHANNELS.tolist()):
        ends = []
        for sign in (1, -1):
            off = change.copy()
            off[:, column] += sign * _STEP
            mirror.perform(off)
            ends.append(_feel(mirror, picked)[1].mean(axis=0))
        total[k] = (ends[0] - ends[1]) / (2 * _STEP)
    mirror.perform(change)
    return nearest_psd(total)
