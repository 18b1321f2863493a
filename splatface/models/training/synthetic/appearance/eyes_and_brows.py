# SPDX-License-Identifier: Apache-2.0
"""Eyeballs, eyelashes and eyebrow hairs."""

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.csgraph import shortest_path
from scipy.spatial import cKDTree

from splatface.models.training.dataset.types import EYES, FACE
from splatface.models.training.synthetic.actor_identity import Appearance
from splatface.models.training.synthetic.appearance.face_measurements import (
    FaceMeasurements,
    coordinates,
    smoothstep,
)
from splatface.models.training.synthetic.appearance.skin_paint import BrowPath, SkinSurface, brow_paths
from splatface.models.training.synthetic.body_parts import (
    DeformablePart,
    LinearDeformer,
    Part,
    RootedStrands,
    make_rigid,
)
from splatface.models.training.synthetic.rig import Rig
from splatface.models.typing import AnyArray

__all__ = ["make_brow_hair", "make_eyes", "make_lashes"]

_IRIS_RAD = 0.425  # half angle of the iris seen from the eye's center
_AROUND, _RINGS, _FINE_RINGS = 96, 72, 48
_WHITE = (0.80, 0.765, 0.74)


def make_eyes(
    rig: Rig, marks: FaceMeasurements, looks: Appearance, rng: np.random.Generator
) -> dict[str, DeformablePart]:
    """Return both eyes, each carried by the rig's own eye, which the eyeLook actions turn."""
    sphere, faces, colors = _eyeball(looks, rng)
    pieces = {}
    for name, side, center in (("left_eye", "l", marks.eyes[0]), ("right_eye", "r", marks.eyes[1])):
        points = sphere * marks.eye_radius * 0.985 + center
        part = Part(
            kind="mesh",
            material="eye",
            positions=points,
            colors=colors,
            labels=np.full(len(points), EYES, np.uint8),
            skin=np.ones(len(points)),
            faces=faces,
            roughness=0.3,
        )
        pieces[name] = DeformablePart(part, make_rigid(rig, f"helper-{side}-eye", points))
    return pieces


def _eyeball(looks: Appearance, rng: np.random.Generator) -> tuple[AnyArray, NDArray[np.int64], AnyArray]:
    """Return unit eyeball that looks to -z: points [P, 3], quads, colors [P, 3]; rings crowd at the iris."""
    polar = np.r_[
        np.linspace(0.004, 0.50, _FINE_RINGS, endpoint=False),
        np.linspace(0.50, np.pi - 0.01, _RINGS - _FINE_RINGS),
    ]
    around = np.arange(_AROUND) * 2 * np.pi / _AROUND
    t, p = np.meshgrid(polar, around, indexing="ij")
    cornea = 1 + 0.075 * np.clip(1 - (t / _IRIS_RAD) ** 2, 0, 1)
    points = np.stack([np.sin(t) * np.cos(p), np.sin(t) * np.sin(p), -np.cos(t) * cornea], -1)
    ring, spoke = np.meshgrid(np.arange(_RINGS - 1), np.arange(_AROUND), indexing="ij")
    after = (spoke + 1) % _AROUND
    corners = (
        ring * _AROUND + spoke,
        (ring + 1) * _AROUND + spoke,
        (ring + 1) * _AROUND + after,
        ring * _AROUND + after,
    )
    quads = np.stack(corners, -1).reshape(-1, 4)
    return points.reshape(-1, 3), quads, _eye_colors(t, p, looks, rng).reshape(-1, 3)


