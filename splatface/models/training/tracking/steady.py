"""Poses of a clip made steady: doubtful pictures count little, and a head hangs on a neck."""

from dataclasses import replace
from typing import Final

import numpy as np
from scipy.spatial.transform import Rotation

from splatface.models.training.dataset.body_poses import neck_joint
from splatface.models.training.tracking.calm import SampleWeights, smooth_trajectories
from splatface.models.training.tracking.face_solve import Poses
from splatface.models.typing import AnyArray

__all__ = ["interpolate_gaps", "outlier_weights", "smooth_poses"]


_TURN_ERROR: Final = np.radians([0.3, 0.2, 0.125])
_PLACE_ERROR_M: Final = np.array([0.00015, 0.00015])
_DEPTH_ERROR: Final = 0.002  # of the distance: a face seems larger when it speaks
_JUMP = 4.0  # of these errors, at which a depth counts a quarter


def outlier_weights(error: AnyArray) -> AnyArray:
    """How much each of F pictures counts, 0..1, from its error [F]: 1 up to the median, 1/4 at twice it."""
    usual = max(float(np.median(error)), 1e-9)
    trust: AnyArray = 1 / (1 + np.maximum(error / usual - 1, 0) ** 2) ** 2
    return trust


def smooth_poses(poses: Poses, trail: SampleWeights) -> Poses:
    """Poses [F] as the head went.

    Turns are calmed by themselves; of places that of the neck's joint, which hardly comes nearer or goes
    while the head turns about it.
    """
    turns = Rotation.from_matrix(poses.rotations)
    middle = turns.mean(np.maximum(trail.weight, 1e-6))
    vectors = (middle.inv() * turns).as_rotvec()
    still = middle * Rotation.from_rotvec(smooth_trajectories(vectors, _TURN_ERROR, trail))
    T = np.tile(np.eye(4), (len(poses), 1, 1))
    T[:, :3, :3], T[:, :3, 3] = (middle.inv() * turns).as_matrix(), middle.inv().apply(poses.translations_m)
    joint = neck_joint(T[trail.weight > 0.2])
    necks = poses.translations_m + turns.apply(joint)
    error = np.r_[_PLACE_ERROR_M, _DEPTH_ERROR * float(np.median(poses.translations_m[:, 2]))]
    places = smooth_trajectories(necks, error, trail)
    # A face that seems to jump nearer is a mistake: heads take their time on this way.
    jumps = np.abs(necks[:, 2] - places[:, 2]) / (_JUMP * error[2])
    doubtful = replace(trail, weight=trail.weight / (1 + jumps**2) ** 2)
    places[:, 2:] = smooth_trajectories(necks[:, 2:], error[2:], doubtful)
    return Poses(still.as_matrix(), places - still.apply(joint), poses.motion)


def interpolate_gaps(values: AnyArray, trust: AnyArray, least: float = 0.25) -> AnyArray:
    """Tracks [F, C] with straight lines over moments that are trusted [F] less than `least`."""
    good = trust >= least
    if good.all() or not good.any():
        return values
    moments = np.arange(len(values))
    columns = [np.interp(moments, moments[good], values[good, c]) for c in range(values.shape[1])]
    return np.stack(columns, axis=1)
