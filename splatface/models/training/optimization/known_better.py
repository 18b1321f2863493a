"""A data set as refined poses, lens and motion tell it: by its landmarks, then by its pictures."""

from splatface.models.camera import Camera
from splatface.models.training.dataset.body_poses import with_motion_offset, with_poses
from splatface.models.training.dataset.types import Dataset
from splatface.models.training.tracking.refollow import refit_motion_with_poses
from splatface.models.typing import Float64Array

__all__ = ["with_refined_motion", "with_refined_poses"]


def with_refined_poses(
    dataset: Dataset, T_world_head: Float64Array, T_world_torso: Float64Array, camera: Camera
) -> Dataset:
    """The data set with refined poses [F, 4, 4] and lens, and the motion that its landmarks tell with them.

    Raises:
        TrackingError: when what tracking kept is damaged.
    """
    return refit_motion_with_poses(dataset, with_poses(dataset, T_world_head, T_world_torso, camera))


def with_refined_motion(told: Dataset, motion: Float64Array) -> Dataset:
    """What `told_by_landmarks` gave, with what the pictures add to its motion [F, 16]."""
    return with_motion_offset(told, motion, told.frames.time_ns)
