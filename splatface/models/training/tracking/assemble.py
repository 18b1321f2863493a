"""The tables of a data set, from what was tracked in a film."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

from splatface.models.camera import Camera
from splatface.models.training.dataset.types import Dataset, FrameTable, MotionTrack, split_by_time
from splatface.models.training.tracking.plate import Plate
from splatface.models.training.tracking.story import ShotSelection
from splatface.models.typing import Float64Array

__all__ = ["Provenance", "Rows", "Tracked", "TrackedFrames", "assemble", "interpolate_poses", "moments_of"]


_LONGEST_GAP_S = 0.5  # a face lost for longer is not made up
_TEST_S, _TEST_SHARE, _VAL_SHARE = 30.0, 0.10, 0.05


@dataclass(frozen=True, slots=True, eq=False)
class TrackedFrames:
    """The M moments of a film at which the face is known, or lost for so short that it can be told."""

    numbers: NDArray[np.intp]  # [M] of the film's pictures
    landmarks: Float64Array  # [M, 478, 3] px, NaN where lost
    begins: NDArray[np.bool_]  # [M] the film was cut before


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Which of a film's pictures became rows, and when each picture is shown."""

    moments: TrackedFrames
    numbers: NDArray[np.intp]  # [R] of the film's pictures, all among the moments
    time_ns: NDArray[np.int64]  # [F]
    fps: float


@dataclass(frozen=True, slots=True, eq=False)
class Tracked:
    """What a person did at M moments."""

    camera: Camera
    T_world_head: Float64Array  # [M, 4, 4]
    T_world_torso: Float64Array  # [M, 4, 4]
    mouth: Float64Array  # [M, 8]
    controls: Float64Array  # [M, 7]
    pivot_m: Float64Array  # [3] neck joint, canonical frame


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Who is shown, and who allows what."""

    name: str
    license: str
    consent: str


def moments_of(landmarks: NDArray[np.floating], story: ShotSelection, fps: float) -> TrackedFrames:
    """Moments of a story among F pictures with landmarks [F, 478, 3], NaN where lost."""
    used = story.used
    at = np.flatnonzero(np.isfinite(landmarks).all(axis=(1, 2)) & used)
    numbers = np.arange(len(used))
    before = at[np.clip(np.searchsorted(at, numbers, side="right") - 1, 0, len(at) - 1)]
    after = at[np.clip(np.searchsorted(at, numbers), 0, len(at) - 1)]
    short = (after - before) / fps <= _LONGEST_GAP_S
    kept = np.flatnonzero(used & short & (numbers >= at[0]) & (numbers <= at[-1]))
    begins = np.r_[True, (np.diff(np.cumsum(story.cut)[kept]) > 0) | (np.diff(kept) > 1)]
    return TrackedFrames(kept, landmarks[kept].astype(np.float64), begins)


def interpolate_poses(poses: Float64Array, at: NDArray[np.intp], count: int) -> Float64Array:
    """Poses [count, 4, 4] from those [R, 4, 4] known at rising numbers [R]; the nearest before and after."""
    turns = Slerp(at, Rotation.from_matrix(poses[:, :3, :3]))
    numbers = np.clip(np.arange(count), at[0], at[-1])
    found = np.tile(np.eye(4), (count, 1, 1))
    found[:, :3, :3] = turns(numbers).as_matrix()
    for axis in range(3):
        found[:, axis, 3] = np.interp(numbers, at, poses[:, axis, 3])
    return found


def assemble(owner: Provenance, film: Rows, tracked: Tracked, plate: Plate) -> Dataset:
    """The data set of the rows; its folder is still to be named."""
    at = np.searchsorted(film.moments.numbers, film.numbers)
    time_ns = film.time_ns[film.numbers]
    motion = MotionTrack(
        time_ns=film.time_ns[film.moments.numbers],
        mouth=tracked.mouth.astype(np.float32),
        controls=tracked.controls.astype(np.float32),
        T_world_head=tracked.T_world_head,
        T_world_torso=tracked.T_world_torso,
    )
    seconds = float(time_ns[-1] - time_ns[0]) / 1e9
    test = min(_TEST_SHARE, _TEST_S / seconds)
    frames = FrameTable(
        time_ns=time_ns,
        split=split_by_time(time_ns, test_share=test, val_share=min(_VAL_SHARE, test)),
        T_world_head=motion.T_world_head[at],
        T_world_torso=motion.T_world_torso[at],
        mouth=motion.mouth[at],
        controls=motion.controls[at],
        landmarks_px=film.moments.landmarks[at, :, :2].astype(np.float32),
    )
    flat = plate.picture.reshape(-1, 3).mean(axis=0).astype(np.float32)
    return Dataset(
        folder=Path(),
        name=owner.name,
        source="video",
        license=owner.license,
        consent=owner.consent,
        camera=tracked.camera,
        fps=film.fps,
        background=flat if plate.flat else plate.picture,
        pivot_m=tracked.pivot_m,
        landmark_scheme="mediapipe478",
        frames=frames,
        motion=motion,
    )
