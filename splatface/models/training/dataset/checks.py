"""What a sound data set looks like: shapes, kinds, times, poses."""

from collections.abc import Sequence

import numpy as np

from splatface.models.audio2motion.audio_to_mouth import CONTROLS, MOUTH_MODES
from splatface.models.camera import Camera
from splatface.models.errors import DatasetError
from splatface.models.training.dataset.types import (
    LABELS,
    TEST,
    TRAIN,
    Dataset,
    FrameTable,
    MotionTrack,
    Points,
)
from splatface.models.typing import AnyArray

__all__ = ["INTACT", "MAX_SIDE_PX", "SCHEMES", "SOURCES", "check_camera", "check_dataset", "check_points"]

SOURCES = ("actor", "video", "import")
SCHEMES = {"ibug68": 68, "mediapipe478": 478, "none": 0}  # landmarks of each scheme
MAX_SIDE_PX = 8192
INTACT = "take an intact copy of the data set or make it again"
_RIGID = 1e-3  # how far a rotation may be from orthonormal: float32 round trips stay below 1e-6


def check_dataset(dataset: Dataset) -> None:
    """Raise DatasetError unless everything but the files of the data set is sound."""
    for name in ("name", "license", "consent"):
        if not getattr(dataset, name).strip():
            raise DatasetError(
                f"{name}: expected text, found none: say it (whose face may be shown, and how)"
            )
    _one_of("source", dataset.source, SOURCES)
    _one_of("landmark_scheme", dataset.landmark_scheme, tuple(SCHEMES))
    if not 1.0 <= dataset.fps <= 1000.0:
        raise DatasetError(f"fps: expected 1..1000, found {dataset.fps}: correct it")
    check_camera(dataset.camera)
    _check_background(dataset)
    _expect("pivot_m", dataset.pivot_m, (3,), np.float64)
    _check_frames(dataset.frames, SCHEMES[dataset.landmark_scheme])
    _check_motion(dataset.motion)


def check_camera(camera: Camera) -> None:
    """Raise DatasetError unless the camera can take pictures."""
    sizes = (camera.width, camera.height)
    if not all(isinstance(side, int) and 1 <= side <= MAX_SIDE_PX for side in sizes):
        raise DatasetError(f"camera: expected sides of 1..{MAX_SIDE_PX} px, found {sizes}: {INTACT}")
    numbers = np.array([camera.fx, camera.fy, camera.cx, camera.cy])
    if not np.isfinite(numbers).all() or min(camera.fx, camera.fy) <= 0:
        raise DatasetError(
            f"camera: expected fx, fy > 0 and cx, cy finite, found {numbers.tolist()}: {INTACT}"
        )
    _expect_rigid("camera.T_camera_world", camera.T_camera_world[None])


def check_points(points: Points) -> None:
    """Raise DatasetError unless the points fit each other, with unit normals and positive sizes."""
    count = len(points.means)
    shapes: dict[str, tuple[int, ...]] = {
        "means": (count, 3),
        "normals": (count, 3),
        "colors": (count, 3),
        "scales": (count, 3),
        "quats": (count, 4),
        "skin": (count,),
        "mouth_modes": (count, len(MOUTH_MODES), 3),
        "control_modes": (count, len(CONTROLS), 3),
    }
    for name, shape in shapes.items():
        _expect(f"points.{name}", getattr(points, name), shape, np.float32)
    _expect("points.labels", points.labels, (count,), np.uint8)
    _in_range("points.labels", points.labels, 0, len(LABELS) - 1)
    _in_range("points.skin", points.skin, 0.0, 1.0)
    _in_range("points.colors", points.colors, 0.0, 1.0)
    _in_range("points.scales", points.scales, 1e-9, 1e3)
    _in_range("points.normals: length", np.linalg.norm(points.normals, axis=1), 0.99, 1.01)
    _in_range("points.quats: length", np.linalg.norm(points.quats, axis=1), 1e-6, 1e6)


