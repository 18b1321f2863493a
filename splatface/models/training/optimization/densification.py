"""x"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
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
from splatface.models.typing import Float32Array

__all__ = [
    "DensificationResult",
    "DensificationStats",
    "Surface",
    "SurfacePrior",
    "densify_and_prune",
    "surface_prior_from_points",
    "zero_densification_stats",
]

_APART = 0.45  # distance of the halves from the middle, in standard deviations
_SHRUNK = float(np.sqrt(1 - _APART**2))  # keeps the variance along the axis
_SHARED = 0.5 * _SHRUNK * float(np.exp(-((_APART / _SHRUNK) ** 2)))  # overlap of the halves


@dataclass(frozen=True, slots=True, eq=False)
class DensificationStats:
    """How hard the pictures pulled at each Gaussian since the last parting."""

    grads: Float32Array  # [N] sum of |dL/d(center)|, per half picture width
    count: Float32Array  # [N] pictures in which it was drawn

    def add(self, centers: Float32Array, width: int) -> None:
        """Count one picture: slopes of the centers [N, 2] per px in a picture this wide."""
        length = np.hypot(centers[:, 0], centers[:, 1])
        self.grads[...] += length * np.float32(width / 2)
        self.count[...] += length > 0


def zero_densification_stats(count: int) -> DensificationStats:
    """Before the first picture."""
    return DensificationStats(np.zeros(count, np.float32), np.zeros(count, np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class DensificationResult:
    """A table after parting and pruning."""

    table: Float32Array  # [N', W]
    sources: NDArray[np.int64]  # [N'] row of the old table that each came from
    fresh: NDArray[np.bool_]  # [N'] halves: their moments start anew


def densify_and_prune(
    table: Float32Array,
    pull: DensificationStats,
    movable: NDArray[np.bool_],
    room: int,
    config: DensifyConfig,
) -> DensificationResult:
    """Prune what is faint, part what is pulled at.

    Args:
        table: [N, W], see packed.py.
        pull: since the last time.
        movable: [N] Gaussians that a field with a limited number of rows moves.
        room: rows that such a field still has.
    """
    opacity = 1 / (1 + np.exp(-table[:, OPACITY]))
    # The unseen are not faint: nothing has told them anything (they close the back of the head).
    faint = (opacity < config.prune_opacity) & (pull.count > 0)
    mean = pull.grads / np.maximum(pull.count, 1)
    wanted = np.flatnonzero((mean > config.grow_grad2d) & ~faint)
    wanted = wanted[np.argsort(-mean[wanted], kind="stable")]
    most = min(
        config.max_gaussians - len(table) + int(faint.sum()),
        int(np.ceil(config.max_growth_ratio * len(table))),
    )
    chosen = _within_room(wanted, movable, room + int((faint & movable).sum()))[: max(most, 0)]
    stays = np.flatnonzero(~faint & ~np.isin(np.arange(len(table)), chosen))
    halves = _split(table[chosen])
    sources = np.concatenate([stays, chosen, chosen])
    fresh = np.arange(len(sources)) >= len(stays)
    return DensificationResult(np.concatenate([table[stays], *halves]), sources, fresh)


def _within_room(wanted: NDArray[np.int64], movable: NDArray[np.bool_], room: int) -> NDArray[np.int64]:
    """Leave out the movable ones beyond the room."""
    over = np.cumsum(movable[wanted]) > max(room, 0)
    return wanted[~(over & movable[wanted])]


def _split(rows: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Two rows for each: apart along the longest axis, together as large and as opaque as before."""
    first, second = rows.copy(), rows.copy()
    if not len(rows):
        return first, second
    at, longest = np.arange(len(rows)), np.argmax(rows[:, LOG_SCALES], axis=1)
    size = np.exp(rows[at, 7 + longest])
    way = matrices_from_quats(rows[:, QUATS])[at, :, longest] * (_APART * size)[:, None]
    opacity = 1 / (1 + np.exp(-rows[:, OPACITY].astype(np.float64)))
    # Over the picture two halves cover 2 shrunk a' - shared a'^2 of what the whole did, which shall be a.
    half = (_SHRUNK - np.sqrt(_SHRUNK**2 - _SHARED * opacity)) / _SHARED
    half = np.clip(half, 1e-4, 0.99)
    for part, side in ((first, 1), (second, -1)):
        part[:, MEANS] += np.float32(side) * way.astype(np.float32)
        part[at, 7 + longest] += np.float32(np.log(_SHRUNK))
        part[:, OPACITY] = np.log(half / (1 - half))
    return first, second


