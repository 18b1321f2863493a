"""Track only the mouth of a video: no pictures are kept, so it takes a third of the time of `track`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import TrackingError
from splatface.models.training.tracking.checks import applied_shift_ms
from splatface.models.training.tracking.choose_face import FaceDetector, choose_face, crop_window, cropped
from splatface.models.training.tracking.fit import fit
from splatface.models.training.tracking.landmarks import LANDMARKS, Landmarker
from splatface.models.training.tracking.sound import (
    Offset,
    advance_audio,
    analyze_speech,
    estimate_av_offset,
    mouth_shape_from_landmarks,
)
from splatface.models.training.tracking.video import film_rate, iter_frames, probe_video
from splatface.models.training.tracking.video_sound import film_sound

__all__ = ["MouthTrack", "track_mouth"]

_SIDE_PX = 512
_SEARCH_S = 1.0  # between two searches for the face in the whole picture
_ASTRAY = 0.7  # of the face's height: what is farther from the expected place is another face


@dataclass(frozen=True, slots=True, eq=False)
class MouthTrack:
    """The mouth of one person in a video, and the sound with it."""

    samples: NDArray[np.float32]  # [T] mono 16 kHz, moved by `offset` where that is sure
    times_s: NDArray[np.float64]  # [F] of the video frames
    modes: NDArray[np.float64]  # [F, 8] MOUTH_MODES; NaN where the face is lost
    gap: NDArray[np.float64]  # [F] inner-lip gap over the height from forehead to nose; NaN where lost
    offset: Offset  # of the sound as it was found


def track_mouth(video: Path, report: Callable[[float], None] = lambda share: None) -> MouthTrack:
    """Track the mouth of the largest face of a video, one continuous shot with sound.

    Args:
        video: whatever PyAV decodes.
        report: called with the share of the frames that are done, 0..1.

    Raises:
        TrackingError: when it is no video, has no sound or no face, or mediapipe or PyAV is missing.
    """
    info = probe_video(video)
    samples = film_sound(video, info)
    if samples is None:
        raise TrackingError(f"{video}: expected a sound track, found none: give a video with its sound")
    fps = film_rate(info)
    landmarks = _landmarks(video, fps, report)
    found = fit(landmarks, _SIDE_PX, _SIDE_PX, fps)
    mouth = mouth_shape_from_landmarks(landmarks)
    times_s = np.arange(len(landmarks)) / fps
    offset = estimate_av_offset(analyze_speech(samples), mouth, times_s)
    seen = np.asarray(np.isfinite(mouth).all(axis=1))
    modes = np.where(seen[:, None], found.mouth, np.nan)
    return MouthTrack(advance_audio(samples, applied_shift_ms(offset)), times_s, modes, mouth[:, 0], offset)


def _landmarks(video: Path, fps: float, report: Callable[[float], None]) -> NDArray[np.float64]:
    """Landmarks [F, 478, 3] px of the face in a still window of 512 px, NaN where lost."""
    info = probe_video(video)
    every = max(round(_SEARCH_S * fps), 1)
    with FaceDetector() as search:
        looks = [
            search(shot.picture)
            for shot in iter_frames(video, info, fps, wanted=lambda index: index % every == 0)
        ]
    boxes = choose_face(looks).boxes
    window = crop_window(boxes, info.width, info.height)
    places = (boxes[:, :2] + boxes[:, 2:]) / 2 - (window.left, window.top)
    known = np.flatnonzero(np.isfinite(places).all(axis=1))
    height = np.nanmedian(boxes[:, 3] - boxes[:, 1]) * _SIDE_PX / window.side
    found: list[NDArray[np.float64]] = []
    count = max(info.pictures, 1)
    with Landmarker(tracked=True) as find:
        for shot in iter_frames(video, info, fps):
            face = find(cropped(shot.picture, window, _SIDE_PX))
            middle = (face[:, :2].min(axis=0) + face[:, :2].max(axis=0)) / 2
            at = [np.interp(shot.index / every, known, places[known, i]) for i in range(2)]
            away = np.linalg.norm(middle - np.array(at) * _SIDE_PX / window.side)
            near = bool(away < _ASTRAY * height)  # False where the face is lost, too
            found.append(face if near else np.full((LANDMARKS, 3), np.nan))
            report(min(len(found) / count, 1.0))
    return np.stack(found)
