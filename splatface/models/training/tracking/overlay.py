"""What was tracked, drawn into a picture: landmarks, the fitted face, the head's axes and where it looks."""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from splatface.models.audio2motion.audio_to_mouth import CONTROLS
from splatface.models.camera import Camera
from splatface.models.training.tracking.face_model import IRISES
from splatface.models.training.tracking.landmarks import LIPS
from splatface.models.training.tracking.masks import EYE_RIMS, OVAL
from splatface.models.typing import AnyArray, UInt8Array

__all__ = ["OverlayData", "draw_tracked"]


Color = tuple[int, int, int]

_BROWS: Final = ((70, 63, 105, 66, 107), (300, 293, 334, 296, 336))
_CLOSED: Final = (LIPS[:20], LIPS[20:], *EYE_RIMS)
_SEEN: Color = (255, 255, 255)
_FITTED: Color = (60, 220, 120)
_AXES: Final[tuple[Color, ...]] = ((235, 80, 80), (90, 200, 90), (80, 140, 255))
_GAZE: Color = (255, 200, 40)
_AXIS_M, _GAZE_M = 0.05, 0.06
_YAW, _PITCH = CONTROLS.index("gaze_yaw"), CONTROLS.index("gaze_pitch")
_SUBPIXEL = 4  # bits


@dataclass(frozen=True, slots=True, eq=False)
class OverlayData:
    """One moment as it was tracked."""

    seen_px: AnyArray  # [478, 2] landmarks as they were found
    fitted_px: AnyArray  # [478, 2] where the fit has them; NaN where it is not known
    shape_m: AnyArray  # [478, 3] at rest, canonical frame
    T_world_head: AnyArray  # [4, 4]
    controls: AnyArray  # [7]


def draw_tracked(picture: UInt8Array, drawn: OverlayData, camera: Camera, side_px: int) -> UInt8Array:
    """The picture [H, W, 3] at side_px x side_px with all of it.

    Dots are landmarks as they were found, green lines the face that was fitted to them; red, green and blue
    go to the head's side, down, and out of the face; yellow goes where the eyes look, taken that what they
    look at most is the camera.
    """
    scale = side_px / picture.shape[0]
    shown = np.ascontiguousarray(cv2.resize(picture, (side_px, side_px), interpolation=cv2.INTER_AREA))
    if np.isfinite(drawn.seen_px).all():
        for point in drawn.seen_px * scale:
            cv2.circle(shown, _fixed(point), 10, _SEEN, -1, cv2.LINE_AA, _SUBPIXEL)
    if np.isfinite(drawn.fitted_px).all():
        for rim in _CLOSED:
            _line(shown, drawn.fitted_px[list(rim)] * scale, _FITTED, closed=True)
        for brow in (*_BROWS, OVAL):
            _line(shown, drawn.fitted_px[list(brow)] * scale, _FITTED, closed=brow is OVAL)
    _draw_gaze(shown, drawn, camera, scale)
    _draw_axes(shown, drawn.T_world_head, camera, scale)
    return shown


def _draw_axes(shown: UInt8Array, T_world_head: AnyArray, camera: Camera, scale: float) -> None:
    tips = np.vstack([np.zeros(3), _AXIS_M * np.diag([1.0, 1.0, -1.0])])
    px = _projected(tips, T_world_head, camera) * scale
    for tip, color in zip(px[1:], _AXES, strict=True):
        _line(shown, np.stack([px[0], tip]), color, width=2)


def _draw_gaze(shown: UInt8Array, drawn: OverlayData, camera: Camera, scale: float) -> None:
    towards = -camera.T_camera_world[:3, :3].T @ camera.T_camera_world[:3, 3]
    yaw = np.arctan2(towards[0], -towards[2]) + drawn.controls[_YAW]
    pitch = np.arctan2(towards[1], np.hypot(towards[0], towards[2])) + drawn.controls[_PITCH]
    # Positive yaw to the face's left, which is the picture's right; positive pitch down.
    way = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), -np.cos(yaw) * np.cos(pitch)])
    for eye in IRISES:
        start = drawn.shape_m[list(eye)].mean(0)
        px = _projected(np.stack([start, start + _GAZE_M * way]), drawn.T_world_head, camera) * scale
        _line(shown, px, _GAZE, width=2)


def _projected(points: AnyArray, T_world_head: AnyArray, camera: Camera) -> AnyArray:
    T = camera.T_camera_world @ T_world_head
    seen = points @ T[:3, :3].T + T[:3, 3]
    px: AnyArray = seen[:, :2] / seen[:, 2:] * (camera.fx, camera.fy) + (camera.cx, camera.cy)
    return px


def _line(shown: UInt8Array, px: AnyArray, color: Color, *, closed: bool = False, width: int = 1) -> None:
    fixed = np.round((np.clip(px, -1e4, 1e4) - 0.5) * 2**_SUBPIXEL).astype(np.int32)
    cv2.polylines(shown, [fixed], closed, color, width, cv2.LINE_AA, _SUBPIXEL)


def _fixed(point: AnyArray) -> tuple[int, int]:
    x, y = np.round((np.clip(point, -1e4, 1e4) - 0.5) * 2**_SUBPIXEL).astype(int)
    return int(x), int(y)
