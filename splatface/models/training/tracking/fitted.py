"""What tracking knows of a person beside the data set: tracking.safetensors, and landmarks drawn from it."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from splatface.models.camera import Camera
from splatface.models.errors import DatasetError, TrackingError
from splatface.models.storage import atomic_write
from splatface.models.training.dataset.file_format import disk_error, read_regular_file
from splatface.models.training.dataset.types import Dataset, FrameTable, MotionTrack
from splatface.models.training.tracking.face_model import load_face_model
from splatface.models.training.tracking.face_solve import Lens, Poses, deform_landmarks, projected
from splatface.models.training.tracking.fit import Fit
from splatface.models.typing import AnyArray

__all__ = [
    "FITTED",
    "TrackingResult",
    "fitted_landmarks",
    "poses_and_intrinsics",
    "read_fitted",
    "write_fitted",
]


FITTED: Final = "tracking.safetensors"
_LIMIT = 1 << 26  # bytes


@dataclass(frozen=True, slots=True, eq=False)
class TrackingResult:
    """The fit of a data set's M moments, see `Fit`; poses and motion stand in the data set itself."""

    shape_m: AnyArray  # [478, 3] f32 landmarks at rest, canonical frame
    identity: AnyArray  # [I] f32 coefficients of the face model
    residual_px: AnyArray  # [M] f32 rms distance of landmarks from the model, NaN where the face was lost
    confidence: AnyArray  # [M] f32 0..1
    pivot_m: AnyArray  # [3] f32 neck joint, canonical frame


def write_fitted(folder: Path, fit: Fit) -> None:
    """Keep it in the data set's folder. Raises DatasetError when the disk refuses."""
    content = {
        field.name: np.asarray(getattr(fit, field.name), np.float32) for field in fields(TrackingResult)
    }
    try:
        atomic_write(folder / FITTED, safetensors.numpy.save(content))
    except OSError as error:
        raise disk_error(folder, error) from error


def read_fitted(dataset: Dataset) -> TrackingResult | None:
    """The fit of a tracked data set; None where nothing is kept.

    Raises:
        TrackingError: when the file is damaged or of another data set.
    """
    path = dataset.folder / FITTED
    if not path.is_file():
        return None
    try:
        fitted = TrackingResult(**safetensors.numpy.load(read_regular_file(dataset.folder, FITTED, _LIMIT)))
    except (SafetensorError, DatasetError, TypeError, ValueError) as error:
        raise TrackingError(f"{path}: expected what tracking kept, found {error}: track again") from error
    moments = len(dataset.motion.time_ns)
    if fitted.shape_m.shape != (478, 3) or fitted.residual_px.shape != (moments,):
        raise TrackingError(
            f"{path}: expected 478 landmarks and {moments} moments, found {list(fitted.shape_m.shape)} and "
            f"{len(fitted.residual_px)}: track again"
        )
    return fitted


def poses_and_intrinsics(
    camera: Camera, track: FrameTable | MotionTrack, rows: AnyArray
) -> tuple[Poses, Lens]:
    """How a camera sees the head in some rows [n] of a table, and through which lens."""
    T = camera.T_camera_world @ track.T_world_head[rows]
    ways = np.hstack([track.mouth[rows], track.controls[rows]]).astype(np.float64)
    return Poses(T[:, :3, :3], T[:, :3, 3], ways), Lens(camera.fx, (camera.cx, camera.cy))


def fitted_landmarks(dataset: Dataset, fitted: TrackingResult, moments: AnyArray) -> AnyArray:
    """Landmarks [n, 478, 2] px where the fit says they are at some moments [n] of the motion."""
    poses, lens = poses_and_intrinsics(dataset.camera, dataset.motion, moments)
    points = deform_landmarks(load_face_model(), fitted.shape_m.astype(np.float64), poses)
    return projected(points, poses, lens)[0]
