# SPDX-License-Identifier: Apache-2.0
"""Fit of the 3D face model to the landmarks of a clip: camera, identity, head poses, mouth and eyes.

Identity and focal length come from selected frames by bundle adjustment with the frames' own unknowns
eliminated (Schur complement; Triggs et al. 2000, sec. 6); poses and motion of all frames follow.
"""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Final

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError
from scipy.spatial.transform import Rotation

from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES
from splatface.models.camera import Camera
from splatface.models.errors import DatasetError, TrackingError
from splatface.models.head.head import MOTION_SIZE
from splatface.models.storage import atomic_write
from splatface.models.training.dataset.body_poses import neck_joint, with_motion_offset
from splatface.models.training.dataset.file_format import disk_error, read_regular_file
from splatface.models.training.dataset.types import Dataset, FrameTable, MotionTrack
from splatface.models.training.tracking.face_model import (
    EYE_CHANNELS,
    FACE_HEIGHT_M,
    FaceModel,
    FacePoses,
    Intrinsics,
    apply_step,
    deform_landmarks,
    frame_normal_equations,
    initial_poses,
    load_face_model,
    normal_equations,
    project_landmarks,
)
from splatface.models.training.tracking.face_motion import fit_motion, fit_motion_coefficients
from splatface.models.training.tracking.smoothing import SampleWeights, smooth_poses
from splatface.models.typing import AnyArray, BoolArray, Int64Array

__all__ = [
    "TRACKING_FILE",
    "ClipFit",
    "PersonEstimate",
    "TrackingResult",
    "estimate_person",
    "fit_clip",
    "fit_clip_with_poses",
    "fitted_landmarks",
    "load_tracking_result",
    "outlier_weights",
    "poses_and_intrinsics",
    "refit_motion_with_poses",
    "save_tracking_result",
    "select_diverse_frames",
]

TRACKING_FILE: Final = "tracking.safetensors"
TYPICAL_DISTANCE_M: Final = 1.2
_MAX_FILE_BYTES = 1 << 26
_LOG_DISTANCE_STD = 0.2  # a head that hardly turns does not determine the focal length
_PERSON_STEPS = 14
_SHAPE_OFFSET_FROM_STEP = 3  # when poses are about right
_SHAPE_OFFSET_PRIOR = 4.0  # frames' worth of evidence that a person's shape is in the identity space
_MAX_LOG_FOCAL_STEP = 0.25
_PERSON_FRAMES = 48  # frames from which the person is estimated
_POSE_STEPS, _CHUNK = 6, 128
_MIN_FACE_FRACTION = 0.05  # of a clip's frames must show the face
_MIN_WEIGHT = 0.2
_OPEN, _CLOSED_PERCENTILE, _MAX_REST_SHIFT = MOUTH_MODES.index("open"), 8, 0.15
_PREFER_UNCOUPLED = 0.98  # residual ratio: where both models fit alike, blink coupling gave the truer poses
_TYPICAL_ERROR = 0.010  # of landmarks against the model, fraction of the face's height
# Given poses are used unless they leave landmarks so many times farther from the model than fitted poses do.
_MAX_GIVEN_POSE_RESIDUAL = 1.5
# Standard deviations for the alignment of given poses: x, y, m; depth, fraction; offset of head origins, m.
_LATERAL_STD_M, _DEPTH_STD, _ORIGIN_STD_M = 0.0005, 0.002, 0.1


@dataclass(frozen=True, slots=True, eq=False)
class ClipFit:
    """The fit of a clip: landmarks are camera(T_world_head @ (shape + motion)).

    The world is the canonical frame: origin between the eyes, axes those of the head in its median pose, so
    T_world_head is about identity; the camera is static. Lengths are those of average faces.
    """

    camera: Camera
    shape_m: AnyArray  # [478, 3] landmarks at rest, canonical frame
    identity: AnyArray  # [I] coefficients of the face model
    T_world_head: AnyArray  # [F, 4, 4]
    mouth: AnyArray  # [F, 8] MOUTH_MODES
    controls: AnyArray  # [F, 8] CONTROLS
    residual_px: AnyArray  # [F] rms distance of landmarks from the model
    confidence: AnyArray  # [F] 0 where no face was detected .. 1
    pivot_m: AnyArray  # [3] neck joint, canonical frame


