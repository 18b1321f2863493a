"""The tracking film: what was seen in a film and what was made of it, for people to judge."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import soxr
from numpy.typing import NDArray

from splatface.models.errors import TrackingError
from splatface.models.messages import NS_PER_S, SAMPLE_RATE
from splatface.models.training.dataset.dataset_audio import load_audio
from splatface.models.training.dataset.frame_images import labels, picture, tinted
from splatface.models.training.dataset.types import Dataset
from splatface.models.training.report.mode_plot import write_on
from splatface.models.training.report.tracking_tracks import TRACKS_HEIGHT, Tracks
from splatface.models.training.tracking.checks import Finding
from splatface.models.training.tracking.fitted import FITTED, TrackingResult, fitted_landmarks, read_fitted
from splatface.models.training.tracking.overlay import OverlayData, draw_tracked
from splatface.models.typing import AnyArray, UInt8Array
from splatface.models.video.shape import VideoFormat
from splatface.models.video.sound import FILM_HZ
from splatface.models.video.writer import FilmWriter

__all__ = ["TRACKING_FILM", "TrackingView", "write_tracking_film"]


TRACKING_FILM: Final = "tracking.mp4"
_SIDE_PX = 400
_WHOLE_S = 60.0  # a longer film is shown in passages
_PASSAGES, _PASSAGE_S = 6, 10.0
_FAR_S = 0.3  # a moment whose nearest picture is farther away has none


def write_tracking_film(dataset: Dataset, findings: Sequence[Finding], told: Callable[[float], None]) -> Path:
    """Write tracking.mp4 into the data set's folder, of a long film six passages; its path.

    Left: landmarks as found (dots), the fitted face (green), the head's axes, gaze (yellow). Right: labels.
    Below: loudness, opening of the mouth, lids, and the head's turn.

    Args:
        dataset: tracked.
        findings: of it.
        told: hears the share that is done.

    Raises:
        FilmError: when PyAV or its codecs are missing, or the disk refuses.
        TrackingError: when tracking.safetensors is damaged.
        DatasetError: when a picture or the sound is.
    """
    view = TrackingView(dataset, findings)
    shape = VideoFormat(2 * _SIDE_PX, _SIDE_PX + TRACKS_HEIGHT, _rate(dataset.fps))
    tags = {"title": f"Tracking of {dataset.name}", "copyright": f"{dataset.license}. {dataset.consent}"}
    samples = load_audio(dataset)
    spans = _passages(dataset)
    path = dataset.folder / TRACKING_FILM
    with FilmWriter(path, shape, 1, tags) as film:
        for number, (begin_s, end_s) in enumerate(spans):
            ticks = max(1, round((end_s - begin_s) * float(shape.fps)))
            heard = _heard(samples, begin_s, ticks, shape.fps)
            for tick, part in enumerate(heard):
                film.add(view(begin_s + tick / float(shape.fps)), part)
                told((number + tick / ticks) / len(spans))
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
        self._tracks = Tracks(dataset.motion, load_audio(dataset), 2 * _SIDE_PX)
        self._spans = [(f.subject, span) for f in findings for span in f.spans_s]

    def __call__(self, time_s: float) -> UInt8Array:
        """Overlay, labels and curves [H, W, 3] at a film time."""
        return np.vstack([np.hstack(self.panels(time_s)), self._tracks(time_s)])

    def panels(self, time_s: float) -> tuple[UInt8Array, UInt8Array]:
        """Overlay and labels [400, 400, 3] of the picture nearest to a film time."""
        data, row = self._dataset, _nearest(self._row_s, time_s)
        image = picture(data, row)
        overlay = draw_tracked(image, self._drawn(row), data.camera, _SIDE_PX)
        parts = tinted(image, labels(data, row))
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
    found = read_fitted(dataset)
    if found is None:
        raise TrackingError(
            f"{dataset.folder / FITTED}: expected what tracking kept, found none: track the film again"
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


def _heard(samples: AnyArray, begin_s: float, ticks: int, fps: Fraction) -> Iterator[NDArray[np.float32]]:
    """The sound [T, 1] of each of so many pictures."""
    first, count = round(begin_s * SAMPLE_RATE), int(ticks / fps * SAMPLE_RATE) + 1
    part = soxr.resample(samples[first : first + count], SAMPLE_RATE, FILM_HZ).astype(np.float32)
    part = np.pad(part, (0, max(0, int(ticks / fps * FILM_HZ) + 1 - len(part))))
    edges = [int(tick / fps * FILM_HZ) for tick in range(ticks + 1)]
    for begin, end in itertools.pairwise(edges):
        yield part[begin:end, None]
