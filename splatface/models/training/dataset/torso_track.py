"""The torso of a film as a flat picture that shifts and turns in its plane: a bone for what no 3DMM tracks.

Enhanced correlation coefficient alignment (Evangelidis & Psarakis 2008) of each picture with one of rest,
inside the torso's label. Without it the collar is blurred over the torso's own movement (2 dB in the
prototype).
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from splatface.models.camera import Camera
from splatface.models.training.dataset.types import BACKGROUND, TORSO
from splatface.models.typing import Float64Array, UInt8Array

__all__ = ["track_torso"]


FrameReader = Callable[[int], tuple[UInt8Array, UInt8Array]]  # row -> picture [H, W, 3] and labels [H, W]

_SIDE_PX = 192  # of the pictures that are aligned: a tenth of a pixel here is half a pixel at 1024
_STOP = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 40, 1e-5)
_BLUR_PX = 5
_OUTLINE_PX = 9  # about half of it outside
_LEAST_SHARE = 0.01  # of the picture must be torso
_ALIKE = 0.6  # correlation below which an alignment is not believed


def track_torso(look: FrameReader, T_world_head: Float64Array, camera: Camera) -> Float64Array:
    """T_world_torso [F, 4, 4] for pictures whose camera stands still and looks along the world's z axis.

    The picture whose head is nearest to rest [F, 4, 4] shows the torso at rest. A picture that cannot be
    aligned (or shows hardly any torso) keeps the place of its neighbor.
    """
    count = len(T_world_head)
    rest = int(np.argmin(np.abs(T_world_head - np.eye(4)).sum(axis=(1, 2))))
    template, mask = _small(*look(rest))
    if mask.mean() < _LEAST_SHARE * 255:
        return np.tile(np.eye(4), (count, 1, 1))
    warps = np.tile(np.eye(2, 3, dtype=np.float32), (count, 1, 1))
    for rows in (range(rest + 1, count), range(rest - 1, -1, -1)):
        warp = np.eye(2, 3, dtype=np.float32)
        for row in rows:
            warp = _aligned(template, *_small(*look(row)), warp)
            warps[row] = warp
    scale = template.shape[1] / camera.width
    return np.stack([_bone(warp.astype(np.float64), scale, camera) for warp in warps])


def _small(picture: UInt8Array, labels: UInt8Array) -> tuple[UInt8Array, UInt8Array]:
    """Gray picture and mask of the torso with its outline, at most 192 px a side."""
    scale = min(_SIDE_PX / max(labels.shape), 1.0)
    size = (round(labels.shape[1] * scale), round(labels.shape[0] * scale))
    gray = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA)
    small = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
    # The outline against the background shows a plain shirt; the one against the neck moves by itself.
    near = cv2.dilate((small == TORSO).astype(np.uint8), np.ones((_OUTLINE_PX, _OUTLINE_PX), np.uint8))
    mask = np.where((small == TORSO) | ((small == BACKGROUND) & (near > 0)), 255, 0)
    return np.asarray(gray, np.uint8), mask.astype(np.uint8)


def _aligned(
    template: UInt8Array, gray: UInt8Array, mask: UInt8Array, start: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Where a pixel of the template is in the picture: x' = warp @ (x, 1), pixel centers at whole numbers."""
    if mask.mean() < _LEAST_SHARE * 255:
        return start
    try:
        alike, warp = cv2.findTransformECC(
            template, gray, start.copy(), cv2.MOTION_EUCLIDEAN, _STOP, mask, _BLUR_PX
        )
    except cv2.error:  # it did not converge
        return start
    return np.asarray(warp, np.float32) if alike > _ALIKE else start


def _bone(warp: Float64Array, scale: float, camera: Camera) -> Float64Array:
    """The rigid motion [4, 4] that looks like the warp at the depth of the world's origin."""
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
