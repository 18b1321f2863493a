"""Who it is and how long the lens is: identity and focal length that explain chosen pictures together.

Bundle adjustment with the pictures' own unknowns eliminated (Schur complement; Triggs et al. 2000, sec. 6).
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from splatface.models.training.tracking.face_model import FACE_HEIGHT_M, FaceModel
from splatface.models.training.tracking.face_solve import (
    Lens,
    Poses,
    deform_landmarks,
    initial_poses,
    normal_equations,
    projected,
    updated,
)
from splatface.models.training.tracking.steady import outlier_weights
from splatface.models.typing import AnyArray

__all__ = ["PersonEstimate", "estimate_person", "select_diverse_frames"]


USUAL_DISTANCE_M: Final = 1.2
_DISTANCE_SPREAD = 0.2  # of its logarithm: what a head that hardly turns cannot say
_STEPS = 14
_OWN_AFTER = 3  # steps, when poses are about right
_OWN_TRUST = 4.0  # pictures that say that a person is as people are
_LARGEST_LOG_STEP = 0.25


@dataclass(frozen=True, slots=True, eq=False)
class PersonEstimate:
    """One person before one lens."""

    identity: AnyArray  # [I] standard deviations of people
    own_m: AnyArray  # [478, 3] what of the shape no identity explains
    lens: Lens

    def shape_m(self, model: FaceModel) -> AnyArray:
        """Landmarks [478, 3] at rest, canonical frame."""
        shape: AnyArray = model.person(self.identity) + self.own_m
        return shape


def select_diverse_frames(found_px: AnyArray, count: int) -> NDArray[np.int64]:
    """At most `count` rows of landmarks [F, 478, 2] that differ most (farthest first, Gonzalez 1985)."""
    some = found_px[:, ::8]
    some = some - some.mean(1, keepdims=True)
    some = (some / np.sqrt((some**2).sum((1, 2), keepdims=True))).reshape(len(some), -1)
    chosen = [int(np.argmin(((some - np.median(some, axis=0)) ** 2).sum(1)))]
    nearest = np.full(len(some), np.inf)
    while len(chosen) < min(count, len(some)):
        nearest = np.minimum(nearest, ((some - some[chosen[-1]]) ** 2).sum(1))
        nearest[chosen] = -1
        chosen.append(int(nearest.argmax()))
    return np.sort(np.array(chosen, np.int64))


def estimate_person(
    model: FaceModel, found_px: AnyArray, center_px: tuple[float, float], focal_px: float | None = None
) -> tuple[PersonEstimate, Poses]:
    """Identity, focal length and poses that explain landmarks [F, 478, 2] of one face.

    Args:
        model: faces.
        found_px: landmarks, all finite.
        center_px: where the camera's axis meets the picture.
        focal_px: the focal length where it is known; else it is estimated around that of a camera 1.2 m away.
    """
    height_px = float(np.median(np.linalg.norm(found_px[:, 10] - found_px[:, 152], axis=1)))
    usual_px = USUAL_DISTANCE_M * height_px / FACE_HEIGHT_M
    lens = Lens(focal_px or usual_px, center_px)
    person = PersonEstimate(np.zeros(model.identities), np.zeros_like(model.mean_m), lens)
    poses = initial_poses(model, person.shape_m(model), found_px, lens)
    stiffness = _DISTANCE_SPREAD**-2 if focal_px is None else 1e12
    prior = np.r_[np.ones(model.identities), stiffness]
    for step in range(_STEPS):
        off = np.r_[person.identity, np.log(person.lens.focal_px / (focal_px or usual_px))]
        person, poses = _stepped(model, person, poses, found_px, (prior, off))
        if step >= _OWN_AFTER:
            person = replace(person, own_m=person.own_m + _mean_residual(model, person, poses, found_px))
    return person, poses


def _stepped(
    model: FaceModel,
    person: PersonEstimate,
    poses: Poses,
    found_px: AnyArray,
    prior: tuple[AnyArray, AnyArray],
) -> tuple[PersonEstimate, Poses]:
    """One Gauss-Newton step of everything; the prior is (stiffness, how far off) of the shared unknowns."""
    trust = outlier_weights(_errors(model, person, poses, found_px))
    sums = normal_equations(model, person.shape_m(model), poses, found_px, person.lens, counts=trust)
    solved = np.linalg.solve(sums.own, np.concatenate([sums.own_right[..., None], sums.mixed], axis=2))
    counted = trust[:, None, None] * sums.mixed
    left = sums.shared - np.einsum("fus,fut->st", counted, solved[..., 1:]) + np.diag(prior[0])
    right = sums.shared_right - np.einsum("fus,fu->s", counted, solved[..., 0]) - prior[0] * prior[1]
    step = np.linalg.solve(left, right)
    step *= min(1.0, _LARGEST_LOG_STEP / max(abs(float(step[-1])), 1e-9))
    poses = updated(poses, solved[..., 0] - solved[..., 1:] @ step)
    focal = person.lens.focal_px * float(np.exp(step[-1]))
    lens = replace(person.lens, focal_px=focal)
    return replace(person, identity=person.identity + step[:-1], lens=lens), poses


def _mean_residual(model: FaceModel, person: PersonEstimate, poses: Poses, found_px: AnyArray) -> AnyArray:
    """What all pictures miss alike [478, 3], in the head's frame, m, a little less than it is."""
    px, seen = projected(deform_landmarks(model, person.shape_m(model), poses), poses, person.lens)
    flat = np.zeros_like(seen)
    flat[..., :2] = (found_px - px) * seen[..., 2:] / person.lens.focal_px
    trust = outlier_weights(_errors(model, person, poses, found_px))
    missed: AnyArray = np.average(flat @ poses.rotations, axis=0, weights=trust)
    count = trust.sum()
    return np.asarray(missed * count / (count + _OWN_TRUST))


def _errors(model: FaceModel, person: PersonEstimate, poses: Poses, found_px: AnyArray) -> AnyArray:
    """Distance [F] of landmarks from the model, rms px."""
    px, _ = projected(deform_landmarks(model, person.shape_m(model), poses), poses, person.lens)
    rms: AnyArray = np.sqrt(((px - found_px) ** 2).sum(2).mean(1))
    return rms
