"""Depth and bone of the skin, hair and clothes of a person who was only filmed from the front.

A few degrees of turning hardly tell depths, nor what goes with the head and what stays with the chest, so
Gaussians are drawn back to what they were born with. That would do if they stayed where they were born: what
wanders from the nose to the cheek must go back with it, or it is a spot before the face of a turned head, and
what wanders from the jaw to the neck must be neck, or it hangs from a turned jaw as a strip.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from splatface.models.training.dataset.types import FACE, HAIR, LIPS, NECK, TORSO, Points
from splatface.models.training.optimization.packed import skin_logits
from splatface.models.typing import Float32Array

__all__ = ["Surface", "SurfacePrior", "surface_prior_from_points"]


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
