# SPDX-License-Identifier: Apache-2.0
"""First pass over a video: faces, hands, cuts and camera motion; shots, crop window and frames to use."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from splatface.models.errors import TrackingError
from splatface.models.training.tracking.face_detection import (
    MAX_FACES,
    PERSON_MASK,
    CropWindow,
    FaceDetector,
    FaceTrack,
    Graph,
    HandDetector,
    choose_face,
)
from splatface.models.training.tracking.video_input import VideoInfo, iter_frames
from splatface.models.typing import BoolArray, Float32Array, Float64Array, Int64Array, UInt8Array

__all__ = [
    "SAMPLE_INTERVAL_S",
    "CroppedVideo",
    "ShotSelection",
    "VideoScan",
    "detect_cuts",
    "expected_faces",
    "scan_video",
    "select_frames",
    "select_shots",
]

SAMPLE_INTERVAL_S = 0.5
_MAX_SIDE_PX = 960
_THUMBNAIL_SIZE = (48, 48)
# Change of a frame at a cut: gray levels of 255, and relative to the median change around it.
_CUT_DIFFERENCE, _CUT_RATIO = 18.0, 6.0
_CUT_WINDOW = 12  # frames before and after
_FLOW_SIDE_PX = 480
_MIN_CORNERS = 12
_FLOW_TOLERANCE_PX, _MIN_INLIERS = 0.7, 0.6
_SAME_PLACE, _SAME_SIZE = 0.6, 1.3  # faces of one view: distance in face heights, ratio of heights
_SAME_SURROUNDINGS = 16.0  # gray levels of 255 by which the surroundings may differ between shots of one view
_OCCLUSION = 0.08  # fraction of the face's box that a hand's box must cover
_HAND_MARGIN_S = 0.7 * SAMPLE_INTERVAL_S  # before and after a sample with an occluding hand
_LATE_FRACTION = 0.15  # of the frames, at the end, that are kept whole


@dataclass(frozen=True, slots=True, eq=False)
class VideoScan:
    """Result of the first pass; S samples, F frames at the video's fixed rate."""

    sample_s: Float64Array  # [S]
    boxes: Float64Array  # [S, MAX_FACES, 4] px of the upright video, NaN where there is none
    hand_boxes: Float64Array  # [S, 2, 4] px
    background_motion: Float64Array  # [S, 2] since the sample before, fraction of the width; NaN where plain
    frame_difference: Float64Array  # [F] mean difference from the frame before, gray levels of 255
    repeated: BoolArray  # [F] frames that repeat the one before where the video has none
    thumbnails: UInt8Array  # [S, 48, 48, 3]


@dataclass(frozen=True, slots=True, eq=False)
class ShotSelection:
    """S samples and F frames of a video, see `VideoScan`."""

    used: BoolArray  # [F] frames of shots that are used
    cut: BoolArray  # [F] first frames of shots
    sampled: BoolArray  # [S] samples in these shots
    shot_start: BoolArray  # [S] first samples of shots
    boxes: Float64Array  # [S, 4] px of the chosen face, NaN where it is not detected
    other_faces: BoolArray  # [S] another face is visible too
    hands: BoolArray  # [S] a hand occludes the face
    shot_count: int
    face_height_px: float  # median


@dataclass(frozen=True, slots=True, eq=False)
class CroppedVideo:
    """A video and its fixed crop window."""

    path: Path
    info: VideoInfo
    fps: float
    window: CropWindow
    side_px: int
    expected_faces: Float64Array  # [F, 3] center x, y and height px of the face in the cropped frame
    multiple_faces: bool  # other faces are visible too


def scan_video(path: Path, info: VideoInfo, fps: float, report: Callable[[float], None]) -> VideoScan:
    """Analyze a video; `report` is called with the fraction that is complete.

    Raises TrackingError when the file cannot be opened.
    """
    interval = max(1, round(SAMPLE_INTERVAL_S * fps))
    scale = max(1.0, max(info.width, info.height) / _MAX_SIDE_PX)
    sample_s, boxes, hand_boxes, motion, thumbnails = [], [], [], [], []
    difference: list[float] = []
    repeated: list[bool] = []
    previous: Float32Array | None = None
    with FaceDetector() as faces, HandDetector() as hands, Graph(PERSON_MASK, model_selection=0) as person:
        camera_motion = _CameraMotion()
        for frame in iter_frames(path, info, fps, max_side_px=_MAX_SIDE_PX):
            thumbnail = cv2.resize(frame.image, _THUMBNAIL_SIZE, interpolation=cv2.INTER_AREA)
            thumbnail = np.asarray(thumbnail, np.float32)
            difference.append(0.0 if previous is None else float(np.abs(thumbnail - previous).mean()))
            repeated.append(frame.repeated)
            previous = thumbnail
            if frame.index % interval == 0:
                sample_s.append(frame.index / fps)
                boxes.append(_padded(faces(frame.image) * scale, MAX_FACES))
                hand_boxes.append(_padded(hands(frame.image) * scale, 2))
                motion.append(camera_motion(frame.image, person.image(frame.image)))
                thumbnails.append(thumbnail.astype(np.uint8))
                report(min(1.0, frame.index / fps / info.duration_s))
    if not sample_s:
        raise TrackingError(f"{path}: expected pictures that can be decoded, found none: record it again")
    return VideoScan(
        sample_s=np.array(sample_s, np.float64),
        boxes=np.stack(boxes),
        hand_boxes=np.stack(hand_boxes),
        background_motion=np.stack(motion),
        frame_difference=np.array(difference, np.float64),
        repeated=np.array(repeated, bool),
        thumbnails=np.stack(thumbnails),
    )


