# SPDX-License-Identifier: Apache-2.0
"""Adaptive density control under a cap on the count, and the surface prior that moved Gaussians return to.

Density control: Kerbl et al. 2023, section 5, with one split for both of theirs (clone, split): along the
longest axis, such that variance and brightness stay (the opacity after Rota Bulo et al. 2024). The budget of
pruned Gaussians goes to those with the largest gradients, so at the cap Gaussians are relocated.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from splatface.models.rotations import matrices_from_quats
from splatface.models.training.dataset.types import FACE, HAIR, LIPS, NECK, TORSO, Points
from splatface.models.training.optimization.gaussian_skinning import (
    LOG_SCALES,
    MEANS,
    OPACITY,
    QUATS,
    skin_logits,
)
from splatface.models.training.optimization.train_config import DensifyConfig
from splatface.models.typing import BoolArray, Float32Array, Int64Array, UInt8Array

__all__ = [
    "DensificationResult",
    "DensificationStats",
    "SurfacePrior",
    "SurfaceSamples",
    "densify_and_prune",
    "surface_prior_from_points",
    "zero_densification_stats",
]

_SPLIT_OFFSET = 0.45  # of the halves from the middle, in standard deviations
_SPLIT_SCALE = float(np.sqrt(1 - _SPLIT_OFFSET**2))  # keeps the variance along the axis
_SPLIT_OVERLAP = 0.5 * _SPLIT_SCALE * float(np.exp(-((_SPLIT_OFFSET / _SPLIT_SCALE) ** 2)))

_SURFACES = (TORSO, NECK, HAIR, FACE, LIPS)  # not the mouth, which extends behind the lips
_SURFACE_NEIGHBORS = 4
# The neck extends behind the jaw: two layers at one place in the image.
_NECK_NEIGHBORS, _NECK_LAYER_DISTANCE_M = 12, 0.01
_MIN_NEIGHBOR_M, _MAX_NEIGHBOR_M = 0.001, 0.01  # nearer ones weigh alike; without nearer ones no anchor
_REASSIGN_DISTANCE_M = 0.003  # from its own surface, where another is nearer


@dataclass(frozen=True, slots=True, eq=False)
class DensificationStats:
    """Image-space gradients of each Gaussian since the last densification."""

    grad2d: Float32Array  # [N] sum of |dL/d(center)|, per half image width
    count: Float32Array  # [N] frames in which it was drawn

    def add(self, means2d_grad: Float32Array, width: int) -> None:
        """Add one frame: dL/d(centers) [N, 2] per px in an image this wide."""
        length = np.hypot(means2d_grad[:, 0], means2d_grad[:, 1])
        self.grad2d[...] += length * np.float32(width / 2)
        self.count[...] += length > 0


def zero_densification_stats(count: int) -> DensificationStats:
    """Return the statistics of `count` Gaussians before the first frame."""
    return DensificationStats(np.zeros(count, np.float32), np.zeros(count, np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class DensificationResult:
    """A table after splitting and pruning."""

    table: Float32Array  # [N', W]
    sources: Int64Array  # [N'] row of the old table that each came from
    is_new: BoolArray  # [N'] halves: their running means of gradients start at 0


def densify_and_prune(
    table: Float32Array,
    stats: DensificationStats,
    dynamic: BoolArray,
    max_new_dynamic: int,
    config: DensifyConfig,
) -> DensificationResult:
    """Prune transparent Gaussians and split those with large image-space gradients.

    Args:
        table: [N, W], see gaussian_skinning.py.
        stats: since the last call.
        dynamic: [N] Gaussians that a field with a limited number of rows moves.
        max_new_dynamic: number of rows that such a field has left.
        config: thresholds and limits.
    """
    opacity = 1 / (1 + np.exp(-table[:, OPACITY]))
    # Gaussians that no frame drew stay: no gradient reached them (they close the back of the head).
    pruned = (opacity < config.prune_opacity) & (stats.count > 0)
    mean_grad = stats.grad2d / np.maximum(stats.count, 1)
    candidates = np.flatnonzero((mean_grad > config.grow_grad2d) & ~pruned)
    candidates = candidates[np.argsort(-mean_grad[candidates], kind="stable")]
    max_new = min(
        config.max_gaussians - len(table) + int(pruned.sum()),
        int(np.ceil(config.max_growth_ratio * len(table))),
    )
    max_new_dynamic += int((pruned & dynamic).sum())
    split = _limit_dynamic(candidates, dynamic, max_new_dynamic)[: max(max_new, 0)]
    kept = np.flatnonzero(~pruned & ~np.isin(np.arange(len(table)), split))
    halves = _split(table[split])
    sources = np.concatenate([kept, split, split])
    is_new = np.arange(len(sources)) >= len(kept)
    return DensificationResult(np.concatenate([table[kept], *halves]), sources, is_new)


def _limit_dynamic(candidates: Int64Array, dynamic: BoolArray, max_count: int) -> Int64Array:
    """Leave out dynamic candidates beyond the first `max_count`."""
    excess = np.cumsum(dynamic[candidates]) > max(max_count, 0)
    return candidates[~(excess & dynamic[candidates])]


def _split(rows: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Return two halves of each row: apart along the longest axis, together as large and opaque as it."""
    first, second = rows.copy(), rows.copy()
    if not len(rows):
        return first, second
    index, longest = np.arange(len(rows)), np.argmax(rows[:, LOG_SCALES], axis=1)
    size = np.exp(rows[index, 7 + longest])
    offset = matrices_from_quats(rows[:, QUATS])[index, :, longest] * (_SPLIT_OFFSET * size)[:, None]
    opacity = 1 / (1 + np.exp(-rows[:, OPACITY].astype(np.float64)))
    # Over the image two halves cover 2 scale a' - overlap a'^2 of what the whole did, which shall be a.
    half = (_SPLIT_SCALE - np.sqrt(_SPLIT_SCALE**2 - _SPLIT_OVERLAP * opacity)) / _SPLIT_OVERLAP
    half = np.clip(half, 1e-4, 0.99)
    for part, sign in ((first, 1), (second, -1)):
        part[:, MEANS] += np.float32(sign) * offset.astype(np.float32)
        part[index, 7 + longest] += np.float32(np.log(_SPLIT_SCALE))
        part[:, OPACITY] = np.log(half / (1 - half))
    return first, second