def _check_frames(frames: FrameTable, landmarks: int) -> None:
    count = len(frames.time_ns)
    if not count:
        raise DatasetError("frames: expected at least one picture, found none: add pictures")
    _expect_times("frames.time_ns", frames.time_ns)
    _expect("frames.split", frames.split, (count,), np.uint8)
    _in_range("frames.split", frames.split, TRAIN, TEST)
    _check_track("frames", frames, count)
    _expect("frames.landmarks_px", frames.landmarks_px, (count, landmarks, 2), np.float32, unknown=True)
    tested = np.flatnonzero(frames.split == TEST)
    if len(tested) and (frames.split[tested[0] :] != TEST).any():
        raise DatasetError(
            "frames.split: expected the TEST pictures last in time, found others after the first of them: "
            "split by time (models.dataset.split)"
        )


def _check_motion(motion: MotionTrack) -> None:
    if not len(motion.time_ns):
        raise DatasetError("motion: expected at least one moment, found none: give the frames' own motion")
    _expect_times("motion.time_ns", motion.time_ns)
    _check_track("motion", motion, len(motion.time_ns))


def _check_track(at: str, track: FrameTable | MotionTrack, count: int) -> None:
    _expect(f"{at}.mouth", track.mouth, (count, len(MOUTH_MODES)), np.float32, unknown=True)
    _expect(f"{at}.controls", track.controls, (count, len(CONTROLS)), np.float32, unknown=True)
    for name in ("T_world_head", "T_world_torso"):
        _expect(f"{at}.{name}", getattr(track, name), (count, 4, 4), np.float64)
        _expect_rigid(f"{at}.{name}", getattr(track, name))


def _check_background(dataset: Dataset) -> None:
    camera, background = dataset.camera, dataset.background
    shape = (3,) if background.ndim == 1 else (camera.height, camera.width, 3)
    _expect("background", background, shape, np.float32)
    _in_range("background", background, 0.0, 1.0)


def _one_of(name: str, found: str, choices: tuple[str, ...]) -> None:
    if found not in choices:
        raise DatasetError(f"{name}: expected one of {', '.join(choices)}, found {found[:40]!r}: choose one")


def _expect(
    name: str, array: AnyArray, shape: Sequence[int], dtype: type[np.generic], *, unknown: bool = False
) -> None:
    """Shape, dtype and finite values; NaN may stand for `unknown`, infinity never."""
    if array.shape != tuple(shape) or array.dtype != dtype:
        raise DatasetError(
            f"{name}: expected {list(shape)} {np.dtype(dtype)}, found {list(array.shape)} {array.dtype}: "
            f"{INTACT}"
        )
    bad = np.isinf(array) if unknown else ~np.isfinite(array)
    if bad.any():
        kinds = "numbers or NaN" if unknown else "finite numbers"
        raise DatasetError(f"{name}: expected {kinds}, found {int(bad.sum())} others: {INTACT}")


def _expect_times(name: str, time_ns: AnyArray) -> None:
    _expect(name, time_ns, (len(time_ns),), np.int64)
    falls = np.flatnonzero(np.diff(time_ns) <= 0)
    if len(falls):
        row = int(falls[0])
        raise DatasetError(
            f"{name}: expected times that rise, found {time_ns[row]} before {time_ns[row + 1]} in row {row}: "
            "sort the rows and leave doubles out"
        )


def _expect_rigid(name: str, transforms: AnyArray) -> None:
    """Each [4, 4] is a rotation and a shift."""
    if transforms.shape[1:] != (4, 4) or not np.isfinite(transforms).all():
        raise DatasetError(f"{name}: expected finite [4, 4] matrices, found {transforms.shape}: {INTACT}")
    turns = np.clip(transforms[:, :3, :3], -2, 2)  # a number gone wild stays wrong and does not overflow
    off = np.abs(turns @ turns.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2))
    bad = (off > _RIGID) | (np.linalg.det(turns) < 0) | (transforms[:, 3] != (0, 0, 0, 1)).any(axis=1)
    if bad.any():
        row = int(np.argmax(bad))
        raise DatasetError(
            f"{name}: expected rotations and shifts, found something else in {int(bad.sum())} rows, first "
            f"{row} (R Rᵀ off by {off[row]:.2g}): bring R to a rotation (SVD) and the last row to 0 0 0 1"
        )


def _in_range(name: str, array: AnyArray, low: float, high: float) -> None:
    if array.size and not (array.min() >= low and array.max() <= high):
        raise DatasetError(
            f"{name}: expected {low:g}..{high:g}, found {array.min():g}..{array.max():g}: {INTACT}"
        )
