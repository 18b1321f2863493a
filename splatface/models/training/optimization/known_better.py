"""A data set as refined poses, lens and motion tell it: by its landmarks, then by its pictures."""

import numpy as np
from numpy.typing import NDArray

from splatface.models.camera import Camera
from splatface.models.training.dataset.refine import remotioned, reposed
from splatface.models.training.dataset.types import Dataset
from splatface.models.training.tracking.refollow import refollowed

__all__ = ["told_by_landmarks", "told_by_pictures"]

Doubles = NDArray[np.float64]


def told_by_landmarks(
    dataset: Dataset, T_world_head: Doubles, T_world_torso: Doubles, camera: Camera
) -> Dataset:
    """The data set with refined poses [F, 4, 4] and lens, and the motion that its landmarks tell with them.

    Raises:
        TrackingError: when what tracking kept is damaged.
    """
    return refollowed(dataset, reposed(dataset, T_world_head, T_world_torso, camera))


def told_by_pictures(told: Dataset, motion: Doubles) -> Dataset:
    """What `told_by_landmarks` gave, with what the pictures add to its motion [F, 16]."""
    return remotioned(told, motion, told.frames.time_ns)
