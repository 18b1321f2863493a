"""Catmull-Clark subdivision (Catmull & Clark 1978) as sparse matrices: fine = S @ coarse, for every pose."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from splatface.models.typing import AnyArray, Int64Array

__all__ = ["Refined", "catmull_clark", "edges_of", "refine", "vertex_normals"]


@dataclass(frozen=True, eq=False)
class Refined:
    """Quads [F, 4] over P fine points and the matrix [P, V] that makes them from V control vertices."""

    faces: Int64Array
    matrix: Any  # scipy.sparse.csr_matrix


def refine(faces: Int64Array, vertices: int, levels: int) -> Refined:
    """Take the vertices that `faces` uses out of `vertices` and subdivide `levels` times."""
    used, compact = np.unique(faces, return_inverse=True)
    fine = compact.reshape(faces.shape)
    matrix = sp.csr_matrix((np.ones(len(used)), (np.arange(len(used)), used)), (len(used), vertices))
    for _ in range(levels):
        fine, step = catmull_clark(fine, matrix.shape[0])
        matrix = step @ matrix
    return Refined(fine, matrix.tocsr())


def edges_of(faces: Int64Array) -> tuple[Int64Array, Int64Array, Int64Array]:
    """Unique edges [E, 2] (smaller end first), edge of every corner [F, 4], faces at every edge [E]."""
    pairs = np.sort(np.stack([faces, np.roll(faces, -1, 1)], -1).reshape(-1, 2), 1)
    edges, corner, count = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
    return edges, corner.reshape(faces.shape), count


def catmull_clark(faces: Int64Array, points: int) -> tuple[Int64Array, Any]:
    """One level on quads [F, 4]: the quads [4F, 4] and the matrix [points + E + F, points]."""
    edges, corner, count = edges_of(faces)
    to_face = _rows_of(faces, points, 0.25)
    inner = (count == 2).astype(float)
    face_of_edge = sp.csr_matrix(
        (np.ones(faces.size), (corner.ravel(), np.repeat(np.arange(len(faces)), 4))),
        (len(edges), len(faces)),
    )
    middle = _rows_of(edges, points, 0.5)
    to_edge = sp.diags(1 - 0.5 * inner) @ middle + sp.diags(0.25 * inner) @ (face_of_edge @ to_face)
    to_point = _smoothed_points(faces, edges, count, points, to_face)
    matrix = sp.vstack([to_point, to_edge, to_face]).tocsr()
    at_edge = corner + points
    at_face = np.arange(len(faces)) + points + len(edges)
    quads = [np.stack([faces[:, i], at_edge[:, i], at_face, at_edge[:, i - 1]], 1) for i in range(4)]
    return np.stack(quads, 1).reshape(-1, 4), matrix


def _rows_of(members: Int64Array, columns: int, value: float) -> Any:
    """One row for every row of `members`, `value` at its members."""
    rows = np.repeat(np.arange(len(members)), members.shape[1])
    return sp.csr_matrix((np.full(members.size, value), (rows, members.ravel())), (len(members), columns))


def _smoothed_points(
    faces: Int64Array, edges: Int64Array, count: Int64Array, points: int, to_face: Any
) -> Any:
    """(F + 2R + (k-3)P)/k for inner points, 1/8 3/4 1/8 along a border, as is for lonely points."""
    at_face = _rows_of(faces, points, 1.0).T.tocsr()
    at_edge = _rows_of(edges, points, 1.0).T.tocsr()
    valence = np.asarray(at_edge.sum(1)).ravel()
    face_count = np.maximum(np.asarray(at_face.sum(1)).ravel(), 1)
    border_edges = edges[count == 1]
    border = np.zeros(points, bool)
    border[border_edges.ravel()] = True
    k = np.maximum(valence, 1)
    inside = (~border & (valence > 0)).astype(float)
    faces_mean = sp.diags(1 / face_count) @ at_face @ to_face
    edges_mean = 2 * sp.diags(1 / k) @ at_edge @ _rows_of(edges, points, 0.5)
    inner = sp.diags(inside / k) @ (faces_mean + edges_mean) + sp.diags(inside * (k - 3) / k)
    rows = np.r_[border_edges[:, 0], border_edges[:, 1]]
    columns = np.r_[border_edges[:, 1], border_edges[:, 0]]
    along = sp.csr_matrix((np.full(len(rows), 0.125), (rows, columns)), (points, points))
    return inner + along + sp.diags(0.75 * border) + sp.diags((valence == 0).astype(float))


def vertex_normals(points: AnyArray, faces: Int64Array) -> AnyArray:
    """Unit normals [P, 3], area weighted, to the side from which the quads run counter-clockwise."""
    areas = np.cross(points[faces[:, 2]] - points[faces[:, 0]], points[faces[:, 3]] - points[faces[:, 1]])
    normals = np.stack(
        [np.bincount(faces.ravel(), np.repeat(areas[:, axis], 4), len(points)) for axis in range(3)], 1
    )
    unit: AnyArray = normals / (np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12)
    return unit
