"""The hairs of the eyebrows, rooted in the skin."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from splatface.models.training.dataset.types import FACE
from splatface.models.training.synthetic.identity import Looks
from splatface.models.training.synthetic.looks.brows import BrowPath, brow_paths
from splatface.models.training.synthetic.looks.marks import FaceMeasurements
from splatface.models.training.synthetic.looks.numbers import coordinates
from splatface.models.training.synthetic.looks.skin import Skin
from splatface.models.training.synthetic.movers import Piece, RootedStrands
from splatface.models.training.synthetic.parts import Part
from splatface.models.typing import AnyArray

__all__ = ["brow_hair_of"]


_HAIRS = 520  # in each brow
_POINTS = 4
_RADIUS_M = (0.00019, 0.00007)


def brow_hair_of(skin: Skin, marks: FaceMeasurements, looks: Looks, rng: np.random.Generator) -> Piece:
    """Both brows' hairs, standing up near the nose and lying down towards the temple."""
    grown = [_grown(skin, path, rng) for path in brow_paths(marks, looks)]
    roots = np.concatenate([root for root, _ in grown])
    offsets = np.concatenate([offset for _, offset in grown])
    tone = rng.uniform(0.8, 1.25, (len(roots), 1))
    part = Part(
        kind="strands",
        material="brow",
        positions=skin.points[roots][:, None] + offsets,
        colors=np.clip(np.array(looks.brow) * tone, 0, 1),
        labels=np.full(len(roots), FACE, np.uint8),
        skin=np.ones(len(roots)),
        roughness=0.5,
        radius=_RADIUS_M,
    )
    return Piece(part, RootedStrands(skin.matrix[roots], offsets))


def _grown(skin: Skin, path: BrowPath, rng: np.random.Generator) -> tuple[NDArray[np.int64], AnyArray]:
    """Skin points [S] below the hairs and offsets [S, K, 3]."""
    across, back, up = coordinates(skin.points)
    front = np.flatnonzero((skin.normals[:, 2] < -0.2) & (back < 0.05) & (up > -0.01))
    along = rng.uniform(0, 1, _HAIRS) ** 0.95
    step = (along * (len(path.across) - 1)).astype(int)
    beside = np.clip(rng.normal(0, 0.5, _HAIRS), -1.1, 1.1)
    root_up = path.up[step] + beside * path.half_width[step]
    tree = cKDTree(np.stack([across[front], up[front]], 1))
    roots = front[tree.query(np.stack([path.across[step], root_up], 1))[1]]
    normals = skin.normals[roots]
    start = np.stack([path.across[step], -root_up, np.zeros(_HAIRS)], 1) - skin.points[roots]
    start[:, 2] = -(start[:, :2] * normals[:, :2]).sum(1) / normals[:, 2]  # back onto the skin
    angle = np.interp(along, [0, 0.15, 0.5, 1], [1.15, 0.65, 0.22, -0.22]) - 0.40 * beside
    angle += rng.normal(0, 0.13, _HAIRS)
    heading = np.stack([path.side * np.cos(angle), -np.sin(angle), np.zeros(_HAIRS)], 1)
    heading -= normals * (heading * normals).sum(1, keepdims=True)
    length = np.interp(along, [0, 0.3, 1], [0.0050, 0.0072, 0.0050]) * rng.uniform(0.7, 1.1, _HAIRS)
    s = np.linspace(0, 1, _POINTS)
    lift = 0.0002 + 0.0007 * s - 0.0006 * s**2
    offsets = (
        start[:, None]
        + heading[:, None] * (length[:, None] * s)[..., None]
        + normals[:, None] * lift[:, None]
    )
    return roots, offsets
