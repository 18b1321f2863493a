# SPDX-License-Identifier: Apache-2.0
"""Tracking video: landmarks, the fitted face, head axes and gaze drawn into the frames."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import soxr
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from splatface.models.audio2motion.audio_to_mouth import CONTROLS, MOUTH_MODES
from splatface.models.camera import Camera
from splatface.models.errors import TrackingError
from splatface.models.messages import NS_PER_S, SAMPLE_RATE
from splatface.models.training.dataset.dataset_audio import load_audio
from splatface.models.training.dataset.findings import Finding
from splatface.models.training.dataset.frame_images import read_image, read_labels, tinted
from splatface.models.training.dataset.types import Dataset, MotionTrack
from splatface.models.training.report.encoder_comparison import write_on
from splatface.models.training.tracking.face_detection import LIPS
from splatface.models.training.tracking.face_fit import (
    TRACKING_FILE,
    TrackingResult,
    fitted_landmarks,
    load_tracking_result,
)
from splatface.models.training.tracking.face_model import IRISES
from splatface.models.training.tracking.segmentation import EYE_CONTOURS, FACE_OVAL
from splatface.models.typing import AnyArray, UInt8Array
from splatface.models.video.video_audio import VIDEO_HZ
from splatface.models.video.video_writer import VideoFileWriter, VideoFormat

__all__ = [
    "TRACKING_FILM",
    "TRACKS_HEIGHT",
    "OverlayData",
    "TrackingCurves",
    "TrackingView",
    "draw_tracked",
    "write_tracking_film",
]

Color = tuple[int, int, int]

_BROWS: Final = ((70, 63, 105, 66, 107), (300, 293, 334, 296, 336))
_CLOSED: Final = (LIPS[:20], LIPS[20:], *EYE_CONTOURS)
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
    """Return the image at side_px x side_px with all overlays.

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
        for brow in (*_BROWS, FACE_OVAL):
            _line(shown, drawn.fitted_px[list(brow)] * scale, _FITTED, closed=brow is FACE_OVAL)
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


TRACKS_HEIGHT: Final = 168  # px
_AROUND_S = 3.0  # before and after the moment shown
_ROW = TRACKS_HEIGHT // 3
_GROUND: Color = (24, 26, 30)
_GRID: Color = (70, 74, 80)
_LEVEL: Color = (48, 62, 72)
# Okabe & Ito's palette: distinguishable with any color vision.
_INKS: Final[tuple[Color, ...]] = ((86, 180, 233), (230, 159, 0), (0, 158, 115))
_QUIET_DBFS = -60.0
_MOST_DEG = 20.0
_STEP_S = 0.02  # of loudness


