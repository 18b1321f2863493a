"""Eyebrows: a path over each eye, hair that lies along it, and the shade beneath."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from splatface.models.training.synthetic.identity import Looks
from splatface.models.training.synthetic.looks.marks import FaceMeasurements
from splatface.models.training.synthetic.looks.numbers import coordinates, smoothstep
from splatface.models.typing import AnyArray

__all__ = ["BrowPath", "brow_cover", "brow_paths"]


@dataclass(frozen=True, eq=False)
class BrowPath:
    """The middle line of a brow from the nose outwards, N points in the frontal plane."""

    side: float  # +1 picture's right
    across: AnyArray  # [N] m
    up: AnyArray  # [N] m
    half_width: AnyArray  # [N] m


def brow_paths(marks: FaceMeasurements, looks: Looks) -> tuple[BrowPath, BrowPath]:
    """The two brows: a straight rise over two thirds of the eye, then a taper."""
    t = np.linspace(0, 1, 48)
    eye = abs(float(marks.eyes[0][0]))
    scale = marks.eye_radius / 0.0162
    height = 0.0185 * scale
    arch = 0.0052 * np.sin(np.pi * np.clip(t / 1.30, 0, 1)) - 0.0050 * np.clip(t - 0.62, 0, 1) / 0.38
    width = np.interp(t, [0, 0.10, 0.35, 0.65, 1], [0.0030, 0.0040, 0.0039, 0.0029, 0.0014])
    across = eye - 0.0180 * scale + 0.0430 * scale * t
    paths = [
        BrowPath(side, side * across, height + arch, width * looks.brow_thickness) for side in (1.0, -1.0)
    ]
    return paths[0], paths[1]


def brow_cover(points: AnyArray, marks: FaceMeasurements, looks: Looks) -> AnyArray:
    """How much [P] 0..1 a point of the face lies under a brow."""
    across, back, up = coordinates(points)
    cover = np.zeros(len(points))
    near = np.flatnonzero((back < 0.05) & (up > 0) & (up < 0.05) & (np.abs(across) < 0.08))
    for path in brow_paths(marks, looks):
        tree = cKDTree(np.stack([path.across, path.up], 1))
        distance, nearest = tree.query(np.stack([across[near], up[near]], 1))
        cover[near] += 1 - smoothstep(0.2, 1.5, distance / path.half_width[nearest])
    return np.clip(cover, 0, 1)
