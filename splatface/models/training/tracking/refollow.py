"""What the mouth does once it is better known where the head is.

A mode takes up what a wrong pose leaves of the lips; with the pose put right that mode would say it twice.
"""

import numpy as np
from numpy.typing import NDArray

from splatface.models.training.dataset.body_poses import with_motion_offset
from splatface.models.training.dataset.types import Dataset
from splatface.models.training.tracking.face_model import EYE_CHANNELS, load_face_model
from splatface.models.training.tracking.fitted import TrackingResult, poses_and_intrinsics, read_fitted
from splatface.models.training.tracking.motion import fit_motion_coefficients
from splatface.models.typing import AnyArray

__all__ = ["refit_motion_with_poses"]


def refit_motion_with_poses(tracked: Dataset, reposed: Dataset) -> Dataset:
    """`reposed`, which is `tracked` with other poses and another lens, with the motion that they ask for.

    What the landmarks' modes change by from the one to the other is added to the tracked motion, linear in
    time between pictures. A data set that was not tracked here has nothing to add.

    Raises:
        TrackingError: when what tracking kept is damaged.
    """
    fitted = read_fitted(tracked)
    found = _all_finite(tracked.frames.landmarks_px)
    for dataset in (tracked, reposed):
        found = found & _all_finite(dataset.frames.T_world_head)
    if fitted is None or not found.any():
        return reposed
    change = _weights(reposed, fitted, found) - _weights(tracked, fitted, found)
    return with_motion_offset(reposed, change, reposed.frames.time_ns[found])


def _all_finite(rows: AnyArray) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(rows).all(axis=(1, 2)))


def _weights(dataset: Dataset, fitted: TrackingResult, found: NDArray[np.bool_]) -> AnyArray:
    """Modes and controls [n, 16] of pictures whose landmarks were found, eyes left out, not smoothed."""
    poses, lens = poses_and_intrinsics(dataset.camera, dataset.frames, found)
    px = dataset.frames.landmarks_px[found].astype(np.float64)
    weights = fit_motion_coefficients(load_face_model(), fitted.shape_m.astype(np.float64), poses, px, lens)
    weights[:, EYE_CHANNELS] = 0  # found by themselves, see `motion_of`
    return weights
