# SPDX-License-Identifier: Apache-2.0
"""Frames and landmarks of one person from a video with a fixed crop window; the mouth track alone."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from splatface.models.errors import TrackingError
from splatface.models.training.dataset.dataset_io import DatasetWriter
from splatface.models.training.tracking.av_sync import (
    AudioOffset,
    advance_audio,
    analyze_speech,
    applied_shift_ms,
    estimate_av_offset,
    mouth_shape_from_landmarks,
)
from splatface.models.training.tracking.face_detection import (
    LANDMARKS,
    MAX_FACES,
    FaceDetector,
    Landmarker,
    choose_face,
    crop,
    crop_window,
)
from splatface.models.training.tracking.face_fit import fit_clip
from splatface.models.training.tracking.segmentation import (
    BackgroundEstimate,
    ColorModel,
    PersonSegmenter,
    composite_over_background,
    estimate_background,
    fit_color_model,
    segment_frame,
)
from splatface.models.training.tracking.video_analysis import CroppedVideo
from splatface.models.training.tracking.video_input import iter_frames, probe_video, read_audio, target_fps
from splatface.models.typing import BoolArray, Float32Array, Float64Array, UInt8Array

__all__ = ["AppearanceModel", "MouthTrack", "fit_appearance", "process_chunk", "track_mouth"]

_APPEARANCE_FRAMES = 40  # from which background and colors are estimated
_MAX_FACE_DISTANCE = 0.7  # face heights; farther from where the face is expected, it is another one
_WARM_UP_FRAMES = 8  # that a tracking detector needs after a jump
_MOUTH_SIDE_PX = 512
_DETECTION_INTERVAL_S = 1.0  # between two face detections in whole frames, for the mouth track


@dataclass(frozen=True, slots=True, eq=False)
class AppearanceModel:
    """Colors of a person, and the background."""

    colors: ColorModel
    background: BackgroundEstimate
    replaced: bool  # the background moves: its estimate replaces it in all frames


@dataclass(frozen=True, slots=True, eq=False)
class MouthTrack:
    """The mouth of one person in a video, with its audio."""

    samples: Float32Array  # [T] mono 16 kHz, moved by `offset` where that is reliable
    times_s: Float64Array  # [F] of the video frames
    modes: Float64Array  # [F, 8] MOUTH_MODES; NaN where the face is lost
    gap: Float64Array  # [F] inner-lip gap over the height from forehead to nose; NaN where lost
    offset: AudioOffset  # of the audio in the video


def fit_appearance(
    video: CroppedVideo, used: BoolArray, report: Callable[[float], None]
) -> tuple[ColorModel, BackgroundEstimate]:
    """Estimate the person's colors and the background from frames evenly over those that are used [F].

    `report` is called with the fraction that is complete.
    """
    indices = np.flatnonzero(used)
    positions = np.linspace(0, len(indices) - 1, min(_APPEARANCE_FRAMES, len(indices))).astype(int)
    chosen = set(indices[positions].tolist())
    images, masks, faces = [], [], []
    with PersonSegmenter() as segment, _FaceFinder(video, tracked=False) as find_face:
        for frame in iter_frames(video.path, video.info, video.fps, wanted=chosen.__contains__):
            image = crop(frame.image, video.window, video.side_px)
            images.append(image)
            masks.append(segment(image))
            faces.append(find_face(frame.index, image))
            report(len(images) / len(chosen))
    known = [i for i, face in enumerate(faces) if np.isfinite(face).all()]
    colors = fit_color_model((images[i], masks[i], faces[i]) for i in known)
    return colors, estimate_background(images, masks)


def process_chunk(
    video: CroppedVideo,
    appearance: AppearanceModel,
    span: range,
    selected: BoolArray,
    writer: DatasetWriter,
    first_row: int,
) -> tuple[Float32Array, BoolArray]:
    """Detect landmarks in a span of frames, and write the selected ones with their labels to a data set.

    Args:
        video: source.
        appearance: for the labels.
        span: frame numbers.
        selected: [F] frames that should be written.
        writer: of the data set.
        first_row: of the data set, for the first frame that is written.

    Returns:
        Landmarks [n, 478, 3] px (NaN where lost), and which [n] frames were written.
    """
    all_landmarks = np.full((len(span), LANDMARKS, 3), np.nan, np.float32)
    written = np.zeros(len(span), bool)
    row = first_row
    with PersonSegmenter() as segment, _FaceFinder(video, tracked=True) as find_face:
        for number, image in _cropped_frames(video, max(span.start - _WARM_UP_FRAMES, 0), span.stop):
            landmarks = find_face(number, image)
            if number < span.start:
                continue
            all_landmarks[number - span.start] = landmarks
            if not (selected[number] and np.isfinite(landmarks).all()):
                continue
            mask = segment(image)
            labels = segment_frame(image, mask, landmarks, appearance.colors)
            if appearance.replaced:
                image = composite_over_background(image, mask, appearance.background)
            writer.add(row, image, labels)
            written[number - span.start] = True
            row += 1
    return all_landmarks, written


def _cropped_frames(video: CroppedVideo, first: int, end: int) -> Iterator[tuple[int, UInt8Array]]:
    for frame in iter_frames(video.path, video.info, video.fps, first=first):
        if frame.index >= end:
            return
        yield frame.index, crop(frame.image, video.window, video.side_px)


class _FaceFinder:
    """Landmarks of the one tracked face, and no other, in cropped frames. Use it in a `with`."""

    def __init__(self, video: CroppedVideo, *, tracked: bool) -> None:
        self._expected = video.expected_faces
        self._landmarker = Landmarker(tracked=tracked, max_faces=MAX_FACES if video.multiple_faces else 1)

    def __call__(self, number: int, image: UInt8Array) -> Float64Array:
        """Return landmarks [478, 3] px in frame `number`, NaN where the face is lost."""
        faces = self._landmarker.faces(image)
        *center, height = self._expected[min(number, len(self._expected) - 1)]
        if len(faces):
            boxes = np.stack([faces[..., :2].min(axis=1), faces[..., :2].max(axis=1)])
            distances = np.linalg.norm(boxes.mean(axis=0) - center, axis=1)
            best = int(np.argmin(distances))
            if distances[best] < _MAX_FACE_DISTANCE * height:
                return np.asarray(faces[best])
        return np.full((LANDMARKS, 3), np.nan)

    def __enter__(self) -> "_FaceFinder":
        return self

    def __exit__(self, *_: object) -> None:
        self._landmarker.close()


def track_mouth(video: Path, report: Callable[[float], None] = lambda fraction: None) -> MouthTrack:
    """Track the mouth of the largest face of a video, one continuous shot with sound.

    No frames are kept, so it takes a third of the time of `track`.

    Args:
        video: whatever PyAV decodes.
        report: called with the fraction of the frames that is complete, 0..1.

    Raises:
        TrackingError: when it is no video, has no sound or no face, or mediapipe or PyAV is missing.
    """
    info = probe_video(video)
    samples = read_audio(video, info)
    if samples is None:
        raise TrackingError(f"{video}: expected a sound track, found none: give a video with its sound")
    cropped = _crop_to_largest_face(video)
    landmarks = []
    with _FaceFinder(cropped, tracked=True) as find_face:
        for frame in iter_frames(video, info, cropped.fps):
            image = crop(frame.image, cropped.window, cropped.side_px)
            landmarks.append(find_face(frame.index, image))
            report(min(len(landmarks) / max(info.frame_count, 1), 1.0))
    landmarks_px = np.stack(landmarks)
    fit = fit_clip(landmarks_px, cropped.side_px, cropped.side_px, cropped.fps)
    mouth = mouth_shape_from_landmarks(landmarks_px)
    times_s = np.arange(len(landmarks_px)) / cropped.fps
    offset = estimate_av_offset(analyze_speech(samples), mouth, times_s)
    known = np.asarray(np.isfinite(mouth).all(axis=1))
    modes = np.where(known[:, None], fit.mouth, np.nan)
    return MouthTrack(advance_audio(samples, applied_shift_ms(offset)), times_s, modes, mouth[:, 0], offset)


def _crop_to_largest_face(path: Path) -> CroppedVideo:
    """Detect the largest face once a second, and crop 512 px around all its positions."""
    info = probe_video(path)
    fps = target_fps(info)
    interval = max(round(_DETECTION_INTERVAL_S * fps), 1)
    with FaceDetector() as detect:
        detections = [
            detect(frame.image)
            for frame in iter_frames(path, info, fps, wanted=lambda index: index % interval == 0)
        ]
    boxes = choose_face(detections).boxes
    window = crop_window(boxes, info.width, info.height)
    scale = _MOUTH_SIDE_PX / window.side
    centers = ((boxes[:, :2] + boxes[:, 2:]) / 2 - (window.left, window.top)) * scale
    known = np.flatnonzero(np.isfinite(centers).all(axis=1))
    frames = np.arange(len(detections) * interval) / interval
    expected = [np.interp(frames, known, centers[known, axis]) for axis in range(2)]
    height = np.nanmedian(boxes[:, 3] - boxes[:, 1]) * scale
    expected_faces = np.stack([*expected, np.full(len(frames), height)], axis=1)
    return CroppedVideo(path, info, fps, window, _MOUTH_SIDE_PX, expected_faces, multiple_faces=False)