def fit_clip(
    landmarks_px: AnyArray,
    width: int,
    height: int,
    fps: float,
    *,
    intrinsics: Intrinsics | None = None,
    segment_start: BoolArray | None = None,
) -> ClipFit:
    """Fit landmarks [F, 478, 2 or 3] px of one person (NaN where lost).

    About 10 s for 1,000 frames on a core. Where the face is lost, pose and motion are interpolated, with
    confidence 0.

    Args:
        landmarks_px: pixel (0, 0) covers 0..1.
        width: of the frames, px.
        height: of the frames, px.
        fps: frames per second.
        intrinsics: of the camera where they are known; else the optical axis meets the image's center and
            the focal length is estimated.
        segment_start: [F] frames before which the video was cut; none when left out.

    Raises:
        TrackingError: for landmarks of another size, or when hardly any frame shows the face.
    """
    clip = _clip(landmarks_px, (width, height), fps, segment_start)
    model = load_face_model()
    return _best_fit(model, _estimate_clip_person(model, clip, intrinsics), clip)


def fit_clip_with_poses(
    landmarks_px: AnyArray,
    T_camera_head: AnyArray,
    camera: Camera,
    fps: float,
    *,
    segment_start: BoolArray | None = None,
) -> tuple[ClipFit, bool]:
    """Fit landmarks like `fit_clip`, with head poses [F, 4, 4] and a camera that are known.

    The given poses may be of another head frame and scale (those of another tracker): one rigid offset and
    one scale are estimated.

    Returns:
        The fit, and whether it has the given poses; it does not where they contradict the landmarks.

    Raises:
        TrackingError: like `fit_clip`.
    """
    clip = _clip(landmarks_px, (camera.width, camera.height), fps, segment_start)
    model = load_face_model()
    intrinsics = Intrinsics(float(np.sqrt(camera.fx * camera.fy)), (camera.cx, camera.cy))
    person = _estimate_clip_person(model, clip, intrinsics)
    fitted = _best_fit(model, person, clip)
    aligned = _aligned_poses(
        T_camera_head, fitted.camera.T_camera_world @ fitted.T_world_head, fitted.confidence
    )
    given = _fit_with_poses(model, person, clip, aligned, clip.track)
    accepted = np.nanmean(given.residual_px) < _MAX_GIVEN_POSE_RESIDUAL * np.nanmean(fitted.residual_px)
    return (given, True) if accepted else (fitted, False)


@dataclass(frozen=True, slots=True, eq=False)
class PersonEstimate:
    """Shape of one person, and the intrinsics of the camera."""

    identity: AnyArray  # [I] standard deviations
    shape_offset_m: AnyArray  # [478, 3] part of the shape outside the identity space
    intrinsics: Intrinsics

    def shape_m(self, model: FaceModel) -> AnyArray:
        """Return landmarks [478, 3] at rest, canonical frame."""
        shape: AnyArray = model.identity_shape(self.identity) + self.shape_offset_m
        return shape


def select_diverse_frames(landmarks_px: AnyArray, count: int) -> Int64Array:
    """Return at most `count` frames of landmarks [F, 478, 2] that differ most (farthest point sampling)."""
    some = landmarks_px[:, ::8]
    some = some - some.mean(1, keepdims=True)
    some = (some / np.sqrt((some**2).sum((1, 2), keepdims=True))).reshape(len(some), -1)
    chosen = [int(np.argmin(((some - np.median(some, axis=0)) ** 2).sum(1)))]
    distance = np.full(len(some), np.inf)
    while len(chosen) < min(count, len(some)):
        distance = np.minimum(distance, ((some - some[chosen[-1]]) ** 2).sum(1))
        distance[chosen] = -1
        chosen.append(int(distance.argmax()))
    return np.sort(np.array(chosen, np.int64))


