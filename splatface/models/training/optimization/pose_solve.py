"""Where all poses of a film and its lens should go at once: what pictures say, what tracking said, inertia.

One step of Gauss-Newton on
  sum_i n log L_i(x_i, l) + |x_i - tracked|^2 / anchor^2 + |acceleration|^2 / inertia^2 + |l|^2 / lens^2
with each picture's loss as the likelihood of n independent residuals (Laplace: n log L), and one curvature
for all pictures. A picture that says little of a direction leaves it to its neighbors and to tracking.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray
from scipy.sparse.linalg import spsolve
from scipy.spatial.transform import Rotation

from splatface.models.training.optimization.poses import INTRINSICS_DOF, POSE_DOF
from splatface.models.typing import Float64Array

__all__ = ["PoseProblem", "Priors", "gauss_newton_step"]


@dataclass(frozen=True, slots=True, eq=False)
class Priors:
    """Standard deviations of what is expected before any picture is looked at."""

    anchor: Float64Array  # [FREEDOMS] rad and m, between tracking and truth
    inertia: Float64Array  # [FREEDOMS] rad/s^2 and m/s^2
    lens: Float64Array  # [LENS]; 0 keeps a value


@dataclass(frozen=True, slots=True, eq=False)
class PoseProblem:
    """What is known before the step: n pictures, rising in time."""

    time_s: Float64Array  # [n]
    T: Float64Array  # [2, n, 4, 4] now
    deviation: Float64Array  # [n, FREEDOMS] now, from tracking
    lens: Float64Array  # [LENS] now
    free: NDArray[np.bool_]  # [n] pictures that may move
    losses: Float64Array  # [n]
    slopes: Float64Array  # [n, FREEDOMS + LENS]
    residuals: float  # of a picture, independent ones
    damping: float = 0.2  # share of the curvature's diagonal that is added


def gauss_newton_step(
    asked: PoseProblem, curvature: Float64Array, priors: Priors
) -> tuple[Float64Array, Float64Array]:
    """Twists [n, FREEDOMS] (0 where not free) and the lens's change [LENS].

    `curvature` [FREEDOMS + LENS] squared, positive, is the second derivative of a picture's loss.
    """
    free = np.flatnonzero(asked.free)
    lens = np.flatnonzero(priors.lens > 0) + POSE_DOF
    sure = asked.residuals / np.maximum(asked.losses[free], 1e-6)
    damped = curvature + asked.damping * np.diag(np.diag(curvature))
    own, across, shared = damped[:POSE_DOF, :POSE_DOF], damped[:POSE_DOF, lens], damped[np.ix_(lens, lens)]
    seconds, bends = _accelerations(asked)
    kept, still = 1 / priors.anchor**2, 1 / priors.inertia**2
    among = seconds[:, free]
    poses = sparse.kron(sparse.diags(sure), own) + sparse.kron(sparse.eye(len(free)), np.diag(kept))
    poses = poses + sparse.kron(among.T @ among, np.diag(still))
    pull = sure[:, None] * asked.slopes[free, :POSE_DOF] + kept * asked.deviation[free]
    pull += among.T @ (bends * still)
    if len(lens):
        held = 1 / priors.lens[lens - POSE_DOF] ** 2
        border = sparse.kron(sure[:, None], across)
        corner = sparse.csr_matrix(sure.sum() * shared + np.diag(held))
        poses = sparse.bmat([[poses, border], [border.T, corner]])
        below = sure @ asked.slopes[np.ix_(free, lens)] + held * asked.lens[lens - POSE_DOF]
        found = spsolve(poses.tocsc(), -np.concatenate([pull.ravel(), below]))
    else:
        found = spsolve(poses.tocsc(), -pull.ravel())
    twists, change = np.zeros((len(asked.time_s), POSE_DOF)), np.zeros(INTRINSICS_DOF)
    twists[free] = found[: pull.size].reshape(-1, POSE_DOF)
    change[lens - POSE_DOF] = found[pull.size :]
    return twists, change


def _accelerations(asked: PoseProblem) -> tuple[sparse.csr_matrix, Float64Array]:
    """The operator [n - 2, n] that makes accelerations of twists, and those [n - 2, FREEDOMS] there are."""
    count = len(asked.time_s)
    if count < 3:
        return sparse.csr_matrix((0, count)), np.zeros((0, POSE_DOF))
    gaps = np.diff(asked.time_s)
    middle = (gaps[1:] + gaps[:-1]) / 2
    before, after = 1 / (gaps[:-1] * middle), 1 / (gaps[1:] * middle)
    operator = sparse.diags([before, -before - after, after], [0, 1, 2], shape=(count - 2, count))
    speeds = np.empty((count - 1, POSE_DOF))
    for bone in (0, 1):
        turns = Rotation.from_matrix(asked.T[bone, :, :3, :3])
        speeds[:, 6 * bone : 6 * bone + 3] = (turns[1:] * turns[:-1].inv()).as_rotvec() / gaps[:, None]
        speeds[:, 6 * bone + 3 : 6 * bone + 6] = np.diff(asked.T[bone, :, :3, 3], axis=0) / gaps[:, None]
    return sparse.csr_matrix(operator), np.diff(speeds, axis=0) / middle[:, None]
