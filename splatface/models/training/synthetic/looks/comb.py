"""What every hair style shares: roots on the scalp, the head's surface, and strands that gather in locks."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from splatface.models.training.synthetic.identity import Looks
from splatface.models.training.synthetic.looks.marks import FaceMeasurements
from splatface.models.training.synthetic.looks.numbers import smoothstep
from splatface.models.training.synthetic.looks.scalp import scalp_distance
from splatface.models.training.synthetic.looks.skin import Skin
from splatface.models.typing import AnyArray

__all__ = ["HeadSurface", "clump", "ground_of", "roots_on"]


_GRID_M = 0.004


@dataclass(frozen=True, eq=False)
class HeadSurface:
    """The head without its ears, as a surface that hair must stay outside of."""

    tree: cKDTree
    points: AnyArray
    normals: AnyArray

    def above(self, points: AnyArray) -> tuple[AnyArray, AnyArray]:
        """Height [N] of points over the surface and its normals [N, 3] there."""
        _, nearest = self.tree.query(points, k=4)
        normals = self.normals[nearest].mean(1)
        normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-9
        height = ((points - self.points[nearest].mean(1)) * normals).sum(1)
        return height, normals


def ground_of(skin: Skin) -> HeadSurface:
    """The surface of a skin, ears left out."""
    bare = np.flatnonzero((skin.ears < 0.25) & (skin.points[:, 1] < 0.16))
    return HeadSurface(cKDTree(skin.points[bare]), skin.points[bare], skin.normals[bare])


def roots_on(
    skin: Skin, marks: FaceMeasurements, looks: Looks, count: int, rng: np.random.Generator
) -> tuple[AnyArray, AnyArray]:
    """Roots [N, 3] spread evenly over the scalp, thinner at the hairline, and their distance [N] to it."""
    distance = scalp_distance(skin.points, marks, looks)
    inside = np.flatnonzero((distance > -0.001) & (skin.ears < 0.25))
    cells = np.floor(skin.points[inside] / _GRID_M).astype(int)
    _, cell, members = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    weight = (0.25 + 0.75 * smoothstep(-0.001, 0.010, distance[inside])) / members[cell.reshape(-1)]
    chosen = inside[rng.choice(len(inside), count, p=weight / weight.sum())]
    return skin.points[chosen] + rng.normal(0, 0.0013, (count, 3)), distance[chosen]


def clump(strands: AnyArray, locks: int, strength: float, rng: np.random.Generator) -> AnyArray:
    """Pull strands [S, K, 3] towards the nearest of some leaders, more towards the tips."""
    leaders = rng.choice(len(strands), locks, replace=False)
    key = np.concatenate([strands[:, 0], 0.35 * strands[:, -1]], 1)
    follow = leaders[cKDTree(key[leaders]).query(key)[1]]
    t = np.linspace(0, 1, strands.shape[1])[None, :, None] ** 0.8
    pull = strength * rng.uniform(0.3, 1.0, (len(strands), 1, 1))
    together: AnyArray = strands + (strands[follow] - strands) * t * pull
    return together