def estimate_person(
    model: FaceModel,
    landmarks_px: AnyArray,
    center_px: tuple[float, float],
    focal_px: float | None = None,
) -> PersonEstimate:
    """Estimate identity and focal length from landmarks [F, 478, 2] of one face, all finite.

    Args:
        model: the face model.
        landmarks_px: of diverse frames.
        center_px: principal point.
        focal_px: the focal length where it is known; else its prior is that of a camera 1.2 m away.
    """
    height_px = float(np.median(np.linalg.norm(landmarks_px[:, 10] - landmarks_px[:, 152], axis=1)))
    typical_px = TYPICAL_DISTANCE_M * height_px / FACE_HEIGHT_M
    intrinsics = Intrinsics(focal_px or typical_px, center_px)
    person = PersonEstimate(np.zeros(model.identities), np.zeros_like(model.mean_m), intrinsics)
    poses = initial_poses(person.shape_m(model), landmarks_px, intrinsics)
    focal_precision = _LOG_DISTANCE_STD**-2 if focal_px is None else 1e12
    precision = np.r_[np.ones(model.identities), focal_precision]
    for step in range(_PERSON_STEPS):
        deviation = np.r_[person.identity, np.log(person.intrinsics.focal_px / (focal_px or typical_px))]
        person, poses = _bundle_step(model, person, poses, landmarks_px, precision, deviation)
        if step >= _SHAPE_OFFSET_FROM_STEP:
            offset = person.shape_offset_m + _mean_residual_m(model, person, poses, landmarks_px)
            person = replace(person, shape_offset_m=offset)
    return person


def outlier_weights(error: AnyArray) -> AnyArray:
    """Compute weights [F] 0..1 from errors [F]: 1 up to the median, 1/4 at twice it."""
    typical = max(float(np.median(error)), 1e-9)
    weights: AnyArray = 1 / (1 + np.maximum(error / typical - 1, 0) ** 2) ** 2
    return weights


def _bundle_step(
    model: FaceModel,
    person: PersonEstimate,
    poses: FacePoses,
    landmarks_px: AnyArray,
    precision: AnyArray,
    deviation: AnyArray,
) -> tuple[PersonEstimate, FacePoses]:
    """Make one Gauss-Newton step of everything; shared unknowns [S] have a prior of this precision."""
    weights = outlier_weights(_residual_px(model, person, poses, landmarks_px))
    equations = normal_equations(
        model, person.shape_m(model), poses, landmarks_px, person.intrinsics, frame_weights=weights
    )
    right = np.concatenate([equations.per_frame_rhs[..., None], equations.coupling], axis=2)
    solved = np.linalg.solve(equations.per_frame, right)
    coupling = weights[:, None, None] * equations.coupling
    left = equations.shared - np.einsum("fus,fut->st", coupling, solved[..., 1:]) + np.diag(precision)
    shared = equations.shared_rhs - np.einsum("fus,fu->s", coupling, solved[..., 0]) - precision * deviation
    step = np.linalg.solve(left, shared)
    step *= min(1.0, _MAX_LOG_FOCAL_STEP / max(abs(float(step[-1])), 1e-9))
    poses = apply_step(poses, solved[..., 0] - solved[..., 1:] @ step)
    focal_px = person.intrinsics.focal_px * float(np.exp(step[-1]))
    intrinsics = replace(person.intrinsics, focal_px=focal_px)
    return replace(person, identity=person.identity + step[:-1], intrinsics=intrinsics), poses


def _mean_residual_m(
    model: FaceModel, person: PersonEstimate, poses: FacePoses, landmarks_px: AnyArray
) -> AnyArray:
    """Compute the residual common to all frames [478, 3] in the head's frame, shrunk towards 0."""
    points = deform_landmarks(model, person.shape_m(model), poses)
    px, points_camera = project_landmarks(points, poses, person.intrinsics)
    residual = np.zeros_like(points_camera)
    residual[..., :2] = (landmarks_px - px) * points_camera[..., 2:] / person.intrinsics.focal_px
    weights = outlier_weights(_residual_px(model, person, poses, landmarks_px))
    mean: AnyArray = np.average(residual @ poses.rotations, axis=0, weights=weights)
    count = weights.sum()
    return np.asarray(mean * count / (count + _SHAPE_OFFSET_PRIOR))


def _residual_px(
    model: FaceModel, person: PersonEstimate, poses: FacePoses, landmarks_px: AnyArray
) -> AnyArray:
    """Compute the rms distance [F] px of landmarks from the model."""
    px, _ = project_landmarks(deform_landmarks(model, person.shape_m(model), poses), poses, person.intrinsics)
    rms: AnyArray = np.sqrt(((px - landmarks_px) ** 2).sum(2).mean(1))
    return rms


@dataclass(frozen=True, slots=True, eq=False)
class _Clip:
    """Landmarks of one person."""

    landmarks_px: AnyArray  # [F, 478, 2] interpolated where the face was lost
    known: BoolArray  # [F]
    size: tuple[int, int]  # width, height, px
    track: SampleWeights  # weight 1 where known


