# SPDX-License-Identifier: Apache-2.0
"""Which point of the skin each landmark means: the one that stays nearest to it over all pictures."""

from pathlib import Path
from typing import Any

import numpy as np
from corpus import shown_of
from numpy.typing import NDArray
from people import person
from shapes import skin_matrix, vertices_of

from splatface.models.training.synthetic import rig as door
from splatface.models.typing import AnyArray

__all__ = ["FACE_LANDMARKS", "attach", "scenes_of"]


FACE_LANDMARKS = 468
_CAP = 0.02  # of the face's height: what is hidden or lost counts no more
_EVERY = 4  # pictures are enough of each person
_DOWN_M, _BACK_M = 0.16, 0.12  # the face ends here


def scenes_of(folder: Path, seeds: list[int], every: int = 1) -> Any:
    """(rig, shown, picture's number) of pictures where a face was found, or of every so-manieth of them."""
    for seed in seeds:
        shown, rig = shown_of(folder, seed), door.load_rig(person(seed).shape)
        for number in range(0, len(shown.motion), every):
            if np.isfinite(shown.landmarks_px[number]).all():
                yield rig, shown, number


def attach(folder: Path, seeds: list[int]) -> Any:
    """Return matrix [468, V] from control vertices to landmarks."""
    matrix, _, rest = skin_matrix()
    near = np.flatnonzero((rest[:, 2] < _BACK_M) & (rest[:, 1] < _DOWN_M) & (rest[:, 1] > -0.13))
    near = near[(np.abs(rest[near, 0]) < 0.085)]
    candidates = matrix[near]
    cost = np.zeros((FACE_LANDMARKS, len(near)), np.float32)
    for rig, shown, number in scenes_of(folder, seeds, every=_EVERY):
        vertices, _ = vertices_of(rig, shown.motion[number], shown.poses[number])
        seen = candidates @ vertices + shown.cameras[number, 3:]
        px = shown.cameras[number, 0] * seen[:, :2] / seen[:, 2:] + shown.cameras[number, 1:3]
        found = shown.landmarks_px[number, :FACE_LANDMARKS, :2]
        height = np.linalg.norm(found[10] - found[152])
        away = _distances(found / height, px / height)
        # The side of the head that is turned away is hidden behind itself: nearer points win ties.
        depth = (seen[:, 2] - seen[:, 2].min()) / 0.2
        cost += np.minimum(away, _CAP) + np.float32(2e-4) * depth.astype(np.float32)
    return candidates[cost.argmin(1)]


def _distances(a: AnyArray, b: AnyArray) -> NDArray[np.float32]:
    a, b = a.astype(np.float32), b.astype(np.float32)
    middle = a.mean(0)
    a, b = a - middle, b - middle
    squared = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    distances: NDArray[np.float32] = np.sqrt(np.maximum(squared, 0))
    return distances