def detect_cuts(difference: Float64Array) -> Int64Array:
    """Return the first frames of shots, from the difference [F] of each frame from the one before."""
    if len(difference) < 3:
        return np.zeros(0, np.int64)
    enough = len(difference) > _CUT_WINDOW
    padded = np.pad(difference, _CUT_WINDOW, mode="reflect" if enough else "constant")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * _CUT_WINDOW + 1)
    typical = np.median(windows, axis=1)
    cut = (difference > _CUT_DIFFERENCE) & (difference > _CUT_RATIO * typical)
    return np.flatnonzero(cut).astype(np.int64)


def select_shots(scan: VideoScan, fps: float) -> ShotSelection:
    """Choose one face and all shots that show it in the view of the longest.

    Raises:
        TrackingError: when no face is visible.
    """
    count = len(scan.frame_difference)
    starts = np.concatenate([[0], detect_cuts(scan.frame_difference), [count]])
    sample_frames = np.clip(np.round(scan.sample_s * fps).astype(int), 0, count - 1)
    shot_of = np.searchsorted(starts, sample_frames, side="right") - 1
    faces = _faces_by_shot(scan, shot_of)
    if not faces:
        raise TrackingError(
            "face: expected one in the film, found none: film a person from the front, head and shoulders, "
            "in good light"
        )
    main = max(faces, key=lambda shot: float(np.nansum(_heights(faces[shot].boxes))))
    kept = [shot for shot in faces if shot == main or _same_view(scan, shot_of, faces, shot, main)]
    boxes, other_faces = np.full((len(shot_of), 4), np.nan), np.zeros(len(shot_of), bool)
    for shot in kept:
        boxes[shot_of == shot], other_faces[shot_of == shot] = faces[shot].boxes, faces[shot].other_faces
    used = np.zeros(count, bool)
    for shot in kept:
        used[starts[shot] : starts[shot + 1]] = True
    cut = np.zeros(count, bool)
    cut[starts[:-1]] = True
    return ShotSelection(
        used=used,
        cut=cut,
        sampled=np.isin(shot_of, kept),
        shot_start=np.concatenate([[True], np.diff(shot_of) > 0]),
        boxes=boxes,
        other_faces=other_faces,
        hands=_occluding_hands(boxes, scan.hand_boxes),
        shot_count=len(starts) - 1,
        face_height_px=float(np.nanmedian(_heights(boxes))),
    )


def expected_faces(
    shots: ShotSelection, sample_s: Float64Array, times_s: Float64Array, window: CropWindow, side_px: int
) -> Float64Array:
    """Interpolate center and height [F, 3] px of the chosen face at times [F] in the cropped frame."""
    known = np.isfinite(shots.boxes).all(axis=1)
    boxes = shots.boxes[known]
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2 - (window.left, window.top)
    values = np.column_stack([centers, boxes[:, 3] - boxes[:, 1]]) * side_px / window.side
    return np.stack([np.interp(times_s, sample_s[known], values[:, i]) for i in range(3)], axis=1)


def select_frames(
    shots: ShotSelection, sample_s: Float64Array, repeated: BoolArray, times_s: Float64Array, max_frames: int
) -> BoolArray:
    """Select the frames [F] at times [F] for a data set, as far as the first pass allows.

    The last 15 % are kept whole, earlier ones are thinned evenly to `max_frames` in all.
    """
    selected = shots.used & ~repeated
    for occluded_s in sample_s[shots.hands]:
        selected &= np.abs(times_s - occluded_s) > _HAND_MARGIN_S
    indices = np.flatnonzero(selected)
    if len(indices) <= max_frames:
        return selected
    early = indices[: round((1 - _LATE_FRACTION) * len(indices))]
    early_count = max(max_frames - (len(indices) - len(early)), max_frames // 2)
    chosen = early[np.unique(np.linspace(0, len(early) - 1, early_count).round().astype(int))]
    selected[early] = False
    selected[chosen] = True
    return selected


class _CameraMotion:
    """Motion of the background from sample to sample."""

    def __init__(self) -> None:
        self._gray: UInt8Array | None = None
        self._visible: UInt8Array | None = None

    def __call__(self, image: UInt8Array, person: Float32Array) -> Float64Array:
        """Return the motion [2] since the last call, fraction of the width; NaN where it is not known."""
        scale = min(1.0, _FLOW_SIDE_PX / max(image.shape))
        size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
        gray = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA)
        mask = cv2.resize(np.ascontiguousarray(person, np.float32), size) > 0.1
        covered = cv2.dilate(mask.astype(np.uint8), np.ones((41, 41), np.uint8))
        visible = np.where(covered > 0, 0, 255).astype(np.uint8)
        previous, previous_visible = self._gray, self._visible
        self._gray, self._visible = np.asarray(gray, np.uint8), visible
        if previous is None or previous_visible is None:
            return np.full(2, np.nan)
        return np.asarray(_median_flow(previous, self._gray, previous_visible) / size[0], np.float64)


