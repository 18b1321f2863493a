# SPDX-License-Identifier: Apache-2.0
"""Files of the data set format of AD-NeRF, RAD-NeRF, ER-NeRF and GaussianTalker (`data_utils/process.py`).

transforms_train.json and transforms_val.json: camera, poses, split. `transform_matrix` is T_head_camera, the
pose of the camera in the head's frame, in OpenGL axes (x right, y up, z backwards for the camera; y up, z out
of the face for the head), in meters (the tracker works in decimeters and divides by ten; the `scale` of 4 is
that of the trainers). `img_id` counts frames of a video of 25 fps from 0. The val part is last in time and is
what papers test on.

au.csv: action units of OpenFace.

aud*.npy: features of other audio encoders, a window for each frame: [F, 16, D] for DeepSpeech and wav2vec
(steps of 20 ms, from 8 before the frame's time to 7 after, stride 2), [F, 2, D] for HuBERT (the two steps of
the frame's 40 ms), [F, D] or [F, 1, D] for AVE. They are read as one stream.
"""

import csv
import io
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from splatface.models.audio2motion.audio_to_mouth import CONTROLS
from splatface.models.camera import Camera
from splatface.models.errors import DatasetError
from splatface.models.messages import NS_PER_S
from splatface.models.training.dataset.dataset_audio import FeatureStream
from splatface.models.training.dataset.file_format import plain_path, read_regular_file
from splatface.models.typing import BoolArray, Float32Array, Float64Array, FloatArray, Int64Array

__all__ = [
    "AU_FILE",
    "TRANSFORMS",
    "SourceFrames",
    "read_action_units",
    "read_feature_files",
    "read_transforms",
]

TRANSFORMS = ("transforms_train.json", "transforms_val.json")
AU_FILE = "au.csv"
_MAX_TRANSFORMS_BYTES = _MAX_CSV_BYTES = 1 << 28
_MAX_FEATURE_BYTES = 1 << 33
_AU45_CLOSED = 2.0  # ER-NeRF, GaussianTalker: clip(AU45_r, 0, 2) / 2; a blink seldom reaches OpenFace's 5
_AU_MAX = 5.0  # of the other intensities
# Action units of each control: inner and outer brow raiser, brow lowerer, lip corner puller.
_UNITS = {"brow_up": ("AU01_r", "AU02_r"), "brow_down": ("AU04_r",), "smile": ("AU12_r",)}
_WINDOW = 16  # steps of a DeepSpeech or wav2vec window, the frame's two in its middle
_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])  # OpenCV axes of OpenGL axes, and back


@dataclass(frozen=True, slots=True, eq=False)
class SourceFrames:
    """F frames of the video, increasing; the head's pose is relative to its median position."""

    camera: Camera  # its T_camera_world is the head's median position
    image_ids: Int64Array  # [F]
    in_val: BoolArray  # [F] frames of the val part
    T_world_head: Float64Array  # [F, 4, 4]


def read_transforms(folder: Path) -> SourceFrames:
    """Read camera and poses of a folder.

    The camera is static and the head moves: world axes are the camera's, the world's origin is the median
    position of the tracker's head origin (inside the head); a head that looks straight ahead has no rotation.

    Raises:
        DatasetError: when a file is missing, is no such JSON, or holds poses that are none.
    """
    files = [(name, _read_json(folder, name)) for name in TRANSFORMS]
    rows = [
        (name, frame, part) for part, (name, data) in enumerate(files) for frame in _check_frames(name, data)
    ]
    ids = np.array([_check_image_id(name, frame) for name, frame, _ in rows], np.int64)
    order = np.argsort(ids, kind="stable")
    duplicates = ids[order][1:][np.diff(ids[order]) == 0]
    if len(duplicates):
        raise DatasetError(
            f"{folder}: expected each picture once, found img_id {duplicates[0]} twice in the transforms: "
            "leave one of them out"
        )
    poses = np.stack([_read_pose(name, frame) for name, frame, _ in rows])[order]
    T_camera_head = _OPENGL @ np.linalg.inv(poses) @ _OPENGL
    T_camera_world = np.eye(4)
    T_camera_world[:3, 3] = np.median(T_camera_head[:, :3, 3], axis=0)
    return SourceFrames(
        camera=_read_camera(files[0][0], files[0][1], T_camera_world),
        image_ids=ids[order],
        in_val=np.array([part == 1 for _, _, part in rows])[order],
        T_world_head=np.linalg.inv(T_camera_world) @ T_camera_head,
    )


