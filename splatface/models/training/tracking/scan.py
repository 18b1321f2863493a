"""A first, quick pass over a film: where faces and hands are, where it is cut, whether the camera moves."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import TrackingError
from splatface.models.training.tracking.choose_face import MOST_FACES, FaceDetector
from splatface.models.training.tracking.hands import HandDetector
from splatface.models.training.tracking.mediapipe_door import PERSON_MASK, Graph
from splatface.models.training.tracking.video import VideoInfo, iter_frames
from splatface.models.typing import Float64Array, UInt8Array

__all__ = ["LOOK_EVERY_S", "Scan", "detect_cuts", "scan_film"]


LOOK_EVERY_S = 0.5
_LONGEST_PX = 960
_THUMB = (48, 48)
_CUT, _CUT_TIMES = 18.0, 6.0  # levels of 255 by which a cut changes the picture, and times the usual change
_GRAY_PX = 480
_FEWEST_POINTS = 12
_ALIKE_PX, _MOST_ALIKE = 0.7, 0.6


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """What a first look found; S looks, F pictures at the film's fixed rate."""

    look_s: Float64Array  # [S]
    boxes: Float64Array  # [S, MOST_FACES, 4] px of the upright film, NaN where there is none
    hands: Float64Array  # [S, 2, 4] boxes, px
    background_motion: (
        Float64Array  # [S, 2] of the background since the look before, share of its width; NaN where plain
    )
    frame_difference: Float64Array  # [F] mean difference of each picture from the one before, levels of 255
    repeated: NDArray[np.bool_]  # [F] pictures that stand for a moment the film left out
    thumbs: NDArray[np.uint8]  # [S, 48, 48, 3]


def scan_film(path: Path, info: VideoInfo, fps: float, told: Callable[[float], None]) -> Scan:
    """Look at a film; `told` hears the share that is done.

    Raises TrackingError when the file cannot be opened.
    """
    every = max(1, round(LOOK_EVERY_S * fps))
    scale = max(1.0, max(info.width, info.height) / _LONGEST_PX)
    looks: list[tuple[float, Float64Array, Float64Array, Float64Array]] = []
    thumbs = []
    change, repeated, before = [], [], None
    with FaceDetector() as faces, HandDetector() as hands, Graph(PERSON_MASK, model_selection=0) as person:
        still = _CameraMotion()
        for shot in iter_frames(path, info, fps, longest_px=_LONGEST_PX):
            thumb = cv2.resize(shot.picture, _THUMB, interpolation=cv2.INTER_AREA).astype(np.float32)
            change.append(0.0 if before is None else float(np.abs(thumb - before).mean()))
            repeated.append(shot.repeated)
            before = thumb
            if shot.index % every == 0:
                found = _padded(faces(shot.picture) * scale, MOST_FACES)
                shown = _padded(hands(shot.picture) * scale, 2)
                looks.append(
                    (shot.index / fps, found, shown, still(shot.picture, person.image(shot.picture)))
                )
                thumbs.append(thumb.astype(np.uint8))
                told(min(1.0, shot.index / fps / info.duration_s))
    look_s, boxes, shown_hands, shift = (np.array([look[i] for look in looks], np.float64) for i in range(4))
    if not looks:
        raise TrackingError(f"{path}: expected pictures that can be decoded, found none: record it again")
    return Scan(
        look_s=look_s,
        boxes=boxes,
        hands=shown_hands,
        background_motion=shift,
        frame_difference=np.array(change, np.float64),
        repeated=np.array(repeated, bool),
        thumbs=np.stack(thumbs),
    )


def detect_cuts(change: Float64Array) -> NDArray[np.int64]:
    """Numbers of the pictures that begin a new shot, from the change [F] since the picture before."""
    if len(change) < 3:
        return np.zeros(0, np.int64)
    reach = 12
    padded = np.pad(change, reach, mode="reflect") if len(change) > reach else np.pad(change, reach)
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)
    usual = np.median(around, axis=1)
    cut = (change > _CUT) & (change > _CUT_TIMES * usual)
    return np.flatnonzero(cut).astype(np.int64)


class _CameraMotion:
    """By how much the background moved from look to look."""

    def __init__(self) -> None:
        self._gray: UInt8Array | None = None
        self._free: UInt8Array | None = None

    def __call__(self, picture: UInt8Array, person: NDArray[np.float32]) -> Float64Array:
        scale = min(1.0, _GRAY_PX / max(picture.shape))
        size = (round(picture.shape[1] * scale), round(picture.shape[0] * scale))
        gray = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA)
        mask = cv2.resize(np.ascontiguousarray(person, np.float32), size) > 0.1
        covered = cv2.dilate(mask.astype(np.uint8), np.ones((41, 41), np.uint8))
        free = np.where(covered > 0, 0, 255).astype(np.uint8)
        before, free_before = self._gray, self._free
        self._gray, self._free = np.asarray(gray, np.uint8), free
        if before is None or free_before is None:
            return np.full(2, np.nan)
        return np.asarray(_flow(before, self._gray, free_before) / size[0], np.float64)


def _flow(before: UInt8Array, now: UInt8Array, free: UInt8Array) -> Float64Array:
    """Median shift [2] px of corners in the free part; NaN where there are few."""
    corners = cv2.goodFeaturesToTrack(before, 120, 0.02, 8, mask=free)
    if corners is None or len(corners) < _FEWEST_POINTS:
        return np.full(2, np.nan)
    moved, found, _ = cv2.calcOpticalFlowPyrLK(before, now, corners, np.zeros_like(corners))
    good = found[:, 0] > 0
    if good.sum() < _FEWEST_POINTS or np.ptp(corners[good, 0, 0]) < 0.4 * before.shape[1]:
        return np.full(2, np.nan)
    steps = (moved - corners)[good, 0]
    step = np.median(steps, axis=0)
    # A camera moves everything alike; hair that the mask missed, a screen or a passer-by does not.
    alike = np.hypot(*(steps - step).T) < np.maximum(_ALIKE_PX, 0.25 * np.hypot(*step))
    return np.asarray(step if alike.mean() > _MOST_ALIKE else (np.nan, np.nan), np.float64)


def _padded(boxes: Float64Array, count: int) -> Float64Array:
    """Boxes [count, 4]: the largest, then NaN."""
    largest = boxes[np.argsort(boxes[:, 1] - boxes[:, 3])][:count]
    return np.concatenate([largest, np.full((count - len(largest), 4), np.nan)])
