"""Where a basis starts: the modes of the nearest point of the person, for the Gaussians that have any."""

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from splatface.models.dataset.types import EYES, LIPS, MOUTH, Points
from splatface.models.head.coefficients import CONTROLS, MOUTH_MODES
from splatface.models.head.splats import DELTA_CHANNELS

__all__ = ["start_basis"]

LEAST_MOVEMENT_M = 2e-4  # per unit of any mode: a fifth of a pixel on a 512 x 512 picture of a head
ALWAYS_DYNAMIC = (EYES, LIPS, MOUTH)  # these change their looks even where they do not move


def start_basis(means: Tensor, points: Points | None, coefficients: int) -> tuple[Tensor, Tensor]:
    """Basis [M, 14, K] and dynamic [M] for Gaussians at `means` [N, 3] m.

    Means move by the modes of the nearest point, mouth modes first, then controls; all else starts at zero.
    Dynamic are those that some mode moves, and eyes, lips and the mouth's inside. Without points all
    Gaussians are dynamic and start at rest.
    """
    count = len(means)
    if points is None:
        return torch.zeros(count, DELTA_CHANNELS, coefficients), torch.arange(count)
    _, nearest = cKDTree(points.means).query(means.detach().numpy())
    modes = np.concatenate([points.mouth_modes, points.control_modes], axis=1)[nearest]  # [N, 15, 3]
    moves = np.linalg.norm(modes, axis=2).max(axis=1) > LEAST_MOVEMENT_M
    dynamic = np.flatnonzero(moves | np.isin(points.labels[nearest], ALWAYS_DYNAMIC))
    basis = torch.zeros(len(dynamic), DELTA_CHANNELS, coefficients)
    known = len(MOUTH_MODES) + len(CONTROLS)
    basis[:, :3, :known] = torch.from_numpy(modes[dynamic].transpose(0, 2, 1)).float()
    return basis, torch.from_numpy(dynamic)
