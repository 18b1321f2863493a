# SPDX-License-Identifier: Apache-2.0
"""Ambient occlusion of a body at rest, computed once per body.

Meshes: depth maps from many directions (ambient occlusion), the best of a few faces, because lips that
touch and lids that are shut are not always so. Strands: the way out through the hair's density.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatface.models.render.jit import kernel
from splatface.models.training.synthetic.preview.mesh_raster import NOTHING, fill_triangles, mark_strands
from splatface.models.typing import AnyArray

__all__ = ["OrthographicView", "ambient_visibility", "orthographic_view", "strand_visibility"]


_DIRECTIONS = 32
_MAP_PX = 320
_BIAS_M = 0.003
_VOXEL_M = 0.004
_ABSORBED = 0.055  # of light per meter of strand in a voxel, as optical depth per voxel


@dataclass(frozen=True, slots=True, eq=False)
class OrthographicView:
    """A flat (orthographic) view from far away: map pixels and nearness of world points."""

    T: AnyArray  # [4, 4] f32: x, y in px, nearness in m + 10 (> 0)
    size: int

    def screens(self, points: AnyArray) -> AnyArray:
        """Return screens [P, 3] f32 of points [P, 3]."""
        seen: AnyArray = points.astype(np.float32) @ self.T[:3, :3].T + self.T[:3, 3]
        return seen


def orthographic_view(direction: AnyArray, center: AnyArray, half_m: float, size: int) -> OrthographicView:
    """Return the view of a ball (center, half_m) from a direction [3], on a map of size x size px."""
    forward = direction / np.linalg.norm(direction)
    helper = np.array([0.0, 1.0, 0.0]) if abs(forward[1]) < 0.9 else np.array([1.0, 0.0, 0.0])
    right = np.cross(helper, forward)
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    scale = size / (2 * half_m)
    T = np.eye(4)
    T[:3, :3] = np.stack([scale * right, scale * down, forward])
    T[:3, 3] = np.array([size / 2, size / 2, 10.0]) - T[:3, :3] @ center
    return OrthographicView(T.astype(np.float32), size)


def _directions(count: int) -> AnyArray:
    """Return unit vectors [count, 3] spread evenly (Fibonacci's lattice)."""
    z = 1 - 2 * (np.arange(count) + 0.5) / count
    turn = np.pi * (1 + np.sqrt(5)) * np.arange(count)
    ring = np.sqrt(1 - z * z)
    return np.stack([ring * np.cos(turn), z, ring * np.sin(turn)], axis=1)


def ambient_visibility(
    faces: Sequence[tuple[AnyArray, AnyArray]], triangles: NDArray[np.int32], strands: Sequence[AnyArray]
) -> AnyArray:
    """Return openness [P] 0..1 of mesh points, the largest over several faces.

    Args:
        faces: points [P, 3] and normals [P, 3] of each.
        triangles: [F, 3].
        strands: [S, K, 3] of each groom, at rest; they take light from what is below.
    """
    directions = _directions(_DIRECTIONS)
    best = np.zeros(len(faces[0][0]))
    for points, normals in faces:
        arrived, possible = np.zeros(len(points)), np.zeros(len(points))
        for direction in directions:
            # Light from above counts more: the sky is there, and shoulders are below.
            cosine = np.maximum(normals @ direction, 0) * (1.3 - 0.5 * direction[1])
            possible += cosine
            arrived += cosine * _visibility_from(direction, points, triangles, strands)
        best = np.maximum(best, arrived / np.maximum(possible, 1e-6))
    return best


def _visibility_from(
    direction: AnyArray, points: AnyArray, triangles: NDArray[np.int32], strands: Sequence[AnyArray]
) -> AnyArray:
    """Return 1 for each point [P] that an onlooker in this direction sees."""
    low, high = points.min(axis=0), points.max(axis=0)
    view = orthographic_view(direction, (low + high) / 2, float(np.linalg.norm(high - low)) / 2, _MAP_PX)
    nearness = np.zeros((_MAP_PX, _MAP_PX), np.float32)
    owner = np.full((_MAP_PX, _MAP_PX), NOTHING, np.int32)
    screens = view.screens(points)
    fill_triangles(screens, triangles, nearness, owner)
    for groom in strands:
        mark_strands(view.screens(groom.reshape(-1, 3)), groom.shape[1], nearness)
    column = np.clip(screens[:, 0].astype(np.int64), 0, _MAP_PX - 1)
    row = np.clip(screens[:, 1].astype(np.int64), 0, _MAP_PX - 1)
    pixel = 2 * view_half_m(view) / _MAP_PX
    seen: AnyArray = screens[:, 2] > nearness[row, column] - (_BIAS_M + 1.5 * pixel)
    return seen.astype(np.float64)


def view_half_m(view: OrthographicView) -> float:
    """Return half of what a view sees, m."""
    return view.size / 2 / float(np.linalg.norm(view.T[0, :3]))


def strand_visibility(groom: AnyArray, key: AnyArray) -> AnyArray:
    """Return visibility [S * K, 2] of strands [S, K, 3]: from the key light [3], and from all around."""
    points = groom.reshape(-1, 3)
    low = points.min(axis=0) - 2 * _VOXEL_M
    density = _density(groom, low)
    ways = [way for way in _directions(14) if way[1] < 0.5]
    found = np.zeros((len(points), 2), np.float32)
    found[:, 0] = _transmitted(points.astype(np.float32), density, low.astype(np.float32), _step(key))
    for way in ways:
        found[:, 1] += _transmitted(points.astype(np.float32), density, low.astype(np.float32), _step(way))
    found[:, 1] /= len(ways)
    return found


def _step(direction: AnyArray) -> NDArray[np.float32]:
    step: NDArray[np.float32] = (_VOXEL_M * direction / np.linalg.norm(direction)).astype(np.float32)
    return step


def _density(groom: AnyArray, low: AnyArray) -> NDArray[np.float32]:
    """Return optical depth of each voxel, from the length of hair in it, smoothed a little."""
    from scipy.ndimage import gaussian_filter

    middles = 0.5 * (groom[:, 1:] + groom[:, :-1]).reshape(-1, 3)
    lengths = np.linalg.norm(groom[:, 1:] - groom[:, :-1], axis=-1).ravel()
    cells = ((middles - low) / _VOXEL_M).astype(np.int64)
    shape = tuple(int(n) + 4 for n in cells.max(axis=0))
    grid = np.zeros(shape)
    np.add.at(grid, tuple(cells.T), lengths * _ABSORBED / _VOXEL_M)
    smoothed: NDArray[np.float32] = gaussian_filter(grid, 0.7).astype(np.float32)
    return smoothed


@kernel
def _transmitted(points, density, low, step):  # type: ignore[no-untyped-def]
    """exp(-optical depth) [P] from each point out along `step` (one voxel long)."""
    out = np.ones(len(points), np.float32)
    nx, ny, nz = density.shape
    for i in range(len(points)):
        depth = np.float32(0)
        for k in range(1, 30):
            x = int((points[i, 0] + k * step[0] - low[0]) / np.float32(0.004))
            y = int((points[i, 1] + k * step[1] - low[1]) / np.float32(0.004))
            z = int((points[i, 2] + k * step[2] - low[2]) / np.float32(0.004))
            if x < 0 or y < 0 or z < 0 or x >= nx or y >= ny or z >= nz or depth > 6:
                break
            depth += density[x, y, z]
        out[i] = np.exp(-depth)
    return out