class TrackingCurves:
    """Three rows of curves around a moment, which stands in the middle.

    Args:
        motion: of a film.
        samples: [n] its sound at 16 kHz, film time 0 first.
        width: px.
    """

    def __init__(self, motion: MotionTrack, samples: AnyArray, width: int) -> None:
        self._times_s = motion.time_ns / NS_PER_S
        self._level = _levels(samples)
        self._width = width
        turns = Rotation.from_matrix(motion.T_world_head[:, :3, :3])
        degrees = (turns * turns.mean().inv()).as_rotvec(degrees=True)
        mouth, controls = motion.mouth, motion.controls
        lids = [controls[:, CONTROLS.index(f"blink_{side}")] for side in ("left", "right")]
        self._rows = (
            (("mouth open", mouth[:, MOUTH_MODES.index("open")]),),
            (("left lid shut", lids[0]), ("right lid", lids[1])),
            tuple(
                (name, 0.5 + degrees[:, axis] / (2 * _MOST_DEG))
                for name, axis in (("yaw", 1), ("pitch", 0), ("roll +-20 deg", 2))
            ),
        )

    def __call__(self, time_s: float) -> UInt8Array:
        """Return the curves [TRACKS_HEIGHT, width, 3] RGB around a video time."""
        shown = np.full((TRACKS_HEIGHT, self._width, 3), _GROUND, np.uint8)
        self._draw_level(shown, time_s)
        near = np.flatnonzero(np.abs(self._times_s - time_s) < _AROUND_S + 0.1)
        x = self._width * (0.5 + (self._times_s[near] - time_s) / (2 * _AROUND_S))
        # Where nothing was tracked no line is drawn.
        breaks = np.flatnonzero(np.diff(self._times_s[near]) > 0.3) + 1
        for number, row in enumerate(self._rows):
            bottom = (number + 1) * _ROW - 4
            shown[bottom + 2] = _GRID
            for (_, values), ink in zip(row, _INKS, strict=False):
                y = bottom - np.clip(values[near], -0.05, 1.05) * (_ROW - 14)
                _draw_line(shown, np.column_stack([x, y]), breaks, ink)
            _draw_names(shown, [name for name, _ in row], bottom - _ROW + 18)
        shown[:, self._width // 2] = (200, 204, 208)
        return shown

    def _draw_level(self, shown: UInt8Array, time_s: float) -> None:
        columns = time_s + (np.arange(self._width) / self._width - 0.5) * 2 * _AROUND_S
        at = (columns / _STEP_S).astype(int)
        inside = (columns >= 0) & (at < len(self._level))
        share = np.where(inside, self._level[np.clip(at, 0, len(self._level) - 1)], 0.0)
        y = np.arange(_ROW - 4)[:, None]
        shown[: _ROW - 4][y > (_ROW - 4) * (1 - share)] = _LEVEL


def _levels(samples: AnyArray) -> AnyArray:
    """Loudness 0..1 of each 20 ms, [n]; one where there is no sound."""
    size = round(_STEP_S * SAMPLE_RATE)
    count = len(samples) // size
    if not count:
        return np.zeros(1)
    blocks = samples[: count * size].reshape(count, size)
    power = np.einsum("ij,ij->i", blocks, blocks) / size
    levels: AnyArray = np.clip(1 - 10 * np.log10(np.maximum(power, 1e-9)) / _QUIET_DBFS, 0, 1)
    return levels


def _draw_line(shown: UInt8Array, line: AnyArray, breaks: AnyArray, ink: Color) -> None:
    for part in np.split(np.round(line * 16).astype(np.int32), breaks):
        if len(part) > 1:
            cv2.polylines(shown, [part], False, ink, 1, cv2.LINE_AA, 4)


def _draw_names(shown: UInt8Array, names: list[str], y: int) -> None:
    x = 6
    for name, ink in zip(names, _INKS, strict=False):
        write_on(shown, name, (x, y), ink)
        x += 12 + 8 * len(name)


TRACKING_FILM: Final = "tracking.mp4"
_SIDE_PX = 400
_WHOLE_S = 60.0  # a longer film is shown in passages
_PASSAGES, _PASSAGE_S = 6, 10.0
_FAR_S = 0.3  # a moment whose nearest picture is farther away has none


def write_tracking_film(
    dataset: Dataset, findings: Sequence[Finding], progress: Callable[[float], None]
) -> Path:
    """Write tracking.mp4 into the data set's folder, of a long film six passages; its path.

    Left: landmarks as found (dots), the fitted face (green), the head's axes, gaze (yellow). Right: labels.
    Below: loudness, opening of the mouth, lids, and the head's turn.

    Args:
        dataset: tracked.
        findings: of it.
        progress: is called with the finished fraction, 0..1.

    Raises:
        VideoError: when PyAV or its codecs are missing, or the disk refuses.
        TrackingError: when tracking.safetensors is damaged.
        DatasetError: when a picture or the sound is.
    """
    view = TrackingView(dataset, findings)
    shape = VideoFormat(2 * _SIDE_PX, _SIDE_PX + TRACKS_HEIGHT, _rate(dataset.fps))
    tags = {"title": f"Tracking of {dataset.name}", "copyright": f"{dataset.license}. {dataset.consent}"}
    samples = load_audio(dataset)
    spans = _passages(dataset)
    path = dataset.folder / TRACKING_FILM
    with VideoFileWriter(path, shape, 1, tags) as film:
        for number, (begin_s, end_s) in enumerate(spans):
            ticks = max(1, round((end_s - begin_s) * float(shape.fps)))
            blocks = _audio_blocks(samples, begin_s, ticks, shape.fps)
            for tick, part in enumerate(blocks):
                film.add(view(begin_s + tick / float(shape.fps)), part)
                progress((number + tick / ticks) / len(spans))
    return path


class TrackingView:
    """Pictures of what was tracked at any moment.

    Raises:
        TrackingError: when the data set was not tracked by this version, or tracking.safetensors is damaged.
        DatasetError: when the sound is.
    """

    def __init__(self, dataset: Dataset, findings: Sequence[Finding]) -> None:
        self._dataset, self._fitted = dataset, _fitted(dataset)
        self._row_s = dataset.frames.time_ns / NS_PER_S
        self._moment_s = dataset.motion.time_ns / NS_PER_S
        self._tracks = TrackingCurves(dataset.motion, load_audio(dataset), 2 * _SIDE_PX)
        self._spans = [(f.subject, span) for f in findings for span in f.spans_s]

    def __call__(self, time_s: float) -> UInt8Array:
        """Overlay, labels and curves [H, W, 3] at a film time."""
        return np.vstack([np.hstack(self.panels(time_s)), self._tracks(time_s)])

    def panels(self, time_s: float) -> tuple[UInt8Array, UInt8Array]:
        """Overlay and labels [400, 400, 3] of the picture nearest to a film time."""
        data, row = self._dataset, _nearest(self._row_s, time_s)
        image = read_image(data, row)
        overlay = draw_tracked(image, self._drawn(row), data.camera, _SIDE_PX)
        parts = tinted(image, read_labels(data, row))
        parts = np.asarray(cv2.resize(parts, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA), np.uint8)
        words = [f"{time_s:.2f} s", *(subject for subject, (a, b) in self._spans if a <= time_s <= b)]
        if abs(float(self._row_s[row]) - time_s) > _FAR_S:
            overlay, parts = (np.asarray(panel * 0.35, np.uint8) for panel in (overlay, parts))
            words.append("left out")
        write_on(overlay, "  ".join(words), (8, 18))
        return overlay, parts

    def _drawn(self, row: int) -> OverlayData:
        frames = self._dataset.frames
        moment = _nearest(self._moment_s, float(self._row_s[row]))
        return OverlayData(
            seen_px=frames.landmarks_px[row],
            fitted_px=fitted_landmarks(self._dataset, self._fitted, np.array([moment]))[0],
            shape_m=self._fitted.shape_m,
            T_world_head=frames.T_world_head[row],
            controls=frames.controls[row],
        )


def _fitted(dataset: Dataset) -> TrackingResult:
    found = load_tracking_result(dataset)
    if found is None:
        raise TrackingError(
            f"{dataset.folder / TRACKING_FILE}: expected what tracking kept, found none: track the film again"
        )
    return found


def _nearest(times_s: AnyArray, time_s: float) -> int:
    return int(np.abs(times_s - time_s).argmin())


def _rate(fps: float) -> Fraction:
    return Fraction(fps).limit_denominator(1001)


def _passages(dataset: Dataset) -> list[tuple[float, float]]:
    """Begin and end, film time, of what is shown."""
    begin_s, end_s = (float(dataset.frames.time_ns[i]) / NS_PER_S for i in (0, -1))
    if end_s - begin_s <= _WHOLE_S:
        return [(begin_s, end_s + 1 / dataset.fps)]
    begins = np.linspace(begin_s, end_s - _PASSAGE_S, _PASSAGES)
    return [(float(begin), float(begin) + _PASSAGE_S) for begin in begins]


def _audio_blocks(
    samples: AnyArray, begin_s: float, ticks: int, fps: Fraction
) -> Iterator[NDArray[np.float32]]:
    """Yield the audio [T, 1] of each frame."""
    first, count = round(begin_s * SAMPLE_RATE), int(ticks / fps * SAMPLE_RATE) + 1
    part = soxr.resample(samples[first : first + count], SAMPLE_RATE, VIDEO_HZ).astype(np.float32)
    part = np.pad(part, (0, max(0, int(ticks / fps * VIDEO_HZ) + 1 - len(part))))
    edges = [int(tick / fps * VIDEO_HZ) for tick in range(ticks + 1)]
    for begin, end in itertools.pairwise(edges):
        yield part[begin:end, None]
