"""Where a head turns: the point of it that moves least."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["neck_joint"]

_USUAL_M = np.array([0.0, 0.095, 0.070])  # below the ears; films of people who turn say 0.06 to 0.09
_TRUST = 0.02  # squared turn (rad^2) at which pictures count as much as anatomy


def neck_joint(
    T_world_head: NDArray[np.float64], usual_m: NDArray[np.float64] = _USUAL_M
) -> NDArray[np.float64]:
    """The point p [3] (canonical frame, m) that stays nearest to one place while the head moves [F, 4, 4].

    Minimises the mean of |R p + t - c|^2 over p and c, plus 0.02 |p - usual|^2: a head that hardly turns
    says nothing about p, and then p is the usual place.
    """
    turns, shifts = T_world_head[:, :3, :3], T_world_head[:, :3, 3]
    # The best c is the mean of R p + t, so differences from the mean remain.
    across = turns - turns.mean(axis=0)
    away = shifts - shifts.mean(axis=0)
    normal = np.einsum("fij,fik->jk", across, across) / len(turns) + _TRUST * np.eye(3)
    right = -np.einsum("fij,fi->j", across, away) / len(turns) + _TRUST * usual_m
    joint: NDArray[np.float64] = np.linalg.solve(normal, right)
    return joint
