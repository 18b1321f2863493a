"""transforms_train.json and transforms_val.json of the format the field shares: camera, poses, split.

Written by `data_utils/process.py` of AD-NeRF, RAD-NeRF, ER-NeRF and GaussianTalker. What their code means:
`transform_matrix` is T_head_camera, the pose of the camera about the head, in OpenGL axes (x right, y up, z
backwards out of the scene for the camera; y up, z out of the face for the head), in meters (their tracker
works in decimetres and divides by ten; the `scale` of 4 is the trainers' own). `img_id` counts pictures of a
film of 25 per second from 0. The val part lies last and is what their papers test on.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatface.models.camera import Camera
from splatface.models.errors import DatasetError
from splatface.models.training.dataset.disk import read_regular_file

__all__ = ["TRANSFORMS", "ImportedFrames", "read_shots"]

TRANSFORMS = ("transforms_train.json", "transforms_val.json")
_MAX_BYTES = 1 << 28
_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])  # OpenCV axes of OpenGL axes, and back


@dataclass(frozen=True, slots=True, eq=False)
class ImportedFrames:
    """F pictures of the film, rising; the head's pose is relative to where it mostly is."""

    camera: Camera  # its T_camera_world holds where the head mostly is
    image_ids: NDArray[np.int64]  # [F]
    tested: NDArray[np.bool_]  # [F] whether it is of the val part
    T_world_head: NDArray[np.float64]  # [F, 4, 4]


def read_shots(folder: Path) -> ImportedFrames:
    """Camera and poses of a folder in the shared format.

    The camera stands still and the head moves: world axes are the camera's, the world's origin is the median
    place of the tracker's head origin (inside the head), and a head that looks straight ahead has no turn.

    Raises:
        DatasetError: when a file is missing, is no such JSON, or holds poses that are none.
    """
    files = [(name, _parsed(folder, name)) for name in TRANSFORMS]
    rows = [(name, frame, part) for part, (name, data) in enumerate(files) for frame in _frames(name, data)]
    ids = np.array([_image_id(name, frame) for name, frame, _ in rows], np.int64)
    order = np.argsort(ids, kind="stable")
    doubles = ids[order][1:][np.diff(ids[order]) == 0]
    if len(doubles):
        raise DatasetError(
            f"{folder}: expected each picture once, found img_id {doubles[0]} twice in the transforms: "
            "leave one of them out"
        )
    poses = np.stack([_pose(name, frame) for name, frame, _ in rows])[order]
    T_camera_head = _OPENGL @ np.linalg.inv(poses) @ _OPENGL
    T_camera_world = np.eye(4)
    T_camera_world[:3, 3] = np.median(T_camera_head[:, :3, 3], axis=0)
    return ImportedFrames(
        camera=_camera(files[0][0], files[0][1], T_camera_world),
        image_ids=ids[order],
        tested=np.array([part == 1 for _, _, part in rows])[order],
        T_world_head=np.linalg.inv(T_camera_world) @ T_camera_head,
    )


def _parsed(folder: Path, name: str) -> dict[str, Any]:
    try:
        data = json.loads(read_regular_file(folder, name, _MAX_BYTES))
    except (ValueError, RecursionError) as error:
        raise DatasetError(
            f"{name}: expected JSON, found {str(error)[:100]}: run the data set's process.py again"
        ) from error
    if not isinstance(data, dict):
        raise DatasetError(f"{name}: expected an object, found {type(data).__name__}: name the right folder")
    return data


def _frames(name: str, data: dict[str, Any]) -> list[dict[str, Any]]:
    frames = data.get("frames")
    if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
        raise DatasetError(
            f"{name}: expected a list of frames, found none: run the data set's process.py again"
        )
    return frames


def _image_id(name: str, frame: dict[str, Any]) -> int:
    value = frame.get("img_id")
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 10**8:
        raise DatasetError(f"{name}: expected an img_id 0, 1, ..., found {str(value)[:40]}: mend the frame")
    return value


def _pose(name: str, frame: dict[str, Any]) -> NDArray[np.float64]:
    """T_head_camera [4, 4]; their float32 numbers are brought back to an exact rotation."""
    try:
        pose = np.array(frame.get("transform_matrix"), np.float64)
    except (ValueError, TypeError):
        pose = np.zeros(0)
    at = f"{name}: img_id {frame.get('img_id')}: transform_matrix"
    if pose.shape != (4, 4) or not np.isfinite(pose).all():
        raise DatasetError(f"{at}: expected 4x4 numbers, found {list(pose.shape)}: run the tracker again")
    left, sizes, right = np.linalg.svd(pose[:3, :3])
    if np.abs(sizes - 1).max() > 0.02 or np.linalg.det(left @ right) < 0:
        raise DatasetError(
            f"{at}: expected a rotation, found one that stretches by {np.round(sizes, 3).tolist()}"
            " or mirrors: run the tracker again"
        )
    whole = np.eye(4)
    whole[:3, :3], whole[:3, 3] = left @ right, pose[:3, 3]
    return whole


def _camera(name: str, data: dict[str, Any], T_camera_world: NDArray[np.float64]) -> Camera:
    """Size and focal length in all the ways in which RAD-NeRF's and ER-NeRF's `provider.py` find them."""
    width, height = (_number(name, data, key) for key in ("w", "h"))
    cx, cy = (_number(name, data, key) for key in ("cx", "cy"))
    if width is None and cx is not None:
        width = 2 * cx
    if height is None and cy is not None:
        height = 2 * cy
    if not width or not height or not 1 <= min(width, height) <= max(width, height) <= 8192:
        raise DatasetError(f"{name}: expected w and h, or cx and cy, found {width} x {height}: add the size")
    fx = _number(name, data, "focal_len") or _number(name, data, "fl_x")
    fy = _number(name, data, "focal_len") or _number(name, data, "fl_y")
    angle_x = _number(name, data, "camera_angle_x")
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


def _number(name: str, data: dict[str, Any], key: str) -> float | None:
    value = data.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DatasetError(f"{name}: {key}: expected a number, found {str(value)[:40]}: correct it")
    return float(value)
