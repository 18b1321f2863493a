"""What a data set saw of a person's pose: how far the head went, and how the torso followed."""

import numpy as np
from numpy.typing import NDArray

from splatface.models.head.head import MotionLimits, PoseLimits
from splatface.models.rotations import CANONICAL_REP103, rep103_angles
from splatface.models.training.dataset.types import TEST, Dataset
from splatface.models.typing import Float64Array

__all__ = [
    "bone_pose_parameters",
    "fit_torso_follow_ratio",
    "motion_limits_from_dataset",
    "pose_limits_from_dataset",
]


_MOTION_TAIL = 0.2  # %: closures and wide vowels are rare and yet seen
_LARGEST_RAD = 1.2
_LEAST_M = 0.02  # a head on a tripod may still sway this much
_FOLLOW = (0.25, 0.5)  # the share where the head did not move enough to tell


def bone_pose_parameters(
    T_world_bone: Float64Array, pivot_m: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """Angles [F, 3] (yaw, pitch, roll; REP 103) and shifts [F, 3] (REP 103, m) of a bone about a pivot.

    The inverse of `bones_of`: T = shift, after a turn about the pivot.
    """
    pivot = np.asarray(pivot_m, np.float64)
    angles = np.array([rep103_angles(T[:3, :3]) for T in T_world_bone]).reshape(-1, 3)
    shifts = [CANONICAL_REP103.T @ (T[:3, 3] - pivot + T[:3, :3] @ pivot) for T in T_world_bone]
    return angles, np.array(shifts).reshape(-1, 3)


def pose_limits_from_dataset(dataset: Dataset) -> PoseLimits:
    """The poses that the pictures trained on cover; TEST pictures do not count.

    The lowest and highest of 100 are left out where there are many: one bad frame sets no limit.
    """
    known = (dataset.frames.split != TEST) & np.isfinite(dataset.frames.T_world_head).all(axis=(1, 2))
    if not known.any():
        return PoseLimits()
    angles, shifts = bone_pose_parameters(dataset.frames.T_world_head[known], dataset.pivot_m)
    tail = 1.0 if len(angles) >= 200 else 0.0
    low, high = np.percentile(angles, (tail, 100 - tail), axis=0).clip(-_LARGEST_RAD, _LARGEST_RAD)
    pairs = [(min(float(a), 0.0), max(float(b), 0.0)) for a, b in zip(low, high, strict=True)]
    far = float(np.percentile(np.abs(shifts).max(axis=1), 100 - tail))
    return PoseLimits(
        yaw_rad=pairs[0],
        pitch_rad=pairs[1],
        roll_rad=pairs[2],
        translation_m=round(max(far, _LEAST_M), 4),
        margin_rad=0.05,
    )


def motion_limits_from_dataset(dataset: Dataset) -> MotionLimits:
    """How far mouth modes and controls go in the pictures trained on; TEST pictures do not count.

    The farthest of 500 are left out: one bad frame sets no limit.
    """
    frames = dataset.frames
    mouth, controls = (_ranges(x[frames.split != TEST]) for x in (frames.mouth, frames.controls))
    usual = MotionLimits()
    return MotionLimits(mouth or usual.mouth, controls or usual.controls)


def _ranges(values: NDArray[np.float32]) -> tuple[tuple[float, float], ...]:
    """Lowest and highest of each column [F, n], 0 between them; none where no row is known."""
    known = values[np.isfinite(values).all(axis=1)]
    if not len(known):
        return ()
    low, high = np.percentile(known, (_MOTION_TAIL, 100 - _MOTION_TAIL), axis=0)
    return tuple(
        (round(min(float(a), 0.0), 4), round(max(float(b), 0.0), 4)) for a, b in zip(low, high, strict=True)
    )


def fit_torso_follow_ratio(dataset: Dataset) -> tuple[float, float]:
    """Which share 0..1 of the head's angles and of its shift the torso takes over, by least squares.

    Means are taken out first: how the torso sits is the canonical pose's business.
    """
    track = dataset.motion
    known = np.isfinite(track.T_world_head).all(axis=(1, 2)) & np.isfinite(track.T_world_torso).all(
        axis=(1, 2)
    )
    if known.sum() < 2:
        return _FOLLOW
    head = bone_pose_parameters(track.T_world_head[known], dataset.pivot_m)
    torso = bone_pose_parameters(track.T_world_torso[known], dataset.pivot_m)
    shares = []
    for a, b, enough, otherwise in zip(head, torso, (0.01, 0.001), _FOLLOW, strict=True):
        a, b = a - a.mean(axis=0), b - b.mean(axis=0)
        square = float((a * a).sum())
        moved = np.sqrt(square / len(a)) > enough
        shares.append(float(np.clip((a * b).sum() / square, 0.0, 1.0)) if moved else otherwise)
    return round(shares[0], 3), round(shares[1], 3)