def _median_flow(previous: UInt8Array, current: UInt8Array, mask: UInt8Array) -> Float64Array:
    """Compute the median optical flow [2] px of corners in a mask; NaN where there are few."""
    corners = cv2.goodFeaturesToTrack(previous, 120, 0.02, 8, mask=mask)
    if corners is None or len(corners) < _MIN_CORNERS:
        return np.full(2, np.nan)
    tracked, status, _ = cv2.calcOpticalFlowPyrLK(previous, current, corners, np.zeros_like(corners))
    good = status[:, 0] > 0
    if good.sum() < _MIN_CORNERS or np.ptp(corners[good, 0, 0]) < 0.4 * previous.shape[1]:
        return np.full(2, np.nan)
    flow = (tracked - corners)[good, 0]
    median = np.median(flow, axis=0)
    # A camera moves everything alike; hair that the mask missed, a screen or a passer-by does not.
    inliers = np.hypot(*(flow - median).T) < np.maximum(_FLOW_TOLERANCE_PX, 0.25 * np.hypot(*median))
    return np.asarray(median if inliers.mean() > _MIN_INLIERS else (np.nan, np.nan), np.float64)


def _padded(boxes: Float64Array, count: int) -> Float64Array:
    """Return the largest boxes, NaN beyond them: [count, 4]."""
    largest = boxes[np.argsort(boxes[:, 1] - boxes[:, 3])][:count]
    return np.concatenate([largest, np.full((count - len(largest), 4), np.nan)])


def _faces_by_shot(scan: VideoScan, shot_of: Int64Array) -> dict[int, FaceTrack]:
    """Choose the face of each shot that has one."""
    faces = {}
    for shot in np.unique(shot_of):
        detections = [boxes[np.isfinite(boxes).all(axis=1)] for boxes in scan.boxes[shot_of == shot]]
        if any(len(boxes) for boxes in detections):
            faces[int(shot)] = choose_face(detections)
    return faces


def _same_view(scan: VideoScan, shot_of: Int64Array, faces: dict[int, FaceTrack], a: int, b: int) -> bool:
    """Tell whether shots a and b have the same surroundings, and a face of the same size in the same place.

    Two people talking in alternation have different backgrounds, or sit at different places; a video of one
    person from which breaths were cut has neither.
    """
    box_a, box_b = (np.nanmedian(faces[shot].boxes, axis=0) for shot in (a, b))
    height = max(box_a[3] - box_a[1], box_b[3] - box_b[1])
    ratio = height / max(min(box_a[3] - box_a[1], box_b[3] - box_b[1]), 1.0)
    distance = float(np.hypot(*((box_a[:2] + box_a[2:] - box_b[:2] - box_b[2:]) / 2))) / height
    image_a, image_b = (np.median(scan.thumbnails[shot_of == shot], axis=0) for shot in (a, b))
    # The half that differs least is the surroundings; the person moves in the rest.
    difference = np.sort(np.abs(image_a - image_b).mean(axis=2).reshape(-1))
    surroundings = float(difference[: len(difference) // 2].mean())
    return ratio < _SAME_SIZE and distance < _SAME_PLACE and surroundings < _SAME_SURROUNDINGS


def _heights(boxes: Float64Array) -> Float64Array:
    heights: Float64Array = boxes[:, 3] - boxes[:, 1]
    return heights


def _occluding_hands(boxes: Float64Array, hand_boxes: Float64Array) -> BoolArray:
    """Return samples [S] at which a hand's box covers part of the lower two thirds of the face's box."""
    face = boxes[:, None]
    top = face[..., 1] + (face[..., 3] - face[..., 1]) / 3
    width = np.minimum(face[..., 2], hand_boxes[..., 2]) - np.maximum(face[..., 0], hand_boxes[..., 0])
    height = np.minimum(face[..., 3], hand_boxes[..., 3]) - np.maximum(top, hand_boxes[..., 1])
    area = (face[..., 2] - face[..., 0]) * (face[..., 3] - face[..., 1])
    with np.errstate(invalid="ignore"):
        covered = np.where((width > 0) & (height > 0), width * height / area, 0.0)
    occluded: BoolArray = np.nan_to_num(covered).max(axis=1) > _OCCLUSION
    return occluded
