# SPDX-License-Identifier: Apache-2.0
"""Scene files for a renderer outside of splatface (Blender), as plain tensors.

    scene.npz            parts at rest, colors, labels, materials, the camera
    frames/000000.npz    positions of the moving parts, and the head's transform

`tools/film` reads it with numpy alone.
"""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from splatface.models.camera import Camera
from splatface.models.errors import ActorError
from splatface.models.storage import atomic_write
from splatface.models.training.synthetic.body import Body
from splatface.models.training.synthetic.body_parts import Part, PosedBody
from splatface.models.typing import AnyArray

__all__ = ["HEAD_FIXED", "film_camera", "frame_path", "read_frame", "write_frame", "write_scene"]


HEAD_FIXED = ("hair",)
_FORMAT, _VERSION = "splatface-film", 1
_DISTANCE_M = 1.70
_VIEW_M = 0.42  # height of the view at the eyes


def film_camera(size_px: int = 512) -> Camera:
    """Return the fixed camera of all films: head and shoulders, straight on, square picture."""
    T_camera_world = np.eye(4)
    T_camera_world[:3, 3] = (0.0, -0.045, _DISTANCE_M)  # the camera stands 45 mm below the eyes
    focal = size_px * _DISTANCE_M / _VIEW_M
    return Camera(size_px, size_px, focal, focal, size_px / 2, size_px / 2, T_camera_world)


def write_scene(folder: Path, body: Body, camera: Camera) -> None:
    """Write scene.npz and make frames/."""
    (folder / "frames").mkdir(parents=True, exist_ok=True)
    tensors: dict[str, AnyArray] = {}
    for name, part in body.parts.items():
        tensors.update({f"{name}.{key}": value for key, value in _tensors(part).items()})
    about = {
        "format": _FORMAT,
        "version": _VERSION,
        "name": body.identity.name,
        "head_fixed": list(HEAD_FIXED),
        "parts": {name: _about(part) for name, part in body.parts.items()},
        "camera": {
            "width": camera.width, "height": camera.height, "fx": camera.fx, "fy": camera.fy,
            "cx": camera.cx, "cy": camera.cy, "T_camera_world": camera.T_camera_world.tolist(),
        },
    }  # fmt: skip
    _save(folder / "scene.npz", {"about": np.array(json.dumps(about)), **tensors})


def frame_path(folder: Path, row: int) -> Path:
    """Return where the frame of a row lies."""
    return folder / "frames" / f"{row:06d}.npz"


def write_frame(folder: Path, row: int, posed: PosedBody) -> None:
    """Write frames/<row>.npz: moving parts as float32, T_world_head, T_world_torso, landmarks."""
    moving = {
        name: positions.astype(np.float32)
        for name, positions in posed.positions.items()
        if name not in HEAD_FIXED
    }
    bones = {"T_world_head": posed.T_world_head, "T_world_torso": posed.T_world_torso}
    _save(frame_path(folder, row), {**moving, **bones, "landmarks": posed.landmarks})


def read_frame(folder: Path, row: int) -> dict[str, AnyArray]:
    """Return what `write_frame` wrote; ActorError where there is no such frame."""
    path = frame_path(folder, row)
    if not path.exists():
        raise ActorError(f"{path}: expected a frame of the film, found none: write the film again")
    with np.load(path, allow_pickle=False) as tensors:
        return {name: tensors[name] for name in tensors.files}


def _about(part: Part) -> dict[str, Any]:
    return {
        "kind": part.kind,
        "material": part.material,
        "roughness": part.roughness,
        "subsurface": part.subsurface,
        "radius": list(part.radius),
    }


def _tensors(part: Part) -> dict[str, AnyArray]:
    tensors: dict[str, AnyArray] = {
        "positions": part.positions.astype(np.float32),
        "colors": part.colors.astype(np.float32),
        "labels": part.labels,
    }
    if part.faces is not None:
        tensors["faces"] = part.faces.astype(np.int32)
    if part.gloss is not None:
        tensors["gloss"] = part.gloss.astype(np.float32)
    return tensors


def _save(path: Path, tensors: Mapping[str, AnyArray]) -> None:
    """Write at once or not at all: a stopped writer leaves no half file under the name."""
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **dict(tensors))
    atomic_write(path, content.getvalue(), fsync=False)
