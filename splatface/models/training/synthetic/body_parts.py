# SPDX-License-Identifier: Apache-2.0
"""Parts of a body: meshes and hair strands, their subdivision, and how they follow the rig."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from splatface.models.training.synthetic.rig import PosedRig, Rig
from splatface.models.typing import AnyArray, Int64Array

__all__ = [
    "ClothDeformer",
    "DeformablePart",
    "HeadAttached",
    "LinearDeformer",
    "Part",
    "PartDeformer",
    "PosedBody",
    "Rigid",
    "RootedStrands",
    "SubdividedMesh",
    "catmull_clark",
    "make_rigid",
    "subdivide",
    "unique_edges",
    "vertex_normals",
]


@dataclass(frozen=True, eq=False, kw_only=True)
class Part:
    """One piece of a body at rest: a mesh of P points, or S strands of K points (P = S K).

    `colors`, `labels` and `skin` have one row a point for a mesh and one row a strand for strands.
    """

    kind: str  # "mesh" or "strands"
    material: str  # skin, teeth, mouth, eye, hair, brow, lash or cloth: how light meets it
    positions: AnyArray  # [P, 3] or [S, K, 3] m, canonical, at rest
    colors: AnyArray  # [P or S, 3] linear RGB 0..1
    labels: NDArray[np.uint8]  # [P or S] dataset LABELS
    skin: AnyArray  # [P or S] 0 torso .. 1 head
    faces: NDArray[np.int64] | None = None  # [F, 4]; None for strands
    roughness: float = 0.5
    subsurface: float = 0.0  # 0..1
    radius: tuple[float, float] = (0.0, 0.0)  # m at root and tip, strands only
    gloss: AnyArray | None = None  # [P] 0..1, where the skin is moist


@dataclass(frozen=True, eq=False)
class PosedBody:
    """A body in one pose, canonical frame, meters; T_world_head and T_world_torso are identity at rest."""

    positions: Mapping[str, AnyArray]  # part -> [P, 3] or [S, K, 3]
    T_world_head: AnyArray  # [4, 4]
    T_world_torso: AnyArray  # [4, 4]
    landmarks: AnyArray  # [68, 3] iBUG-68 order


@dataclass(frozen=True, eq=False)
class SubdividedMesh:
    """Quads [F, 4] over P fine points and the matrix [P, V] that makes them from V control vertices."""

    faces: Int64Array
    matrix: Any  # scipy.sparse.csr_matrix


def subdivide(faces: Int64Array, vertices: int, levels: int) -> SubdividedMesh:
    """Take the vertices that `faces` uses out of `vertices` and subdivide `levels` times."""
    used, compact = np.unique(faces, return_inverse=True)
    fine = compact.reshape(faces.shape)
    matrix = sp.csr_matrix((np.ones(len(used)), (np.arange(len(used)), used)), (len(used), vertices))
    for _ in range(levels):
        fine, step = catmull_clark(fine, matrix.shape[0])
        matrix = step @ matrix
    return SubdividedMesh(fine, matrix.tocsr())


def unique_edges(faces: Int64Array) -> tuple[Int64Array, Int64Array, Int64Array]:
    """Return unique edges [E, 2] (smaller end first), edge of each corner [F, 4], faces at each edge [E]."""
    pairs = np.sort(np.stack([faces, np.roll(faces, -1, 1)], -1).reshape(-1, 2), 1)
    edges, corner, count = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
    return edges, corner.reshape(faces.shape), count


def catmull_clark(faces: Int64Array, points: int) -> tuple[Int64Array, Any]:
    """Return one level on quads [F, 4]: the quads [4F, 4] and the matrix [points + E + F, points]."""
    edges, corner, count = unique_edges(faces)
    to_face = _incidence_matrix(faces, points, 0.25)
    inner = (count == 2).astype(float)
    face_of_edge = sp.csr_matrix(
        (np.ones(faces.size), (corner.ravel(), np.repeat(np.arange(len(faces)), 4))),
        (len(edges), len(faces)),
    )
    middle = _incidence_matrix(edges, points, 0.5)
    to_edge = sp.diags(1 - 0.5 * inner) @ middle + sp.diags(0.25 * inner) @ (face_of_edge @ to_face)
    to_point = _smoothed_points(faces, edges, count, points, to_face)
    matrix = sp.vstack([to_point, to_edge, to_face]).tocsr()
    at_edge = corner + points
    at_face = np.arange(len(faces)) + points + len(edges)
    quads = [np.stack([faces[:, i], at_edge[:, i], at_face, at_edge[:, i - 1]], 1) for i in range(4)]
    return np.stack(quads, 1).reshape(-1, 4), matrix


def _incidence_matrix(members: Int64Array, columns: int, value: float) -> Any:
    """Return one row for every row of `members`, `value` at its members."""
    rows = np.repeat(np.arange(len(members)), members.shape[1])
    return sp.csr_matrix((np.full(members.size, value), (rows, members.ravel())), (len(members), columns))


def _smoothed_points(
    faces: Int64Array, edges: Int64Array, count: Int64Array, points: int, to_face: Any
) -> Any:
    """(F + 2R + (k-3)P)/k for inner points, 1/8 3/4 1/8 along a border, as is for lonely points."""
    at_face = _incidence_matrix(faces, points, 1.0).T.tocsr()
    at_edge = _incidence_matrix(edges, points, 1.0).T.tocsr()
    valence = np.asarray(at_edge.sum(1)).ravel()
    face_count = np.maximum(np.asarray(at_face.sum(1)).ravel(), 1)
    border_edges = edges[count == 1]
    border = np.zeros(points, bool)
    border[border_edges.ravel()] = True
    k = np.maximum(valence, 1)
    inside = (~border & (valence > 0)).astype(float)
    faces_mean = sp.diags(1 / face_count) @ at_face @ to_face
    edges_mean = 2 * sp.diags(1 / k) @ at_edge @ _incidence_matrix(edges, points, 0.5)
    inner = sp.diags(inside / k) @ (faces_mean + edges_mean) + sp.diags(inside * (k - 3) / k)
    rows = np.r_[border_edges[:, 0], border_edges[:, 1]]
    columns = np.r_[border_edges[:, 1], border_edges[:, 0]]
    along = sp.csr_matrix((np.full(len(rows), 0.125), (rows, columns)), (points, points))
    return inner + along + sp.diags(0.75 * border) + sp.diags((valence == 0).astype(float))


def vertex_normals(points: AnyArray, faces: Int64Array) -> AnyArray:
    """Return unit normals [P, 3], area weighted, to the side from which the quads run counter-clockwise."""
    areas = np.cross(points[faces[:, 2]] - points[faces[:, 0]], points[faces[:, 3]] - points[faces[:, 1]])
    normals = np.stack(
        [np.bincount(faces.ravel(), np.repeat(areas[:, axis], 4), len(points)) for axis in range(3)], 1
    )
    unit: AnyArray = normals / (np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12)
    return unit


class PartDeformer(Protocol):
    """From a posed rig to the positions of one part, in the shape of `Part.positions`."""

    def __call__(self, posed: PosedRig) -> AnyArray:
        """Return positions of the part."""
        ...


@dataclass(frozen=True, eq=False)
class DeformablePart:
    """A part and what moves it."""

    part: Part
    deformer: PartDeformer


@dataclass(frozen=True, eq=False)
class LinearDeformer:
    """Points that are fixed sums of control vertices: `matrix` [P, V]."""

    matrix: Any
    shape: tuple[int, ...]  # (P, 3) or (S, K, 3)

    def __call__(self, posed: PosedRig) -> AnyArray:
        """Return positions of `shape`."""
        return np.asarray(self.matrix @ posed.vertices).reshape(self.shape)


@dataclass(frozen=True, eq=False)
class Rigid:
    """A stiff thing carried by some control vertices (an eye, a row of teeth)."""

    points: AnyArray  # [P, 3] at rest
    carriers: NDArray[np.int64]  # [N] control vertices
    carriers_rest: AnyArray  # [N, 3]

    def __call__(self, posed: PosedRig) -> AnyArray:
        """Return positions [P, 3] under the turn that fits the carriers best (Kabsch 1976)."""
        now = posed.vertices[self.carriers]
        center, center_now = self.carriers_rest.mean(0), now.mean(0)
        u, _, vt = np.linalg.svd((self.carriers_rest - center).T @ (now - center_now))
        handed = np.diag([1.0, 1.0, np.sign(np.linalg.det(vt.T @ u.T))])
        rotation = vt.T @ handed @ u.T
        moved: AnyArray = (self.points - center) @ rotation.T + center_now
        return moved


@dataclass(frozen=True, eq=False)
class HeadAttached:
    """Points fixed to the head bone."""

    points: AnyArray  # [..., 3] at rest

    def __call__(self, posed: PosedRig) -> AnyArray:
        """Return positions in the shape of `points`."""
        moved: AnyArray = self.points @ posed.T_world_head[:3, :3].T + posed.T_world_head[:3, 3]
        return moved


@dataclass(frozen=True, eq=False)
class RootedStrands:
    """Strands [S, K, 3] that stand on points of the skin and turn with the head."""

    roots: Any  # matrix [S, V]: the skin point below every strand
    offsets: AnyArray  # [S, K, 3] from that point, at rest

    def __call__(self, posed: PosedRig) -> AnyArray:
        """Return positions [S, K, 3]."""
        roots = np.asarray(self.roots @ posed.vertices)
        moved: AnyArray = roots[:, None] + self.offsets @ posed.T_world_head[:3, :3].T
        return moved


@dataclass(frozen=True, eq=False)
class ClothDeformer:
    """Cloth over the body: a smoothed control mesh pushed out along its normals, then subdivided."""

    smooth: Any  # matrix [N, V]
    faces: NDArray[np.int64]  # [F, 4] over N
    fine: Any  # matrix [P, N]
    distance_m: float

    def __call__(self, posed: PosedRig) -> AnyArray:
        """Return positions [P, 3]."""
        near = np.asarray(self.smooth @ posed.vertices)
        return np.asarray(self.fine @ (near + self.distance_m * vertex_normals(near, self.faces)))


def make_rigid(rig: Rig, group: str, points: AnyArray) -> Rigid:
    """Carry points [P, 3], given at rest, by all control vertices of a face group."""
    carriers = rig.vertices(group)
    return Rigid(points, carriers, rig.rest[carriers])