def _read_json(folder: Path, name: str) -> dict[str, Any]:
    try:
        data = json.loads(read_regular_file(folder, name, _MAX_TRANSFORMS_BYTES))
    except (ValueError, RecursionError) as error:
        raise DatasetError(
            f"{name}: expected JSON, found {str(error)[:100]}: run the data set's process.py again"
        ) from error
    if not isinstance(data, dict):
        raise DatasetError(f"{name}: expected an object, found {type(data).__name__}: name the right folder")
    return data


def _check_frames(name: str, data: dict[str, Any]) -> list[dict[str, Any]]:
    frames = data.get("frames")
    if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
        raise DatasetError(
            f"{name}: expected a list of frames, found none: run the data set's process.py again"
        )
    return frames


def _check_image_id(name: str, frame: dict[str, Any]) -> int:
    value = frame.get("img_id")
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 10**8:
        raise DatasetError(f"{name}: expected an img_id 0, 1, ..., found {str(value)[:40]}: mend the frame")
    return value


def _read_pose(name: str, frame: dict[str, Any]) -> Float64Array:
    """Read T_head_camera [4, 4]; its float32 values are corrected to an exact rotation."""
    try:
        pose = np.array(frame.get("transform_matrix"), np.float64)
    except (ValueError, TypeError):
        pose = np.zeros(0)
    where = f"{name}: img_id {frame.get('img_id')}: transform_matrix"
    if pose.shape != (4, 4) or not np.isfinite(pose).all():
        raise DatasetError(f"{where}: expected 4x4 numbers, found {list(pose.shape)}: run the tracker again")
    left, scales, right = np.linalg.svd(pose[:3, :3])
    if np.abs(scales - 1).max() > 0.02 or np.linalg.det(left @ right) < 0:
        raise DatasetError(
            f"{where}: expected a rotation, found one that stretches by {np.round(scales, 3).tolist()}"
            " or mirrors: run the tracker again"
        )
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = left @ right, pose[:3, 3]
    return T


def _read_camera(name: str, data: dict[str, Any], T_camera_world: Float64Array) -> Camera:
    """Read size and focal length in all forms that RAD-NeRF's and ER-NeRF's `provider.py` accept."""
    width, height = (_optional_number(name, data, key) for key in ("w", "h"))
    cx, cy = (_optional_number(name, data, key) for key in ("cx", "cy"))
    if width is None and cx is not None:
        width = 2 * cx
    if height is None and cy is not None:
        height = 2 * cy
    if not width or not height or not 1 <= min(width, height) <= max(width, height) <= 8192:
        raise DatasetError(f"{name}: expected w and h, or cx and cy, found {width} x {height}: add the size")
    fx = _optional_number(name, data, "focal_len") or _optional_number(name, data, "fl_x")
    fy = _optional_number(name, data, "focal_len") or _optional_number(name, data, "fl_y")
    angle_x = _optional_number(name, data, "camera_angle_x")
    if fx is None and fy is None and angle_x is not None and 0 < angle_x < math.pi:
        fx = width / (2 * math.tan(angle_x / 2))
    fx, fy = fx or fy, fy or fx
    if fx is None or fy is None or min(fx, fy) <= 0:
        raise DatasetError(
            f"{name}: expected focal_len, fl_x or camera_angle_x above 0, found none: add it (px, or rad)"
        )
    return Camera(
        width=int(width),
        height=int(height),
        fx=fx,
        fy=fy,
        cx=width / 2 if cx is None else cx,
        cy=height / 2 if cy is None else cy,
        T_camera_world=T_camera_world,
    )


def _optional_number(name: str, data: dict[str, Any], key: str) -> float | None:
    value = data.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DatasetError(f"{name}: {key}: expected a number, found {str(value)[:40]}: correct it")
    return float(value)


