"""Better tables for a data set that exists: what tracking or training finds out about a film."""

import hashlib
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from splatface.models.audio2motion.audio_to_mouth import CONTROL_RANGES, CONTROLS, MOUTH_MODES
from splatface.models.camera import Camera
from splatface.models.errors import DatasetError
from splatface.models.head.yaml_door import MAX_YAML_BYTES
from splatface.models.training.dataset.checks import check_dataset, check_points
from splatface.models.training.dataset.description import YAML, describe, read_description
from splatface.models.training.dataset.disk import PART, disk_error, read_regular_file
from splatface.models.training.dataset.file import load_dataset
from splatface.models.training.dataset.tables import FRAMES, MOTION, POINTS, pack
from splatface.models.training.dataset.types import Dataset, FrameTable, MotionTrack, Points
from splatface.models.typing import Float32Array, Float64Array

__all__ = ["rewrite_tables", "with_motion_offset", "with_poses"]


Table = TypeVar("Table", FrameTable, MotionTrack)


def rewrite_tables(better: Dataset, points: Points | None = None) -> None:
    """Replace the tables and the description of the data set in `better.folder`; pictures and sound stay.

    Args:
        better: what `load_dataset` gave, with other frames, motion, pivot or landmark scheme (`replace`).
        points: where training may start; None keeps those that are there.

    Raises:
        DatasetError: when something is not sound, the frames are not at the pictures' times or the camera
            and background are not the pictures', or the disk refuses before anything was changed.
    """
    check_dataset(better)
    known = load_dataset(better.folder)
    if better.frames.time_ns.tolist() != known.frames.time_ns.tolist():
        raise DatasetError(
            f"frames: expected the {len(known.frames)} times of the pictures, found others: "
            "keep one row for each picture"
        )
    if (better.camera.width, better.camera.height) != (known.camera.width, known.camera.height):
        raise DatasetError(
            f"camera: expected {known.camera.width}x{known.camera.height} as the pictures, found others: "
            "only its other values may change"
        )
    tables = {FRAMES: pack(better.frames), MOTION: pack(better.motion)}
    if points is not None:
        check_points(points)
        tables[POINTS] = pack(points)
    digests = dict(read_description(read_regular_file(better.folder, YAML, MAX_YAML_BYTES)).sha256)
    digests |= {name: hashlib.sha256(content).hexdigest() for name, content in tables.items()}
    _put(better, tables | {YAML: describe(better, digests)})


def with_poses(
    dataset: Dataset, T_world_head: Float64Array, T_world_torso: Float64Array, camera: Camera
) -> Dataset:
    """The data set with other poses [F, 4, 4] of its pictures and another lens; nothing on disk changes.

    The motion between pictures goes along: each moment is moved as the pictures around it were, by turn
    (about the world's origin) and shift, linear in time.
    """
    frames, track = dataset.frames, dataset.motion

    def carried(T: Float64Array, before: Float64Array, after: Float64Array) -> Float64Array:
        known = np.isfinite(before).all(axis=(1, 2))
        change = after[known] @ np.linalg.inv(before[known])
        return _interpolate_pose_change(T, track.time_ns, change, frames.time_ns[known])

    return replace(
        dataset,
        camera=camera,
        frames=replace(frames, T_world_head=T_world_head, T_world_torso=T_world_torso),
        motion=replace(
            track,
            T_world_head=carried(track.T_world_head, frames.T_world_head, T_world_head),
            T_world_torso=carried(track.T_world_torso, frames.T_world_torso, T_world_torso),
        ),
    )


def with_motion_offset(dataset: Dataset, change: Float64Array, known_ns: NDArray[np.int64]) -> Dataset:
    """The data set with another motion of its pictures and between them; nothing on disk changes.

    Args:
        dataset: see splatface/models/training/dataset.
        change: [n, 16] to be added to mouth modes and controls; these keep to their ranges.
        known_ns: [n] rising, when. Between them it is linear in time.
    """

    def changed(track: Table) -> Table:
        mouth, controls = _changed(track, change, known_ns)
        return replace(track, mouth=mouth, controls=controls)

    return replace(dataset, frames=changed(dataset.frames), motion=changed(dataset.motion))


def _changed(
    track: FrameTable | MotionTrack, change: Float64Array, known_ns: NDArray[np.int64]
) -> tuple[Float32Array, Float32Array]:
    """Mouth and controls of a table with rows in time."""
    at = np.stack([np.interp(track.time_ns, known_ns, column) for column in change.T], axis=1)
    ranges = np.array([CONTROL_RANGES[name] for name in CONTROLS])
    controls = np.clip(track.controls + at[:, len(MOUTH_MODES) :], ranges[:, 0], ranges[:, 1])
    mouth = track.mouth + at[:, : len(MOUTH_MODES)]
    return mouth.astype(np.float32), controls.astype(np.float32)


def _interpolate_pose_change(
    T: Float64Array, time_ns: NDArray[np.int64], change: Float64Array, known_ns: NDArray[np.int64]
) -> Float64Array:
    """Poses [T, 4, 4] after changes [n, 4, 4] known at some times."""
    if not len(change):
        return T
    twists = np.concatenate([Rotation.from_matrix(change[:, :3, :3]).as_rotvec(), change[:, :3, 3]], axis=1)
    at = np.stack([np.interp(time_ns, known_ns, values) for values in twists.T], axis=1)
    between = np.tile(np.eye(4), (len(T), 1, 1))
    between[:, :3, :3] = Rotation.from_rotvec(at[:, :3]).as_matrix()
    between[:, :3, 3] = at[:, 3:]
    found: Float64Array = between @ T
    return found


def _put(dataset: Dataset, contents: dict[str, bytes]) -> None:
    """All files lie on the disk before the first takes its place: what remains are a few renames."""
    parts = {name: dataset.folder / (name + PART) for name in contents}
    try:
        for name, content in contents.items():
            parts[name].write_bytes(content)
        for name, part in parts.items():
            part.replace(dataset.folder / name)
    except OSError as error:
        raise disk_error(dataset.folder, error) from error