def _clip(
    landmarks_px: AnyArray, size: tuple[int, int], fps: float, segment_start: BoolArray | None
) -> _Clip:
    if landmarks_px.ndim != 3 or landmarks_px.shape[1] != 478 or landmarks_px.shape[2] not in (2, 3):
        raise TrackingError(
            f"landmarks: expected [F, 478, 2 or 3], found {list(landmarks_px.shape)}: give mediapipe's "
            "refined face mesh"
        )
    detected = np.asarray(landmarks_px[..., :2], np.float64)
    known = np.asarray(np.isfinite(detected).all(axis=(1, 2)))
    if known.sum() < max(2, _MIN_FACE_FRACTION * len(known)):
        raise TrackingError(
            f"landmarks: expected the face in most of {len(known)} frames, found it in {known.sum()}: "
            "film one person who looks at the camera"
        )
    starts = np.zeros(len(detected), bool) if segment_start is None else segment_start
    return _Clip(
        _interpolated(detected, known), known, size, SampleWeights(fps, known.astype(np.float64), starts)
    )


def _interpolated(landmarks_px: AnyArray, known: BoolArray) -> AnyArray:
    """Return landmarks [F, 478, 2], linear in time where they are not known [F]."""
    if known.all():
        return landmarks_px
    frames, flat = np.arange(len(landmarks_px)), landmarks_px.reshape(len(landmarks_px), -1)
    columns = [np.interp(frames, frames[known], flat[known, column]) for column in range(flat.shape[1])]
    return np.stack(columns, axis=1).reshape(landmarks_px.shape)


def _estimate_clip_person(model: FaceModel, clip: _Clip, intrinsics: Intrinsics | None) -> PersonEstimate:
    known = clip.landmarks_px[clip.known]
    center_px = intrinsics.center_px if intrinsics else (clip.size[0] / 2, clip.size[1] / 2)
    frames = select_diverse_frames(known, _PERSON_FRAMES)
    return estimate_person(model, known[frames], center_px, intrinsics.focal_px if intrinsics else None)


def _best_fit(model: FaceModel, person: PersonEstimate, clip: _Clip) -> ClipFit:
    """Fit with and without blink coupling in the poses, and choose by the residual.

    For some faces the detector moves brow and chin with each blink. Without the coupling such blinks look
    like nods; with it, for a face without that error, each blink moves the chin.
    """
    plain, coupled = (
        _fit_with_poses(model, person, clip, *_smoothed_poses(pose_model, person, clip))
        for pose_model in (model, model.with_blink_coupling())
    )
    uncoupled = np.nanmean(plain.residual_px) < _PREFER_UNCOUPLED * np.nanmean(coupled.residual_px)
    return plain if uncoupled else coupled


def _smoothed_poses(model: FaceModel, person: PersonEstimate, clip: _Clip) -> tuple[FacePoses, SampleWeights]:
    """Fit the poses of all frames and smooth them; also the weights of the frames."""
    poses = _fit_poses(model, person, clip.landmarks_px)
    weight = outlier_weights(_residual_px(model, person, poses, clip.landmarks_px)) * clip.track.weight
    track = replace(clip.track, weight=weight)
    return smooth_poses(poses, track), track


