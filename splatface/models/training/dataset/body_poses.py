# SPDX-License-Identifier: Apache-2.0
"""Head and torso poses of a video: neck joint, torso alignment, refined poses and motion."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from splatface.models.audio2motion.audio_to_mouth import CONTROL_RANGES, CONTROLS, MOUTH_MODES
from splatface.models.camera import Camera
from splatface.models.errors import DatasetError
from splatface.models.head.head_yaml import MAX_YAML_BYTES
from splatface.models.storage import PART
from splatface.models.training.dataset.dataset_io import load_dataset
from splatface.models.training.dataset.file_format import (
    FRAMES,
    MOTION,
    POINTS,
    YAML,
    describe,
    disk_error,
    pack,
    read_description,
    read_regular_file,
)
from splatface.models.training.dataset.types import (
    BACKGROUND,
    TORSO,
    Dataset,
    FrameTable,
    MotionTrack,
    Points,
    check_dataset,
    check_points,
)
from splatface.models.typing import Float32Array, Float64Array, UInt8Array

__all__ = ["neck_joint", "rewrite_tables", "track_torso", "with_motion_offset", "with_poses"]

_TYPICAL_JOINT_M = np.array([0.0, 0.095, 0.070])  # below the ears; films of people who turn say 0.06 to 0.09
_PRIOR_WEIGHT = 0.02  # squared turn (rad^2) at which pictures count as much as anatomy


def neck_joint(
    T_world_head: NDArray[np.float64], typical_m: NDArray[np.float64] = _TYPICAL_JOINT_M
) -> NDArray[np.float64]:
    """Estimate the neck joint [3] (canonical frame, m), which moves least under head poses [F, 4, 4].

    Minimizes the mean of |R p + t - c|^2 over p and c, plus 0.02 |p - typical|^2: a head that hardly turns
    does not determine p, which is then the typical position.
    """
    rotations, translations = T_world_head[:, :3, :3], T_world_head[:, :3, 3]
    # The best c is the mean of R p + t, so differences from the mean remain.
    dR = rotations - rotations.mean(axis=0)
    dt = translations - translations.mean(axis=0)
    normal = np.einsum("fij,fik->jk", dR, dR) / len(dR) + _PRIOR_WEIGHT * np.eye(3)
    right = -np.einsum("fij,fi->j", dR, dt) / len(dR) + _PRIOR_WEIGHT * typical_m
    joint: NDArray[np.float64] = np.linalg.solve(normal, right)
    return joint


FrameReader = Callable[[int], tuple[UInt8Array, UInt8Array]]  # row -> picture [H, W, 3] and labels [H, W]

_SIDE_PX = 192  # of the pictures that are aligned: a tenth of a pixel here is half a pixel at 1024
_STOP = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 40, 1e-5)
_BLUR_PX = 5
_OUTLINE_PX = 9  # about half of it outside
_MIN_TORSO = 0.01  # of the picture must be torso
_MIN_CORRELATION = 0.6  # correlation below which an alignment is not believed


def track_torso(read_frame: FrameReader, T_world_head: Float64Array, camera: Camera) -> Float64Array:
    """Track the torso in the image plane: T_world_torso [F, 4, 4] for a static camera along the z axis.

    The frame whose head [F, 4, 4] is nearest to rest shows the torso at rest. A frame that cannot be aligned
    (or shows hardly any torso) keeps the pose of its neighbor.
    """
    count = len(T_world_head)
    rest = int(np.argmin(np.abs(T_world_head - np.eye(4)).sum(axis=(1, 2))))
    template, mask = _gray_and_mask(*read_frame(rest))
    if mask.mean() < _MIN_TORSO * 255:
        return np.tile(np.eye(4), (count, 1, 1))
    warps = np.tile(np.eye(2, 3, dtype=np.float32), (count, 1, 1))
    for rows in (range(rest + 1, count), range(rest - 1, -1, -1)):
        warp = np.eye(2, 3, dtype=np.float32)
        for row in rows:
            warp = _align(template, *_gray_and_mask(*read_frame(row)), warp)
            warps[row] = warp
    scale = template.shape[1] / camera.width
    return np.stack([_pose_from_warp(warp.astype(np.float64), scale, camera) for warp in warps])


def _gray_and_mask(picture: UInt8Array, labels: UInt8Array) -> tuple[UInt8Array, UInt8Array]:
    """Return the gray image and the mask of the torso with its outline, at most 192 px a side."""
    scale = min(_SIDE_PX / max(labels.shape), 1.0)
    size = (round(labels.shape[1] * scale), round(labels.shape[0] * scale))
    gray = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA)
    small = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
    # The outline against the background shows a plain shirt; the one against the neck moves by itself.
    near = cv2.dilate((small == TORSO).astype(np.uint8), np.ones((_OUTLINE_PX, _OUTLINE_PX), np.uint8))
    mask = np.where((small == TORSO) | ((small == BACKGROUND) & (near > 0)), 255, 0)
    return np.asarray(gray, np.uint8), mask.astype(np.uint8)


def _align(
    template: UInt8Array, gray: UInt8Array, mask: UInt8Array, start: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Align an image with the template: x' = warp @ (x, 1), pixel centers at integers."""
    if mask.mean() < _MIN_TORSO * 255:
        return start
    try:
        correlation, warp = cv2.findTransformECC(
            template, gray, start.copy(), cv2.MOTION_EUCLIDEAN, _STOP, mask, _BLUR_PX
        )
    except cv2.error:  # it did not converge
        return start
    return np.asarray(warp, np.float32) if correlation > _MIN_CORRELATION else start


