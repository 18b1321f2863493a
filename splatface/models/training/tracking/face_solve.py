"""Least squares of a face model to landmarks, many pictures at once: what one picture says about everything.

Gauss-Newton with priors. Landmarks of one picture err together in a few ways that the model knows (slips):
they are unknowns of their own: generalised least squares with a covariance of low rank plus diagonal.
"""

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from scipy.spatial.transform import Rotation

from splatface.models.head.head import MOTION_SIZE
from splatface.models.training.tracking.face_model import FACE_HEIGHT_M, FaceModel, view_terms
from splatface.models.typing import AnyArray

__all__ = [
    "Lens",
    "NormalEquations",
    "Poses",
    "deform_landmarks",
    "initial_poses",
    "normal_equations",
    "own_sums_of",
    "projected",
    "updated",
]


TRUST: Final = 0.1  # of a landmark's squared error: what remains beside slips is not quite independent
# Where each of MOUTH_MODES + CONTROLS ends; gaze in radians.
_LEAST: Final = np.array([-0.15] * 8 + [-0.15, -0.15, -0.6, -0.45, -0.1, -0.1, -0.1, -1.2])
_MOST: Final = np.array([1.3] * 8 + [1.15, 1.15, 0.6, 0.45, 1.2, 1.2, 1.2, 1.2])
_RIGID: Final = 6
_STUCK: Final = 1e9  # stiffness of a motion that stands at its end


@dataclass(frozen=True, slots=True)
class Lens:
    """A pinhole with square pixels."""

    focal_px: float
    center_px: tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Poses:
    """Where the head is and what the face does in F pictures, seen from the camera."""

    rotations: AnyArray  # [F, 3, 3] R_camera_head
    translations_m: AnyArray  # [F, 3]
    motion: AnyArray  # [F, 16] MOUTH_MODES + CONTROLS

    def __len__(self) -> int:
        return len(self.rotations)

    def rows(self, which: Any) -> "Poses":
        """Some of the pictures."""
        return Poses(self.rotations[which], self.translations_m[which], self.motion[which])


@dataclass(frozen=True, slots=True, eq=False)
class NormalEquations:
    """Normal equations of F pictures: their own 22 unknowns (turn, place, motion) and S shared ones."""

    own: AnyArray  # [F, 22, 22]
    mixed: AnyArray  # [F, 22, S]
    shared: AnyArray  # [S, S]
    own_right: AnyArray  # [F, 22]
    shared_right: AnyArray  # [S]


def deform_landmarks(model: FaceModel, person: AnyArray, poses: Poses) -> AnyArray:
    """Landmarks [F, 478, 3] in the head's frame: a person [478, 3] who moves, as the tracker sees it."""
    views = view_terms(poses.rotations, poses.translations_m)
    count = len(poses)
    shift = poses.motion @ model.motion_m.reshape(MOTION_SIZE, -1)
    shift += views @ model.view_m.reshape(views.shape[1], -1)
    points: AnyArray = person + shift.reshape(count, -1, 3)
    return points


def projected(points_head: AnyArray, poses: Poses, lens: Lens) -> tuple[AnyArray, AnyArray]:
    """Landmarks [F, 478, 2] px and [F, 478, 3] in the camera's frame."""
    seen = points_head @ poses.rotations.transpose(0, 2, 1) + poses.translations_m[:, None]
    px: AnyArray = lens.focal_px * seen[..., :2] / seen[..., 2:] + np.asarray(lens.center_px)
    return px, seen


def initial_poses(model: FaceModel, person: AnyArray, found_px: AnyArray, lens: Lens) -> Poses:
    """Poses of faces at rest by weak perspective (POS, DeMenthon and Davis 1995), a picture at a time."""
    middle = person.mean(0)
    flat = found_px - found_px.mean(1, keepdims=True)
    affine = np.linalg.pinv(person - middle) @ flat  # [F, 3, 2]
    scale = np.sqrt(np.linalg.norm(affine[..., 0], axis=1) * np.linalg.norm(affine[..., 1], axis=1))
    rows = affine.transpose(0, 2, 1) / scale[:, None, None]
    rows = np.concatenate([rows, np.cross(rows[:, 0], rows[:, 1])[:, None]], axis=1)
    left, _, right = np.linalg.svd(rows)
    turns = left @ right
    depth = lens.focal_px / scale
    center = (found_px.mean(1) - np.asarray(lens.center_px)) * (depth / lens.focal_px)[:, None]
    places = np.c_[center, depth] - turns @ middle
    return Poses(turns, places, np.zeros((len(found_px), MOTION_SIZE)))


