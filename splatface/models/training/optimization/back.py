"""The far side of a head that was only filmed from the front.

No picture shows it, so no training may lean on it: a cheek before a back of the head that is there from the
start learns to be glass. It is added when all else is learned, no wider than what a turned head hides.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import cKDTree

from splatface.models.head.splats import Gaussians
from splatface.models.rotations import quats_from_matrices
from splatface.models.training.optimization.bake import Baked
from splatface.models.typing import Float64Array

__all__ = ["add_back_of_head_shell"]


_HEADS, _THERE = 0.95, 0.3  # skin weight and opacity of what outlines the head
_BAND_M, _SMOOTH_BANDS = 0.006, 2.0
_ANGLES = 24  # from one side to the other
_DEPTH = 0.7  # of the head's half width: deeper, and it would come out beside the outline when it turns
_WITHIN_M = 0.003  # of the outline
_EDGE = 0.03  # quantile of a band's places that is its edge
_FEWEST = 12  # Gaussians that outline a band
_CHIN = 0.95  # quantile of the head's heights: nothing is added below it
_DISC, _FLAT = 0.75, 0.3  # of the distance to the next
_LONGEST_M = 0.01  # taken for that distance: at the crown a band is far wider than the one above
_OPACITY_LOGIT = 4.0
_NEIGHBORS = 12


def add_back_of_head_shell(baked: Baked) -> Baked:
    """The head with half a shell behind its outline, colored as what is next to it.

    Unchanged where there is no head to outline.
    """
    gaussians, heads = baked.gaussians, baked.skin > _HEADS
    heads &= 1 / (1 + np.exp(-gaussians.opacity_logits)) > _THERE
    grid = _shell(gaussians.means[heads].astype(np.float64))
    if grid is None:
        return baked
    _, near = cKDTree(gaussians.means[heads]).query(grid.reshape(-1, 3), k=_NEIGHBORS)
    colors = np.median(gaussians.sh[heads, 0][near], axis=1)
    shell = _discs(grid, colors, gaussians.sh.shape[1])
    joined = {
        name: np.concatenate([getattr(gaussians, name), getattr(shell, name)]) for name in Gaussians.__slots__
    }
    skin = np.concatenate([baked.skin, np.ones(len(shell), np.float32)])
    return replace(baked, gaussians=Gaussians(**joined), skin=skin)


def _shell(means: Float64Array) -> Float64Array | None:
    """Places [bands, angles, 3] behind the outline of places [N, 3] of a head (x right, y down, z away)."""
    if len(means) < _FEWEST:
        return None
    heights = np.arange(means[:, 1].min() + 1.5 * _BAND_M, np.quantile(means[:, 1], _CHIN), _BAND_M)
    rows = []
    for height in heights:
        band = means[np.abs(means[:, 1] - height) < _BAND_M]
        if len(band) >= _FEWEST:
            left, right = np.quantile(band[:, 0], (_EDGE, 1 - _EDGE))
            edge = (band[:, 0] <= left) | (band[:, 0] >= right)
            rows.append((left, right, np.median(band[edge, 2]), height))
    if len(rows) < 3:
        return None
    left, right, depth, height = np.array(rows).T
    left, right, depth = (gaussian_filter1d(v, _SMOOTH_BANDS, mode="nearest") for v in (left, right, depth))
    half = np.maximum((right - left) / 2 - _WITHIN_M, _WITHIN_M)[:, None]
    angles = np.linspace(0, np.pi, _ANGLES)
    across = (left + right)[:, None] / 2 + half * np.cos(angles)
    away = depth[:, None] + _DEPTH * half * np.sin(angles)
    return np.stack([across, np.broadcast_to(height[:, None], across.shape), away], axis=2)


def _discs(grid: Float64Array, colors: NDArray[np.float32], bands: int) -> Gaussians:
    """Flat Gaussians that close a grid of places [B, A, 3]."""
    down, along = np.gradient(grid, axis=0), np.gradient(grid, axis=1)
    first, second = (v.reshape(-1, 3) for v in (along, down))
    sizes = [np.clip(np.linalg.norm(v, axis=1), _WITHIN_M, _LONGEST_M) for v in (first, second)]
    first = first / np.linalg.norm(first, axis=1, keepdims=True)
    third = np.cross(first, second)
    third /= np.linalg.norm(third, axis=1, keepdims=True)
    axes = np.stack([first, np.cross(third, first), third], axis=2)
    count = len(first)
    scales = _DISC * np.stack([*sizes, _FLAT * np.minimum(*sizes)], axis=1)
    sh = np.zeros((count, bands, 3), np.float32)
    sh[:, 0] = colors
    return Gaussians(
        means=grid.reshape(-1, 3).astype(np.float32),
        quats=quats_from_matrices(axes).astype(np.float32),
        log_scales=np.log(scales).astype(np.float32),
        opacity_logits=np.full(count, _OPACITY_LOGIT, np.float32),
        sh=sh,
    )
