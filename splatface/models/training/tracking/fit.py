"""From landmarks of a clip to who moves how: camera, identity, head poses, mouth and eyes."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES
from splatface.models.camera import Camera
from splatface.models.errors import TrackingError
from splatface.models.training.dataset.body_poses import neck_joint
from splatface.models.training.tracking.calm import SampleWeights
from splatface.models.training.tracking.camera_estimate import (
    PersonEstimate,
    estimate_person,
    select_diverse_frames,
)
from splatface.models.training.tracking.face_model import FACE_HEIGHT_M, FaceModel, load_face_model
from splatface.models.training.tracking.face_solve import (
    Poses,
    deform_landmarks,
    initial_poses,
    own_sums_of,
    projected,
    updated,
)
from splatface.models.training.tracking.motion import motion_of
from splatface.models.training.tracking.steady import outlier_weights, smooth_poses
from splatface.models.typing import AnyArray

__all__ = ["Fit", "fit"]


_TELLING = 48  # pictures that say who it is
_STEPS, _CHUNK = 6, 128
_LEAST_SHARE = 0.05  # of a clip's pictures must show the face
_LEAST_TRUST = 0.2
_OPEN, _SHUT_PERCENTILE, _MOST_SHIFT = MOUTH_MODES.index("open"), 8, 0.15
_CLEARLY = 0.98  # of the other's residual: where both explain a film alike, the freer poses were the truer
_USUAL_ERROR = 0.010  # of the face's height: landmarks against the model


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """A clip explained: landmarks are camera(T_world_head @ (shape + motion)).

    The world is the canonical frame: origin between the eyes, axes those of the head in its median pose, so
    T_world_head is about identity; the camera stands where it stood. Lengths are those of usual faces.
    """

    camera: Camera
    shape_m: AnyArray  # [478, 3] landmarks at rest, canonical frame
    identity: AnyArray  # [I] coefficients of the face model
    T_world_head: AnyArray  # [F, 4, 4]
    mouth: AnyArray  # [F, 8] MOUTH_MODES
    controls: AnyArray  # [F, 8] CONTROLS
    residual_px: AnyArray  # [F] rms distance of landmarks from the model
    confidence: AnyArray  # [F] 0 where nothing was found .. 1
    pivot_m: AnyArray  # [3] neck joint, canonical frame


def fit(
    landmarks_px: AnyArray,
    width: int,
    height: int,
    fps: float,
    *,
    focal_px: float | None = None,
    begins: NDArray[np.bool_] | None = None,
) -> Fit:
    """Explain landmarks [F, 478, 2 or 3] px of one person (NaN where lost) at `fps` pictures a second.

    About 10 s for 1,000 pictures on a core. Where the face is lost, pose and motion go on as between the
    neighbors, with confidence 0.

    Args:
        landmarks_px: pixel (0, 0) covers 0..1; pictures [height, width] whose middle is the lens's axis.
        width: px.
        height: px.
        fps: pictures a second.
        focal_px: the focal length where it is known.
        begins: [F] pictures before which the film was cut; none where it is left out.

    Raises:
        TrackingError: for landmarks of another size, or when hardly any picture shows the face.
    """
    found = _checked(landmarks_px)
    known = np.asarray(np.isfinite(found).all(axis=(1, 2)))
    _expect_some(known)
    cut = np.zeros(len(found), bool) if begins is None else begins
    clip = _Clip(
        _bridged(found, known), known, width, height, SampleWeights(fps, known.astype(np.float64), cut)
    )
    model = load_face_model()
    telling = select_diverse_frames(found[known], _TELLING)
    person, _ = estimate_person(model, found[known][telling], (width / 2, height / 2), focal_px)
    # Some faces' blinks the tracker answers with brow and chin. Who is not told so takes it for a nod; who is
    # told so of a face that does not, moves the chin at each blink.
    plain, winking = (_explained(model, whose, person, clip) for whose in (model, model.winking()))
    clearly = np.nanmean(plain.residual_px) < _CLEARLY * np.nanmean(winking.residual_px)
    return plain if clearly else winking


@dataclass(frozen=True, slots=True, eq=False)
class _Clip:
    """What was seen of one person."""

    full: AnyArray  # [F, 478, 2] px, bridged where the face was lost
    known: NDArray[np.bool_]  # [F]
    width: int  # px
    height: int  # px
    trail: SampleWeights  # trusting what was found


def _explained(model: FaceModel, whose: FaceModel, person: PersonEstimate, clip: _Clip) -> Fit:
    """The fit of a person of the model whose poses are those of the model `whose`."""
    full, trail = clip.full, clip.trail
    poses = _poses(whose, person, full)
    trust = outlier_weights(_residual(whose, person, poses, full)) * trail.weight
    trail = replace(trail, weight=trust)
    poses = smooth_poses(poses, trail)
    mouth, controls = motion_of(model, person.shape_m(model), poses, full, (person.lens, trail))
    person, mouth = _shut_at_rest(model, person, mouth)
    poses = Poses(poses.rotations, poses.translations_m, np.hstack([mouth, controls]))
    residual = _residual(model, person, poses, full)
    tall = person.lens.focal_px * FACE_HEIGHT_M / poses.translations_m[:, 2]
    T_camera_head = _matrices(poses)
    T_camera_world = _middle(T_camera_head[trust > _LEAST_TRUST])
    T_world_head = np.linalg.inv(T_camera_world) @ T_camera_head
    focal, width, height = person.lens.focal_px, clip.width, clip.height
    return Fit(
        camera=Camera(width, height, focal, focal, width / 2, height / 2, T_camera_world),
        shape_m=person.shape_m(model),
        identity=person.identity,
        T_world_head=T_world_head,
        mouth=mouth,
        controls=controls,
        residual_px=np.where(clip.known, residual, np.nan),
        confidence=trust / (1 + (residual / (3 * _USUAL_ERROR * tall)) ** 2),
        pivot_m=neck_joint(T_world_head[trust > _LEAST_TRUST]),
    )


def _checked(landmarks_px: AnyArray) -> AnyArray:
    if landmarks_px.ndim != 3 or landmarks_px.shape[1] != 478 or landmarks_px.shape[2] not in (2, 3):
        raise TrackingError(
            f"landmarks: expected [F, 478, 2 or 3], found {list(landmarks_px.shape)}: give mediapipe's "
            "refined face mesh"
        )
    return np.asarray(landmarks_px[..., :2], np.float64)


def _expect_some(known: NDArray[np.bool_]) -> None:
    if known.sum() < max(2, _LEAST_SHARE * len(known)):
        raise TrackingError(
            f"landmarks: expected the face in most of {len(known)} pictures, found it in {known.sum()}: "
            "film one person who looks at the camera"
        )


def _bridged(found: AnyArray, known: NDArray[np.bool_]) -> AnyArray:
    """Landmarks [F, 478, 2] with straight lines over what was lost."""
    moments, flat = np.arange(len(found)), found.reshape(len(found), -1)
    if known.all():
        return found
    columns = [np.interp(moments, moments[known], flat[known, column]) for column in range(flat.shape[1])]
    return np.stack(columns, axis=1).reshape(found.shape)


def _poses(model: FaceModel, person: PersonEstimate, found_px: AnyArray) -> Poses:
    """Poses of all pictures by themselves, the person known."""
    shape = person.shape_m(model)
    parts = []
    for start in range(0, len(found_px), _CHUNK):
        found = found_px[start : start + _CHUNK]
        poses = initial_poses(model, shape, found, person.lens)
        for _ in range(_STEPS):
            left, right = own_sums_of(model, shape, poses, found, person.lens)
            poses = updated(poses, np.linalg.solve(left, right[..., None])[..., 0])
        parts.append(poses)
    names = ("turns", "places_m", "motion")
    return Poses(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _shut_at_rest(
    model: FaceModel, person: PersonEstimate, mouth: AnyArray
) -> tuple[PersonEstimate, AnyArray]:
    """Zero is the shut mouth: what is open even then belongs to the person's shape."""
    shut = float(np.clip(np.percentile(mouth[:, _OPEN], _SHUT_PERCENTILE), -_MOST_SHIFT, _MOST_SHIFT))
    shifted = mouth.copy()
    shifted[:, _OPEN] -= shut
    return replace(person, own_m=person.own_m + shut * model.motion_m[_OPEN]), shifted


def _residual(model: FaceModel, person: PersonEstimate, poses: Poses, found_px: AnyArray) -> AnyArray:
    px, _ = projected(deform_landmarks(model, person.shape_m(model), poses), poses, person.lens)
    rms: AnyArray = np.sqrt(((px - found_px) ** 2).sum(2).mean(1))
    return rms


def _matrices(poses: Poses) -> AnyArray:
    T = np.tile(np.eye(4), (len(poses), 1, 1))
    T[:, :3, :3], T[:, :3, 3] = poses.rotations, poses.translations_m
    return T


def _middle(T: AnyArray) -> AnyArray:
    """The median pose [4, 4] of [F, 4, 4], coordinate by coordinate."""
    from scipy.spatial.transform import Rotation

    turns = Rotation.from_matrix(T[:, :3, :3])
    mean = turns.mean()
    middle = np.eye(4)
    middle[:3, :3] = (
        mean * Rotation.from_rotvec(np.median((mean.inv() * turns).as_rotvec(), axis=0))
    ).as_matrix()
    middle[:3, 3] = np.median(T[:, :3, 3], axis=0)
    return middle