def normal_equations(
    model: FaceModel,
    person: AnyArray,
    poses: Poses,
    found_px: AnyArray,
    lens: Lens,
    *,
    trust: float = TRUST,
    counts: AnyArray | None = None,
) -> NormalEquations:
    """The normal equations at a guess; shared unknowns are the identity [I] and the log of the focal length.

    The prior of the motion is in them, that of the shared unknowns is not. `trust` is the weight of a
    landmark's squared error, `counts` [F] how much each picture says about what is shared.
    """
    points = deform_landmarks(model, person, poses)
    px, seen = projected(points, poses, lens)
    slopes = _projection_jacobian(seen, lens)  # [F, 478, 2, 3] by place
    turned = slopes @ poses.rotations[:, None]  # by a place in the head's frame
    arms = points @ poses.rotations.transpose(0, 2, 1)
    own, identities = _RIGID + MOTION_SIZE, model.identities
    columns = np.empty((*px.shape, own + identities + 2))
    for axis in range(3):
        columns[..., axis] = np.einsum("fjab,fjb->fja", slopes, np.cross(np.eye(3)[axis], arms))
    columns[..., 3:_RIGID] = slopes
    ways = np.concatenate([model.motion_m, model.identity_m]).transpose(1, 2, 0)  # [478, 3, 16 + I]
    columns[..., _RIGID:-2] = turned @ ways
    columns[..., -2] = px - np.asarray(lens.center_px)
    columns[..., -1] = found_px - px
    # In noises; a landmark's noise is a share of the face's size in the picture.
    noise_m = model.noise * FACE_HEIGHT_M / np.sqrt(trust)
    columns *= (poses.translations_m[:, 2, None] / (lens.focal_px * noise_m))[..., None, None]
    slips = model.detector_error_modes_m / noise_m[:, None]
    counted = np.ones(len(px)) if counts is None else counts
    columns = columns.reshape(len(px), -1, columns.shape[-1])
    sums = _summed(columns, slips.reshape(len(slips), -1), own, counted)
    return _with_habits(sums, np.linalg.inv(model.motion_covariance), poses.motion)


def own_sums_of(
    model: FaceModel, person: AnyArray, poses: Poses, found_px: AnyArray, lens: Lens, *, trust: float = TRUST
) -> tuple[AnyArray, AnyArray]:
    """Only the pictures' own part of `sums_of`: [F, 22, 22] and [F, 22]."""
    nobody = replace(model, identity_m=model.identity_m[:0])
    sums = normal_equations(nobody, person, poses, found_px, lens, trust=trust)
    return sums.own, sums.own_right


def updated(poses: Poses, step: AnyArray) -> Poses:
    """Poses after a step [F, 22]: turn (rotation vector in the camera's frame), place, motion."""
    turns = Rotation.from_rotvec(step[:, :3]).as_matrix() @ poses.rotations
    motion = np.clip(poses.motion + step[:, _RIGID:], _LEAST, _MOST)
    return Poses(turns, poses.translations_m + step[:, 3:_RIGID], motion)


def _projection_jacobian(seen: AnyArray, lens: Lens) -> AnyArray:
    near = lens.focal_px / seen[..., 2]
    slopes = np.zeros((*seen.shape[:2], 2, 3))
    slopes[..., 0, 0] = slopes[..., 1, 1] = near
    slopes[..., 2] = -near[..., None] * seen[..., :2] / seen[..., 2:]
    return slopes


def _summed(columns: AnyArray, slips: AnyArray, own: int, counts: AnyArray) -> NormalEquations:
    """Normal equations of columns [F, 956, own + shared + 1] (the last is the error), slips [E, 956] free.

    Slips have unit spread; eliminating them (Woodbury) leaves what they cannot explain.
    """
    # One by one: BLAS knows that x'x is symmetric, a batched product does not use BLAS at all.
    square = np.stack([each.T @ each for each in columns])
    by_slips = slips @ columns
    free = np.linalg.inv(np.eye(len(slips)) + slips @ slips.T)
    square -= by_slips.transpose(0, 2, 1) @ (free @ by_slips)
    return NormalEquations(
        own=square[:, :own, :own],
        mixed=square[:, :own, own:-1],
        shared=np.tensordot(counts, square[:, own:-1, own:-1], 1),
        own_right=square[:, :own, -1],
        shared_right=counts @ square[:, own:-1, -1],
    )


def _with_habits(sums: NormalEquations, stiffness: AnyArray, motion: AnyArray) -> NormalEquations:
    """Sums with the prior of the motion [F, 16]: how faces move (stiffness [16, 16]) and where that ends."""
    own, right = sums.own.copy(), sums.own_right.copy()
    own[:, _RIGID:, _RIGID:] += stiffness
    right[:, _RIGID:] -= motion @ stiffness
    # What stands at its end and is pulled further stays there.
    pull = right[:, _RIGID:]
    diagonal = np.arange(_RIGID, own.shape[1])
    stuck = ((motion <= _LEAST) & (pull < 0)) | ((motion >= _MOST) & (pull > 0))
    own[:, diagonal, diagonal] += _STUCK * stuck
    return replace(sums, own=own, own_right=right)
