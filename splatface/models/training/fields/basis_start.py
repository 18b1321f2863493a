"""Where a basis starts: the modes of the nearest point of the person, for the Gaussians that have any."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from splatface.models.errors import TrainingError
from splatface.models.head.motion_map import MOTION_SIZE
from splatface.models.head.splats import DELTA_CHANNELS

__all__ = ["PointModes", "start_basis"]

LEAST_MOVEMENT_M = 2e-4  # per unit of any mode: a fifth of a pixel on a 512 x 512 picture of a head


@dataclass(frozen=True, slots=True, eq=False)
class PointModes:
    """How P points of a person move: the part of a data set's `Points` that a basis starts from."""

    means: NDArray[Any]  # [P, 3] m, canonical frame
    mouth_modes: NDArray[Any]  # [P, 8, 3] m per unit
    control_modes: NDArray[Any]  # [P, 8, 3] m per unit
    dynamic: NDArray[np.bool_]  # [P] change their looks even where nothing moves them: eyes, lips, mouth

    def __post_init__(self) -> None:
        shapes = tuple(a.shape for a in (self.means, self.mouth_modes, self.control_modes, self.dynamic))
        count = len(self.means)
        if count == 0 or shapes != ((count, 3), (count, 8, 3), (count, 8, 3), (count,)):
            raise TrainingError(
                f"point modes: expected [P, 3], [P, 8, 3], [P, 8, 3] and [P] with P > 0, found {shapes}: "
                "make the data set's points again"
            )


def start_basis(means: Tensor, modes: PointModes | None, coefficients: int) -> tuple[Tensor, Tensor]:
    """Basis [M, 14, K] and dynamic [M] (rising) for Gaussians at `means` [N, 3] m.

    Means move by the modes of the nearest point, mouth modes first, then controls; all else starts at zero.
    Dynamic are those whose point is, or moves with some mode. Without points all Gaussians are dynamic and
    start at rest.
    """
    if modes is None:
        return torch.zeros(len(means), DELTA_CHANNELS, coefficients), torch.arange(len(means))
    _, nearest = cKDTree(modes.means).query(means.detach().cpu().numpy())
    by_mode = np.concatenate([modes.mouth_modes, modes.control_modes], axis=1)[nearest]  # [N, 16, 3]
    moves = np.linalg.norm(by_mode, axis=2).max(axis=1) > LEAST_MOVEMENT_M
    dynamic = np.flatnonzero(moves | modes.dynamic[nearest])
    basis = torch.zeros(len(dynamic), DELTA_CHANNELS, coefficients)
    basis[:, :3, :MOTION_SIZE] = torch.from_numpy(by_mode[dynamic].transpose(0, 2, 1)).float()
    return basis, torch.from_numpy(dynamic)
