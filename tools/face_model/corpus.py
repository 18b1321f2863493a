# SPDX-License-Identifier: Apache-2.0
"""Pictures of many people with everything known about them, and where mediapipe sees their landmarks."""

import os
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from people import person

from splatface.models.audio2motion.audio_to_mouth import CONTROLS, MOUTH_MODES
from splatface.models.camera import Camera
from splatface.models.training.synthetic.blendshape_mapping import to_arkit_blendshapes
from splatface.models.training.synthetic.body import Body, make_body
from splatface.models.training.synthetic.preview.preview_renderer import PreviewRenderer
from splatface.models.training.synthetic.rig import BodyPose
from splatface.models.training.tracking.face_detection import Landmarker
from splatface.models.typing import AnyArray

__all__ = ["Shown", "draw_people", "shown_of"]


_SIZE_PX = 512
_MODES, _CONTROLS = len(MOUTH_MODES), len(CONTROLS)


@dataclass(frozen=True, eq=False)
class Shown:
    """P pictures of one person."""

    seed: int
    motion: AnyArray  # [P, 16] mouth modes and controls
    poses: AnyArray  # [P, 3] head yaw, pitch, roll, rad
    cameras: AnyArray  # [P, 5] fx, cx, cy and the camera's place x, y, z (T_camera_world is a shift)
    landmarks_px: AnyArray  # [P, 478, 3] as detected, NaN where nothing was


def draw_people(folder: Path, seeds: range, pictures: int) -> None:
    """Draw `pictures` of every seed and keep what was found in folder/<seed>.npz; goes on where it was."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        if not (folder / f"{seed}.npz").exists():
            _draw(folder, seed, pictures)
            print(f"person {seed}", flush=True)


def shown_of(folder: Path, seed: int) -> Shown:
    """Return what `draw_people` kept of a seed."""
    with np.load(folder / f"{seed}.npz") as file:
        return Shown(seed, **{name: file[name] for name in file.files})


def _draw(folder: Path, seed: int, pictures: int) -> None:
    body = make_body(person(seed))
    rng = np.random.default_rng([seed, 0xCA])
    motion = np.stack([_motion(rng, number) for number in range(pictures)])
    poses = rng.uniform(-1, 1, (pictures, 3)) * np.radians([28, 18, 10])
    poses[0] = 0
    cameras = np.stack([_camera(rng) for _ in range(pictures)])
    found = _seen(body, (motion, poses, cameras), folder / f"{seed}.jpg")
    part = folder / f"{seed}.{os.getpid()}.npz"
    np.savez(part, motion=motion, poses=poses, cameras=cameras, landmarks_px=found)
    part.replace(folder / f"{seed}.npz")


def _seen(body: Body, scenes: tuple[AnyArray, AnyArray, AnyArray], sheet: Path) -> AnyArray:
    found, strips = [], []
    preview = PreviewRenderer(body, camera_of(scenes[2][0]))
    with Landmarker() as find:
        for motion, pose, camera in zip(*scenes, strict=True):
            preview.camera = camera_of(camera)
            posed = body.posed(
                to_arkit_blendshapes(motion[:_MODES], motion[_MODES:]), BodyPose(*pose.tolist())
            )
            picture, _ = preview.draw(posed)
            found.append(find(picture))
            if len(strips) < 12:
                strips.append(cv2.resize(picture, (256, 256), interpolation=cv2.INTER_AREA))
    rows = [np.hstack(strips[i : i + 6]) for i in (0, 6)]
    cv2.imwrite(str(sheet), np.vstack(rows)[..., ::-1])
    return np.stack(found)


def camera_of(values: AnyArray) -> Camera:
    """Return the camera of a row of `Shown.cameras`."""
    focal, cx, cy = values[:3].tolist()
    T = np.eye(4)
    T[:3, 3] = values[3:]
    return Camera(_SIZE_PX, _SIZE_PX, focal, focal, cx, cy, T)


def _camera(rng: np.random.Generator) -> AnyArray:
    """Return a camera, near or far, that sees the face at a third to a half of the image height."""
    distance = float(np.exp(rng.uniform(np.log(0.5), np.log(1.9))))
    view_m = float(rng.uniform(0.30, 0.55))
    place = np.r_[rng.normal(0, 0.02, 2) - [0, 0.03], distance]
    return np.r_[_SIZE_PX * distance / view_m, _SIZE_PX / 2, _SIZE_PX / 2, place]


def _motion(rng: np.random.Generator, number: int) -> AnyArray:
    """Return motion [16]: at rest in every eighth picture, else some of the modes and controls."""
    motion = np.zeros(_MODES + _CONTROLS)
    gaze = rng.normal(0, 1, 2) * (0.15, 0.10)
    if number % 8:
        on = rng.random(_MODES) < 0.3
        motion[:_MODES] = on * rng.uniform(0, 1, _MODES)
        if rng.random() < 0.4:
            motion[_MODES : _MODES + 2] = np.clip(rng.uniform(0, 1.1) + rng.normal(0, 0.03, 2), 0, 1)
        motion[_MODES + 4 + int(rng.integers(2))] = max(float(rng.uniform(-0.7, 1)), 0)
        motion[_MODES + 6] = max(float(rng.uniform(-0.6, 1)), 0)
    motion[_MODES + 2 : _MODES + 4] = np.clip(gaze, -0.33, 0.25)
    motion[_MODES + 7] = np.clip(0.4 * rng.normal(), -1, 1) if number % 8 else 0.0
    return motion