def read_action_units(folder: Path, image_ids: Int64Array) -> Float32Array:
    """Read the controls [F, 8] of the frames from the rows img_id of au.csv.

    Gaze, and what has no column, is NaN; so is everything without the file.

    Raises:
        DatasetError: when the file has no AU45_r, holds text for numbers, or has too few rows.
    """
    controls = np.full((len(image_ids), len(CONTROLS)), np.nan, np.float32)
    if not (folder / AU_FILE).exists():
        return controls
    columns = _read_columns(read_regular_file(folder, AU_FILE, _MAX_CSV_BYTES))
    if "AU45_r" not in columns:
        raise DatasetError(
            f"{AU_FILE}: expected a column AU45_r, found none: run OpenFace's FeatureExtraction"
        )
    rows = len(columns["AU45_r"])
    if rows <= image_ids.max():
        raise DatasetError(
            f"{AU_FILE}: expected a row for each of {image_ids.max() + 1} pictures, found {rows}: "
            "run OpenFace on the whole film"
        )
    blink = np.clip(columns["AU45_r"][image_ids], 0, _AU45_CLOSED) / _AU45_CLOSED
    for name in ("blink_left", "blink_right"):  # one unit for both lids
        controls[:, CONTROLS.index(name)] = blink
    for name, units in _UNITS.items():
        intensities = [columns[unit][image_ids] for unit in units if unit in columns]
        if intensities:
            controls[:, CONTROLS.index(name)] = np.clip(np.max(intensities, axis=0) / _AU_MAX, 0, 1)
    return controls


def _read_columns(content: bytes) -> dict[str, Float64Array]:
    """Read the columns that are used by name (OpenFace writes a space before each)."""
    wanted = {"AU45_r", *(unit for units in _UNITS.values() for unit in units)}
    reader = csv.reader(io.StringIO(content.decode("utf-8", "replace")))
    names = [name.strip() for name in next(reader, [])]
    rows = [row for row in reader if row]
    columns = {}
    for name in wanted & set(names):
        column = names.index(name)
        try:
            values = np.array([float(row[column]) for row in rows])
        except (ValueError, IndexError) as error:
            raise DatasetError(
                f"{AU_FILE}: {name}: expected numbers, found {str(error)[:80]}: run OpenFace again"
            ) from error
        columns[name] = np.where(np.isfinite(values), values, np.nan)
    return columns


def read_feature_files(folder: Path, fps: float) -> dict[str, FeatureStream]:
    """Read every aud*.npy: values [n, D] and video times [n] of their centers, ns, by name without .npy.

    Raises:
        DatasetError: when a file is no array of such a shape, or holds what is not finite.
    """
    return {
        path.stem: _read_feature_stream(folder, path.name, fps) for path in sorted(folder.glob("aud*.npy"))
    }


def _read_feature_stream(folder: Path, name: str, fps: float) -> FeatureStream:
    windows = _load_array(folder, name)
    if windows.ndim == 3 and windows.shape[1] == _WINDOW:
        windows = windows[:, _WINDOW // 2 : _WINDOW // 2 + 2]
    per_frame = windows.shape[1] if windows.ndim == 3 else 1
    if windows.ndim not in (2, 3) or per_frame not in (1, 2) or not windows.size:
        raise DatasetError(
            f"{name}: expected [pictures, 16 | 2 | 1, features] or [pictures, features], found "
            f"{list(windows.shape)}: extract the features again or delete the file"
        )
    values = np.asarray(windows, np.float32).reshape(len(windows) * per_frame, -1)
    if not np.isfinite(values).all():
        raise DatasetError(f"{name}: expected finite numbers, found others: extract the features again")
    centers_ns = np.round((np.arange(len(values)) + 0.5) * NS_PER_S / (fps * per_frame)).astype(np.int64)
    return values, centers_ns


def _load_array(folder: Path, name: str) -> FloatArray:
    path = plain_path(folder, name)
    if path.stat().st_size > _MAX_FEATURE_BYTES:
        raise DatasetError(
            f"{name}: expected at most {_MAX_FEATURE_BYTES} bytes, found more: delete the file"
        )
    try:
        array: FloatArray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise DatasetError(
            f"{name}: expected a numpy array, found {str(error)[:100]}: extract the features again"
        ) from error
    if array.dtype.kind not in "fiu":
        raise DatasetError(f"{name}: expected numbers, found {array.dtype}: extract the features again")
    return array