def _eye_colors(t: AnyArray, p: AnyArray, looks: Appearance, rng: np.random.Generator) -> AnyArray:
    """Return white that reddens towards the corners, a dark-rimmed iris with radial fibres, a black pupil."""
    white = np.array(_WHITE) * (1 - 0.10 * smoothstep(0.9, 1.6, t))[..., None]
    white = white * (1 - smoothstep(1.0, 1.7, t)[..., None] * np.array([0.0, 0.22, 0.25]))
    radius = t / _IRIS_RAD
    fibres = sum(
        rng.uniform(0.4, 1) * np.sin(k * p + rng.uniform(0, 2 * np.pi) + 2.5 * np.sin(9 * radius + k))
        for k in (23, 31, 47, 61)
    )
    shade = 0.85 + 0.095 * fibres * smoothstep(0.35, 0.6, radius)
    shade *= 1 + 0.55 * np.exp(-(((radius - 0.52) / 0.14) ** 2))
    shade *= (1 - 0.72 * smoothstep(0.80, 1.0, radius)) * smoothstep(0.33, 0.39, radius)
    iris = np.array(looks.iris) * shade[..., None]
    inside = smoothstep(1.06, 0.96, radius)[..., None]
    colors: AnyArray = np.clip(white * (1 - inside) + iris * inside, 0, 1)
    return colors


_LASH_POINTS = 5
_ROWS = 5  # rows of a lash card from lid to tip
_LASH_RADIUS_M = (0.00026, 0.00007)
# (card, hairs, length as a share of the card): 2 is the upper lid, 1 the lower.
_CARDS = (
    ("l-eyelashes-2", 130, 0.80),
    ("r-eyelashes-2", 130, 0.80),
    ("l-eyelashes-1", 50, 0.38),
    ("r-eyelashes-1", 50, 0.38),
)


def make_lashes(rig: Rig, looks: Appearance, rng: np.random.Generator) -> DeformablePart:
    """Return the lashes of both eyes as sums of lash card vertices."""
    body = cKDTree(rig.rest[rig.vertices("body")])
    rows: list[Any] = []
    for group, hairs, length in _CARDS:
        card = _lash_card_grid(rig, "helper-" + group, body)
        rows.append(_hairs_on_card(card, hairs, length * looks.lash_length, len(rig.rest), rng))
    matrix = sp.vstack(rows).tocsr()
    strands = matrix.shape[0] // _LASH_POINTS
    shape = (strands, _LASH_POINTS, 3)
    part = Part(
        kind="strands",
        material="lash",
        positions=np.asarray(matrix @ rig.rest).reshape(shape),
        colors=np.tile([[0.012, 0.009, 0.008]], (strands, 1)),
        labels=np.full(strands, FACE, np.uint8),
        skin=np.ones(strands),
        roughness=0.5,
        radius=_LASH_RADIUS_M,
    )
    return DeformablePart(part, LinearDeformer(matrix, shape))


def _lash_card_grid(rig: Rig, group: str, body: cKDTree) -> NDArray[np.int64]:
    """Return vertices of a lash card as a grid [columns, rows], row 0 at the lid.

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


def _hairs_on_card(
    card: NDArray[np.int64], hairs: int, length: float, vertices: int, rng: np.random.Generator
) -> Any:
    """Return the matrix [hairs * _LASH_POINTS, V] of points along hairs, bilinear on the card."""
    columns = len(card)
    start = rng.uniform(0.3, columns - 1.3, hairs)
    reach = (_ROWS - 1) * length * rng.uniform(0.75, 1.1, hairs)
    slant = rng.normal(0, 0.12, hairs)
    s = np.linspace(0, 1, _LASH_POINTS)
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


_HAIRS = 520  # in each brow
_BROW_POINTS = 4
_BROW_RADIUS_M = (0.00019, 0.00007)


def make_brow_hair(
    skin: SkinSurface, marks: FaceMeasurements, looks: Appearance, rng: np.random.Generator
) -> DeformablePart:
    """Return both brows' hairs, standing up near the nose and lying down towards the temple."""
    grown = [_grow_hairs(skin, path, rng) for path in brow_paths(marks, looks)]
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
        radius=_BROW_RADIUS_M,
    )
    return DeformablePart(part, RootedStrands(skin.matrix[roots], offsets))


def _grow_hairs(
    skin: SkinSurface, path: BrowPath, rng: np.random.Generator
) -> tuple[NDArray[np.int64], AnyArray]:
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
    s = np.linspace(0, 1, _BROW_POINTS)
    lift = 0.0002 + 0.0007 * s - 0.0006 * s**2
    offsets = (
        start[:, None]
        + heading[:, None] * (length[:, None] * s)[..., None]
        + normals[:, None] * lift[:, None]
    )
    return roots, offsets