def _fit_poses(model: FaceModel, person: PersonEstimate, landmarks_px: AnyArray) -> FacePoses:
    """Fit the pose and motion of each frame alone, the person known."""
    shape = person.shape_m(model)
    parts = []
    for start in range(0, len(landmarks_px), _CHUNK):
        px = landmarks_px[start : start + _CHUNK]
        poses = initial_poses(shape, px, person.intrinsics)
        for _ in range(_POSE_STEPS):
            left, right = frame_normal_equations(model, shape, poses, px, person.intrinsics)
            poses = apply_step(poses, np.linalg.solve(left, right[..., None])[..., 0])
        parts.append(poses)
    names = ("rotations", "translations_m", "motion")
    return FacePoses(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _fit_with_poses(
    model: FaceModel, person: PersonEstimate, clip: _Clip, poses: FacePoses, track: SampleWeights
) -> ClipFit:
    """Fit the motion of all frames, the poses held."""
    px, weight = clip.landmarks_px, track.weight
    mouth, controls = fit_motion(model, person.shape_m(model), poses, px, person.intrinsics, track)
    person, mouth = _closed_at_rest(model, person, mouth)
    poses = FacePoses(poses.rotations, poses.translations_m, np.hstack([mouth, controls]))
    residual = _residual_px(model, person, poses, px)
    height_px = person.intrinsics.focal_px * FACE_HEIGHT_M / poses.translations_m[:, 2]
    T_camera_head = _matrices(poses)
    T_camera_world = _median_pose(T_camera_head[weight > _MIN_WEIGHT])
    T_world_head = np.linalg.inv(T_camera_world) @ T_camera_head
    focal_px, center_px = person.intrinsics.focal_px, person.intrinsics.center_px
    return ClipFit(
        camera=Camera(*clip.size, focal_px, focal_px, *center_px, T_camera_world),
        shape_m=person.shape_m(model),
        identity=person.identity,
        T_world_head=T_world_head,
        mouth=mouth,
        controls=controls,
        residual_px=np.where(clip.known, residual, np.nan),
        confidence=weight / (1 + (residual / (3 * _TYPICAL_ERROR * height_px)) ** 2),
        pivot_m=neck_joint(T_world_head[weight > _MIN_WEIGHT]),
    )


def _aligned_poses(T_given: AnyArray, T_fitted: AnyArray, weight: AnyArray) -> FacePoses:
    """Return given poses [F, 4, 4] in the fitted head frame and scale, by weighted least squares.

    Solves T_fitted = scale(T_given) @ T_offset: rotations by their mean, then the offset and the scale of the
    translations. Lateral motion determines the scale much better than depth; a prior keeps the offset of the
    origins small for a head that hardly moves.
    """
    given, fitted = T_given[:, :3, :3], T_fitted[:, :3, :3]
    weights = np.maximum(weight, 1e-6)
    offset = Rotation.from_matrix(given.transpose(0, 2, 1) @ fitted).mean(weights)
    depth_std_m = _DEPTH_STD * float(np.median(T_fitted[:, 2, 3]))
    row_weights = np.sqrt(weights)[:, None] / np.array([_LATERAL_STD_M, _LATERAL_STD_M, depth_std_m])
    columns = np.concatenate([given, T_given[:, :3, 3:]], axis=2) * row_weights[..., None]  # [F, 3, 4]
    right = (T_fitted[:, :3, 3] * row_weights).reshape(-1)
    prior = np.eye(3, 4) / _ORIGIN_STD_M
    solution, *_ = np.linalg.lstsq(
        np.concatenate([columns.reshape(-1, 4), prior]), np.concatenate([right, np.zeros(3)]), rcond=None
    )
    translations = given @ solution[:3] + solution[3] * T_given[:, :3, 3]
    motion = np.zeros((len(T_given), MOTION_SIZE))
    return FacePoses(given @ offset.as_matrix(), translations, motion)


def _closed_at_rest(
    model: FaceModel, person: PersonEstimate, mouth: AnyArray
) -> tuple[PersonEstimate, AnyArray]:
    """Shift the mouth's zero to the closed mouth: an opening present even then belongs to the shape."""
    closed = np.clip(np.percentile(mouth[:, _OPEN], _CLOSED_PERCENTILE), -_MAX_REST_SHIFT, _MAX_REST_SHIFT)
    shifted = mouth.copy()
    shifted[:, _OPEN] -= closed
    offset = person.shape_offset_m + float(closed) * model.motion_m[_OPEN]
    return replace(person, shape_offset_m=offset), shifted


def _matrices(poses: FacePoses) -> AnyArray:
    T = np.tile(np.eye(4), (len(poses), 1, 1))
    T[:, :3, :3], T[:, :3, 3] = poses.rotations, poses.translations_m
    return T


def _median_pose(T: AnyArray) -> AnyArray:
    """Compute the median pose [4, 4] of [F, 4, 4], coordinate by coordinate."""
    rotations = Rotation.from_matrix(T[:, :3, :3])
    mean = rotations.mean()
    median = np.eye(4)
    vector = np.median((mean.inv() * rotations).as_rotvec(), axis=0)
    median[:3, :3] = (mean * Rotation.from_rotvec(vector)).as_matrix()
    median[:3, 3] = np.median(T[:, :3, 3], axis=0)
    return median


@dataclass(frozen=True, slots=True, eq=False)
class TrackingResult:
    """The fit of a data set's M moments, see `ClipFit`; poses and motion are in the data set itself."""

    shape_m: AnyArray  # [478, 3] f32 landmarks at rest, canonical frame
    identity: AnyArray  # [I] f32 coefficients of the face model
    residual_px: AnyArray  # [M] f32 rms distance of landmarks from the model, NaN where the face was lost
    confidence: AnyArray  # [M] f32 0..1
    pivot_m: AnyArray  # [3] f32 neck joint, canonical frame


def save_tracking_result(folder: Path, fit: ClipFit) -> None:
    """Write tracking.safetensors to the data set's folder. Raises DatasetError when the disk refuses."""
    content = {
        field.name: np.asarray(getattr(fit, field.name), np.float32) for field in fields(TrackingResult)
    }
    try:
        atomic_write(folder / TRACKING_FILE, safetensors.numpy.save(content))
    except OSError as error:
        raise disk_error(folder, error) from error


def load_tracking_result(dataset: Dataset) -> TrackingResult | None:
    """Load the fit of a tracked data set; None where there is none.

    Raises:
        TrackingError: when the file is damaged or of another data set.
    """
    path = dataset.folder / TRACKING_FILE
    if not path.is_file():
        return None
    try:
        content = read_regular_file(dataset.folder, TRACKING_FILE, _MAX_FILE_BYTES)
        result = TrackingResult(**safetensors.numpy.load(content))
    except (SafetensorError, DatasetError, TypeError, ValueError) as error:
        raise TrackingError(f"{path}: expected a tracking result, found {error}: track again") from error
    moments = len(dataset.motion.time_ns)
    if result.shape_m.shape != (478, 3) or result.residual_px.shape != (moments,):
        raise TrackingError(
            f"{path}: expected 478 landmarks and {moments} moments, found {list(result.shape_m.shape)} and "
            f"{len(result.residual_px)}: track again"
        )
    return result


def poses_and_intrinsics(
    camera: Camera, track: FrameTable | MotionTrack, rows: AnyArray
) -> tuple[FacePoses, Intrinsics]:
    """Return the head's poses in the camera's frame at some rows [n] of a table, and the intrinsics."""
    T = camera.T_camera_world @ track.T_world_head[rows]
    motion = np.hstack([track.mouth[rows], track.controls[rows]]).astype(np.float64)
    return FacePoses(T[:, :3, :3], T[:, :3, 3], motion), Intrinsics(camera.fx, (camera.cx, camera.cy))


def fitted_landmarks(dataset: Dataset, result: TrackingResult, moments: AnyArray) -> AnyArray:
    """Compute landmarks [n, 478, 2] px of the fitted model at some moments [n] of the motion."""
    poses, intrinsics = poses_and_intrinsics(dataset.camera, dataset.motion, moments)
    points = deform_landmarks(load_face_model(), result.shape_m.astype(np.float64), poses)
    return project_landmarks(points, poses, intrinsics)[0]


def refit_motion_with_poses(tracked: Dataset, refined: Dataset) -> Dataset:
    """Return `refined`, which is `tracked` with other poses and intrinsics, with its motion refitted.

    Motion coefficients compensate errors of the pose; with the pose corrected they would apply it twice. The
    change of the coefficients from one to the other is added to the tracked motion, linear in time between
    frames. A data set without a tracking result is returned as it is.

    Raises:
        TrackingError: when the tracking result is damaged.
    """
    result = load_tracking_result(tracked)
    known = _all_finite(tracked.frames.landmarks_px)
    for dataset in (tracked, refined):
        known = known & _all_finite(dataset.frames.T_world_head)
    if result is None or not known.any():
        return refined
    change = _motion_coefficients(refined, result, known) - _motion_coefficients(tracked, result, known)
    return with_motion_offset(refined, change, refined.frames.time_ns[known])


def _all_finite(rows: AnyArray) -> BoolArray:
    return np.asarray(np.isfinite(rows).all(axis=(1, 2)))


def _motion_coefficients(dataset: Dataset, result: TrackingResult, known: BoolArray) -> AnyArray:
    """Fit modes and controls [n, 16] of the frames [F] with landmarks, without the eyes, not smoothed."""
    poses, intrinsics = poses_and_intrinsics(dataset.camera, dataset.frames, known)
    px = dataset.frames.landmarks_px[known].astype(np.float64)
    shape_m = result.shape_m.astype(np.float64)
    coefficients = fit_motion_coefficients(load_face_model(), shape_m, poses, px, intrinsics)
    coefficients[:, EYE_CHANNELS] = 0  # fitted by themselves, see `fit_motion`
    return coefficients
