# SPDX-License-Identifier: Apache-2.0
"""Data set of one person: frame table, motion, initial points, and the checks that all of them pass."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio2motion.audio_to_mouth import CONTROLS, MOUTH_MODES
from splatface.models.camera import Camera
from splatface.models.errors import DatasetError
from splatface.models.typing import AnyArray

__all__ = [
    "BACKGROUND",
    "EYES",
    "FACE",
    "HAIR",
    "INTACT",
    "LABELS",
    "LIPS",
    "MAX_SIDE_PX",
    "MOUTH",
    "NECK",
    "SCHEMES",
    "SOURCES",
    "TEST",
    "TEST_FRACTION",
    "TORSO",
    "TRAIN",
    "VAL",
    "VAL_FRACTION",
    "Dataset",
    "FrameTable",
    "MotionTrack",
    "Points",
    "check_camera",
    "check_dataset",
    "check_points",
    "frames_in_split",
    "split_by_time",
]

LABELS = ("background", "torso", "neck", "hair", "face", "eyes", "lips", "mouth")
BACKGROUND, TORSO, NECK, HAIR, FACE, EYES, LIPS, MOUTH = range(len(LABELS))

# To which part of the film a picture belongs; the last part in time is never trained on.
TRAIN, VAL, TEST = 0, 1, 2


@dataclass(frozen=True, slots=True, eq=False)
class FrameTable:
    """F frames, increasing in time. Unknown values are NaN."""

    time_ns: NDArray[np.int64]  # [F] film time; 0 = first sample of the sound
    split: NDArray[np.uint8]  # [F] TRAIN, VAL or TEST
    T_world_head: AnyArray  # [F, 4, 4] f64; identity = the pose of the canonical Gaussians
    T_world_torso: AnyArray  # [F, 4, 4] f64
    mouth: AnyArray  # [F, 8] f32, MOUTH_MODES, about 0..1
    controls: AnyArray  # [F, 8] f32, CONTROLS: 0..1, jaw_side -1..1, gaze in radians
    landmarks_px: AnyArray  # [F, L, 2] f32, see Dataset.landmark_scheme

    def __len__(self) -> int:
        return len(self.time_ns)


@dataclass(frozen=True, slots=True, eq=False)
class MotionTrack:
    """Motion of the whole video at its rate, T moments, also where no frame is kept."""

    time_ns: NDArray[np.int64]  # [T] rising
    mouth: AnyArray  # [T, 8] f32
    controls: AnyArray  # [T, 8] f32
    T_world_head: AnyArray  # [T, 4, 4] f64
    T_world_torso: AnyArray  # [T, 4, 4] f64


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Initial points of the person in the canonical frame, P of them."""

    means: AnyArray  # [P, 3] f32 m
    normals: AnyArray  # [P, 3] f32 unit, out of the surface
    colors: AnyArray  # [P, 3] f32 RGB 0..1
    scales: AnyArray  # [P, 3] f32 m, along the axes of `quats`
    quats: AnyArray  # [P, 4] f32 wxyz
    labels: NDArray[np.uint8]  # [P] LABELS
    skinning_weight: AnyArray  # [P] f32, 0 torso bone .. 1 head bone
    mouth_modes: AnyArray  # [P, 8, 3] f32 m per unit of each mouth mode
    control_modes: AnyArray  # [P, 8, 3] f32 m per unit of each control (radian for gaze)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Dataset:
    """Data set of one person. Images, labels, audio and features are read from disk on demand."""

    folder: Path
    name: str
    source: str  # "actor", "video" or "import"
    license: str
    consent: str
    camera: Camera
    fps: float
    background: AnyArray  # [3] f32 0..1 or [H, W, 3] f32 0..1
    pivot_m: AnyArray  # [3] f64 neck joint, canonical frame
    landmark_scheme: str  # "ibug68", "mediapipe478" or "none"
    frames: FrameTable
    motion: MotionTrack

    @property
    def has_full_geometry(self) -> bool:
        """True where the points cover all sides: an actor's do, a video's only the visible parts."""
        return self.source == "actor"

    @property
    def is_tracked(self) -> bool:
        """True where poses and motion were tracked in images; an actor's are exact."""
        return self.source != "actor"


TEST_FRACTION, VAL_FRACTION = 0.10, 0.05


def split_by_time(
    time_ns: NDArray[np.int64], *, test_fraction: float = TEST_FRACTION, val_fraction: float = VAL_FRACTION
) -> NDArray[np.uint8]:
    """Split frames at increasing times [F] into TRAIN, then VAL, then TEST [F].

    Shares are of the time from the first picture to the last, so pictures chosen more densely in one place
    move no border. At least the last picture is TEST, and at least one is TRAIN.

    Raises:
        DatasetError: for fewer than two pictures, or shares that leave nothing to train on.
    """
    if len(time_ns) < 2 or not 0 <= val_fraction < 1 - test_fraction < 1:
        raise DatasetError(
            f"split: expected 2 pictures and shares that leave some to train on, found {len(time_ns)} "
            f"with {test_fraction:g} test and {val_fraction:g} val: give more pictures or smaller shares"
        )
    span = float(time_ns[-1] - time_ns[0])
    through = (time_ns - time_ns[0]) / span
    split = np.full(len(time_ns), TRAIN, np.uint8)
    split[through >= 1 - test_fraction - val_fraction] = VAL
    split[through >= 1 - test_fraction] = TEST
    split[0] = TRAIN
    return split


def frames_in_split(frames: FrameTable, part: int) -> NDArray[np.intp]:
    """Return the rows [n] of TRAIN, VAL or TEST, in order of time."""
    return np.flatnonzero(frames.split == part)


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
        "skinning_weight": (count,),
        "mouth_modes": (count, len(MOUTH_MODES), 3),
        "control_modes": (count, len(CONTROLS), 3),
    }
    for name, shape in shapes.items():
        _expect(f"points.{name}", getattr(points, name), shape, np.float32)
    _expect("points.labels", points.labels, (count,), np.uint8)
    _in_range("points.labels", points.labels, 0, len(LABELS) - 1)
    _in_range("points.skinning_weight", points.skinning_weight, 0.0, 1.0)
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
            "split by time (split_by_time)"
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
    """Check shape, dtype and finite values; NaN is accepted for `unknown`, infinity never."""
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
    """Check that each [4, 4] is a rotation and a translation."""
    if transforms.shape[1:] != (4, 4) or not np.isfinite(transforms).all():
        raise DatasetError(f"{name}: expected finite [4, 4] matrices, found {transforms.shape}: {INTACT}")
    rotations = np.clip(transforms[:, :3, :3], -2, 2)  # a number gone wild stays wrong and does not overflow
    off = np.abs(rotations @ rotations.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2))
    bad = (off > _RIGID) | (np.linalg.det(rotations) < 0) | (transforms[:, 3] != (0, 0, 0, 1)).any(axis=1)
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