def _pose_from_warp(warp: Float64Array, scale: float, camera: Camera) -> Float64Array:
    """Convert a warp to the rigid motion [4, 4] of the same effect at the depth of the world's origin."""
    turn = warp[:, :2]
    half = np.array([0.5, 0.5])  # our pixel centers lie at halves
    shift_px = (warp[:, 2] + half - turn @ half) / scale
    center = np.array([camera.cx, camera.cy])
    origin = camera.T_camera_world[:3, 3]
    in_camera = np.eye(4)
    in_camera[:2, :2] = turn
    in_camera[:2, 3] = (turn @ center + shift_px - center) * origin[2] / np.array([camera.fx, camera.fy])
    T_world_camera = np.linalg.inv(camera.T_camera_world)
    bone: Float64Array = T_world_camera @ in_camera @ camera.T_camera_world
    return bone


Table = TypeVar("Table", FrameTable, MotionTrack)


def rewrite_tables(dataset: Dataset, points: Points | None = None) -> None:
    """Replace the tables and the description of the data set in `dataset.folder`; images and audio stay.

    Args:
        dataset: what `load_dataset` gave, with other frames, motion, pivot or landmark scheme (`replace`).
        points: where training may start; None keeps those that are there.

    Raises:
        DatasetError: when something is not sound, the frames are not at the pictures' times or the camera
            and background are not the pictures', or the disk refuses before anything was changed.
    """
    check_dataset(dataset)
    stored = load_dataset(dataset.folder)
    if dataset.frames.time_ns.tolist() != stored.frames.time_ns.tolist():
        raise DatasetError(
            f"frames: expected the {len(stored.frames)} times of the pictures, found others: "
            "keep one row for each picture"
        )
    if (dataset.camera.width, dataset.camera.height) != (stored.camera.width, stored.camera.height):
        raise DatasetError(
            f"camera: expected {stored.camera.width}x{stored.camera.height} as the pictures, found others: "
            "only its other values may change"
        )
    tables = {FRAMES: pack(dataset.frames), MOTION: pack(dataset.motion)}
    if points is not None:
        check_points(points)
        tables[POINTS] = pack(points)
    digests = dict(read_description(read_regular_file(dataset.folder, YAML, MAX_YAML_BYTES)).sha256)
    digests |= {name: hashlib.sha256(content).hexdigest() for name, content in tables.items()}
    _put(dataset, tables | {YAML: describe(dataset, digests)})


def with_poses(
    dataset: Dataset, T_world_head: Float64Array, T_world_torso: Float64Array, camera: Camera
) -> Dataset:
    """Return the data set with other poses [F, 4, 4] of its frames and another camera; nothing is written.

    The motion between frames follows: the change of pose is interpolated linearly in time, as a rotation
    (about the world's origin) and a translation.
    """
    frames, track = dataset.frames, dataset.motion

    def changed(T: Float64Array, before: Float64Array, after: Float64Array) -> Float64Array:
        known = np.isfinite(before).all(axis=(1, 2))
        change = after[known] @ np.linalg.inv(before[known])
        return _interpolate_pose_change(T, track.time_ns, change, frames.time_ns[known])

    return replace(
        dataset,
        camera=camera,
        frames=replace(frames, T_world_head=T_world_head, T_world_torso=T_world_torso),
        motion=replace(
            track,
            T_world_head=changed(track.T_world_head, frames.T_world_head, T_world_head),
            T_world_torso=changed(track.T_world_torso, frames.T_world_torso, T_world_torso),
        ),
    )


def with_motion_offset(dataset: Dataset, change: Float64Array, known_ns: NDArray[np.int64]) -> Dataset:
    """Return the data set with another motion of its frames and between them; nothing is written.

    Args:
        dataset: the data set.
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
    """Compute the changed mouth and controls of a table."""
    at = np.stack([np.interp(track.time_ns, known_ns, column) for column in change.T], axis=1)
    ranges = np.array([CONTROL_RANGES[name] for name in CONTROLS])
    controls = np.clip(track.controls + at[:, len(MOUTH_MODES) :], ranges[:, 0], ranges[:, 1])
    mouth = track.mouth + at[:, : len(MOUTH_MODES)]
    return mouth.astype(np.float32), controls.astype(np.float32)


def _interpolate_pose_change(
    T: Float64Array, time_ns: NDArray[np.int64], change: Float64Array, known_ns: NDArray[np.int64]
) -> Float64Array:
    """Apply changes of pose [n, 4, 4] known at some times to poses [T, 4, 4]."""
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
    """Write all files before the first replaces an old one, so that only renames remain."""
    parts = {name: dataset.folder / (name + PART) for name in contents}
    try:
        for name, content in contents.items():
            parts[name].write_bytes(content)
        for name, part in parts.items():
            part.replace(dataset.folder / name)
    except OSError as error:
        raise disk_error(dataset.folder, error) from error