@dataclass(frozen=True, slots=True, eq=False)
class SurfaceSamples:
    """Points of one surface as the camera sees it."""

    positions: cKDTree  # [n, 2] x, y
    anchors: Float32Array  # [n, 2] depth, m, and logit of the skinning weight
    neighbors: int
    layer_distance_m: float  # between its layers; infinite where it has one

    def anchors_at(self, means: Float32Array) -> tuple[Float32Array, BoolArray]:
        """Return anchors [M, 2] of the layer nearest to means [M, 3], and whether there is one [M]."""
        distance, near = self.positions.query(means[:, :2], k=self.neighbors)
        layers = ((self.anchors[near, 0] - means[:, 2:]) / self.layer_distance_m) ** 2
        weights = np.exp(layers.min(axis=1, keepdims=True) - layers) / (distance + _MIN_NEIGHBOR_M)
        mean = (weights[..., None] * self.anchors[near]).sum(axis=1) / weights.sum(axis=1, keepdims=True)
        return mean.astype(np.float32), distance[:, 0] < _MAX_NEIGHBOR_M


@dataclass(frozen=True, slots=True, eq=False)
class SurfacePrior:
    """Depth and skinning weight of skin, hair and clothes of a person filmed from the front, by label.

    A few degrees of rotation hardly determine depths, nor what moves with the head and what with the chest,
    so Gaussians are drawn back to anchors. A Gaussian that moves along the image takes the anchor of its new
    place: from nose to cheek, or it is a spot in front of a turned face; from jaw to neck, or it hangs from a
    turned jaw as a strip.
    """

    surfaces: dict[int, SurfaceSamples]

    def labels_at(self, means: Float32Array, labels: UInt8Array) -> UInt8Array:
        """Return labels [N] of Gaussians at means [N, 3]: one that strayed to another surface joins it."""
        rows = np.flatnonzero(np.isin(labels, list(self.surfaces)))
        result = labels.copy()
        if len(rows):
            known = np.array(list(self.surfaces), np.uint8)
            distance = np.stack([s.positions.query(means[rows, :2])[0] for s in self.surfaces.values()])
            own = (known[:, None] == labels[rows]).argmax(axis=0)[None]
            own_distance = np.take_along_axis(distance, own, axis=0)[0]
            nearest = known[distance.argmin(axis=0)]
            result[rows] = np.where(own_distance > _REASSIGN_DISTANCE_M, nearest, labels[rows])
        return result

    def anchors_at(self, means: Float32Array, labels: UInt8Array, default: Float32Array) -> Float32Array:
        """Return depth and logit of the skinning weight [N, 2] at means [N, 3] of Gaussians of these labels.

        `default` [N, 2] holds where no surface of the label is.
        """
        result = default.copy()
        for label, surface in self.surfaces.items():
            rows = np.flatnonzero(labels == label)
            if len(rows):
                mean, known = surface.anchors_at(means[rows])
                result[rows[known]] = mean[known]
        return result


def surface_prior_from_points(points: Points | None) -> SurfacePrior:
    """Return the surfaces of the points that training starts from; none where there are no points."""
    surfaces: dict[int, SurfaceSamples] = {}
    if points is None:
        return SurfacePrior(surfaces)
    anchors = np.stack([points.means[:, 2], skin_logits(points.skinning_weight)], axis=1).astype(np.float32)
    for label in _SURFACES:
        of_label = points.labels == label
        neighbors = _NECK_NEIGHBORS if label == NECK else _SURFACE_NEIGHBORS
        layer_distance_m = _NECK_LAYER_DISTANCE_M if label == NECK else np.inf
        if of_label.sum() >= neighbors:
            positions = cKDTree(points.means[of_label, :2])
            surfaces[label] = SurfaceSamples(positions, anchors[of_label], neighbors, layer_distance_m)
    return SurfacePrior(surfaces)
