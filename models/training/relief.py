"""At which depth the skin, hair and clothes of a person lie who was only filmed from the front.

A few degrees of turning hardly tell depths, so Gaussians are drawn back to one. That of their birth would do
if they stayed where they were born: what wanders from the nose to the cheek must go back with it, or it is a
spot before the face as soon as the head turns.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from splatface.models.dataset.types import FACE, HAIR, LIPS, TORSO, Points

__all__ = ["Relief", "relief_of"]

Floats = NDArray[np.float32]
_SURFACES = (TORSO, HAIR, FACE, LIPS)  # of one layer; a neck goes on behind the jaw, the mouth behind lips
_NEIGHBOURS = 4
_NEAR_M, _LOST_M = 0.001, 0.01  # neighbours nearer count alike; farther from all of them nothing is known


@dataclass(frozen=True, slots=True, eq=False)
class Relief:
    """Where a surface lies, by its label."""

    surfaces: dict[int, tuple[cKDTree, Floats]]  # places [n, 2] and depths [n], m

    def depths(self, means: Floats, labels: NDArray[np.uint8], otherwise: Floats) -> Floats:
        """Depths [N] at places [N, 3] of Gaussians of these labels; `otherwise` where no surface is known."""
        found = otherwise.copy()
        for label, (places, depths) in self.surfaces.items():
            rows = np.flatnonzero(labels == label)
            if len(rows):
                away, near = places.query(means[rows, :2], k=_NEIGHBOURS)
                weights = 1 / (away + _NEAR_M)
                mean = (weights * depths[near]).sum(axis=1) / weights.sum(axis=1)
                known = away[:, 0] < _LOST_M
                found[rows[known]] = mean[known]
        return found


def relief_of(points: Points | None) -> Relief:
    """The surfaces of the points that training starts from; none where there are no points."""
    surfaces: dict[int, tuple[cKDTree, Floats]] = {}
    if points is None:
        return Relief(surfaces)
    for label in _SURFACES:
        means = points.means[points.labels == label]
        if len(means) >= _NEIGHBOURS:
            surfaces[label] = (cKDTree(means[:, :2]), means[:, 2].astype(np.float32))
    return Relief(surfaces)