_SURFACES = (TORSO, NECK, HAIR, FACE, LIPS)  # the mouth goes on behind lips
_ONE_LAYER = (4, np.inf)  # how many neighbors are asked, and how far apart layers are, m
_LAYERED = {NECK: (12, 0.01)}  # it goes on behind the jaw
_NEAR_M, _LOST_M = 0.001, 0.01  # neighbors nearer count alike; farther from all of them nothing is known
_REASSIGN_DISTANCE_M = 0.003  # from its own surface, where another is nearer


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """Points of a surface as the camera sees it."""

    places: cKDTree  # [n, 2]
    anchors: Float32Array  # [n, 2] depth, m, and skin logit
    neighbors: int
    layers_m: float  # how far apart its layers are; infinite where it has one

    def at(self, means: Float32Array) -> tuple[Float32Array, NDArray[np.bool_]]:
        """Anchors [M, 2] at places [M, 3], of the layer nearest to them, and whether there is one [M]."""
        away, near = self.places.query(means[:, :2], k=self.neighbors)
        layers = ((self.anchors[near, 0] - means[:, 2:]) / self.layers_m) ** 2
        weights = np.exp(layers.min(axis=1, keepdims=True) - layers) / (away + _NEAR_M)
        mean = (weights[..., None] * self.anchors[near]).sum(axis=1) / weights.sum(axis=1, keepdims=True)
        return mean.astype(np.float32), away[:, 0] < _LOST_M


@dataclass(frozen=True, slots=True, eq=False)
class SurfacePrior:
    """Where surfaces lie, by their label."""

    surfaces: dict[int, Surface]

    def labels(self, means: Float32Array, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Labels [N] of Gaussians at places [N, 3]: what strayed to another surface belongs to that one."""
        rows = np.flatnonzero(np.isin(labels, list(self.surfaces)))
        found = labels.copy()
        if len(rows):
            names = np.array(list(self.surfaces), np.uint8)
            away = np.stack([s.places.query(means[rows, :2])[0] for s in self.surfaces.values()])
            own = np.take_along_axis(away, (names[:, None] == labels[rows]).argmax(axis=0)[None], axis=0)[0]
            found[rows] = np.where(own > _REASSIGN_DISTANCE_M, names[away.argmin(axis=0)], labels[rows])
        return found

    def anchors(
        self, means: Float32Array, labels: NDArray[np.uint8], otherwise: Float32Array
    ) -> Float32Array:
        """Depth and skin logit [N, 2] at places [N, 3] of Gaussians of these labels.

        `otherwise` [N, 2] holds where no surface of the label is.
        """
        found = otherwise.copy()
        for label, surface in self.surfaces.items():
            rows = np.flatnonzero(labels == label)
            if len(rows):
                mean, known = surface.at(means[rows])
                found[rows[known]] = mean[known]
        return found


def surface_prior_from_points(points: Points | None) -> SurfacePrior:
    """The surfaces of the points that training starts from; none where there are no points."""
    surfaces: dict[int, Surface] = {}
    if points is None:
        return SurfacePrior(surfaces)
    anchors = np.stack([points.means[:, 2], skin_logits(points.skin)], axis=1).astype(np.float32)
    for label in _SURFACES:
        rows = points.labels == label
        how = _LAYERED.get(label, _ONE_LAYER)
        if rows.sum() >= how[0]:
            surfaces[label] = Surface(cKDTree(points.means[rows, :2]), anchors[rows], *how)
    return SurfacePrior(surfaces)
