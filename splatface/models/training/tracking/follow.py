"""Through the film with a still window: landmarks of each picture, and labelled pictures for the data set."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from splatface.models.training.dataset.dataset_io import DatasetWriter
from splatface.models.training.tracking.choose_face import MOST_FACES, CropWindow, cropped
from splatface.models.training.tracking.landmarks import LANDMARKS, Landmarker
from splatface.models.training.tracking.masks import ColorModel, PersonSegmenter, learn_colors, segment_frame
from splatface.models.training.tracking.plate import Plate, composite_over_plate, estimate_clean_plate
from splatface.models.training.tracking.scan import LOOK_EVERY_S
from splatface.models.training.tracking.story import ShotSelection
from splatface.models.training.tracking.video import VideoInfo, iter_frames
from splatface.models.typing import BoolArray, Float64Array, UInt8Array

__all__ = [
    "AppearanceModel",
    "CroppedVideo",
    "expected_places",
    "fit_appearance",
    "process_chunk",
    "select_frames",
]


_SAMPLES = 40  # pictures from which plate and colors are learned
_ASTRAY = 0.7  # of its height: farther from where the face is expected, it is another one
_SETTLE = 8  # pictures a tracker needs after a jump
_HAND_S = 0.7 * LOOK_EVERY_S  # before and after a look with a hand in the way


@dataclass(frozen=True, slots=True, eq=False)
class CroppedVideo:
    """A film and the window through which it is seen."""

    path: Path
    info: VideoInfo
    fps: float
    window: CropWindow
    side_px: int
    places: Float64Array  # [F, 3] middle and height px of the face expected in the window's picture
    multiple_faces: bool  # other faces are seen too


@dataclass(frozen=True, slots=True, eq=False)
class AppearanceModel:
    """What a person and their background look like."""

    colors: ColorModel
    plate: Plate
    replaced: bool  # the background moves: the plate stands in for it


def expected_places(
    story: ShotSelection, look_s: Float64Array, times_s: Float64Array, scale: tuple[CropWindow, int]
) -> Float64Array:
    """Middle and height [F, 3] px of the chosen face at times [F] in the picture of a window."""
    window, side_px = scale
    seen = np.isfinite(story.boxes).all(axis=1)
    boxes = story.boxes[seen]
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2 - (window.left, window.top)
    values = np.column_stack([middle, boxes[:, 3] - boxes[:, 1]]) * side_px / window.side
    return np.stack([np.interp(times_s, look_s[seen], values[:, i]) for i in range(3)], axis=1)


def select_frames(
    story: ShotSelection, look_s: Float64Array, repeated: BoolArray, times_s: Float64Array, most: int
) -> BoolArray:
    """Which pictures [F] at times [F] a data set should have, as far as the first look can say.

    The last 15 % are kept whole, what comes before is thinned evenly to `most` in all.
    """
    wanted = story.used & ~repeated
    for at_s in look_s[story.hands]:
        wanted &= np.abs(times_s - at_s) > _HAND_S
    used = np.flatnonzero(wanted)
    if len(used) <= most:
        return wanted
    early = used[: round(0.85 * len(used))]
    room = max(most - (len(used) - len(early)), most // 2)
    chosen = early[np.unique(np.linspace(0, len(early) - 1, room).round().astype(int))]
    wanted[early] = False
    wanted[chosen] = True
    return wanted


def fit_appearance(
    film: CroppedVideo, used: BoolArray, told: Callable[[float], None]
) -> tuple[ColorModel, Plate]:
    """Colors of the person and the background, from pictures evenly over those that are used [F]."""
    numbers = np.flatnonzero(used)
    chosen = set(numbers[np.linspace(0, len(numbers) - 1, min(_SAMPLES, len(numbers))).astype(int)].tolist())
    pictures, shares, faces = [], [], []
    with PersonSegmenter() as person, _Finder(film, tracked=False) as find:
        for shot in iter_frames(film.path, film.info, film.fps, wanted=chosen.__contains__):
            picture = cropped(shot.picture, film.window, film.side_px)
            pictures.append(picture)
            shares.append(person(picture))
            faces.append(find(shot.index, picture))
            told(len(pictures) / len(chosen))
    seen = [i for i, face in enumerate(faces) if np.isfinite(face).all()]
    colors = learn_colors((pictures[i], shares[i], faces[i]) for i in seen)
    return colors, estimate_clean_plate(pictures, shares)


def process_chunk(
    film: CroppedVideo,
    look: AppearanceModel,
    span: range,
    wanted: BoolArray,
    writer: tuple[DatasetWriter, int],
) -> tuple[NDArray[np.float32], BoolArray]:
    """Landmarks [n, 478, 3] px (NaN where lost) of a span of pictures, and which [n] became rows.

    Args:
        film: where to look.
        look: how to label.
        span: numbers of the pictures.
        wanted: [F] pictures that should become rows.
        writer: of the data set, and the row that comes first.
    """
    found = np.full((len(span), LANDMARKS, 3), np.nan, np.float32)
    kept = np.zeros(len(span), bool)
    target, row = writer
    with PersonSegmenter() as person, _Finder(film, tracked=True) as find:
        for number, picture in _seen_from(film, max(span.start - _SETTLE, 0), span.stop):
            landmarks = find(number, picture)
            if number < span.start:
                continue
            found[number - span.start] = landmarks
            if not (wanted[number] and np.isfinite(landmarks).all()):
                continue
            share = person(picture)
            labels = segment_frame(picture, share, landmarks, look.colors)
            target.add(
                row, composite_over_plate(picture, share, look.plate) if look.replaced else picture, labels
            )
            kept[number - span.start] = True
            row += 1
    return found, kept


def _seen_from(film: CroppedVideo, first: int, end: int) -> Iterator[tuple[int, UInt8Array]]:
    for shot in iter_frames(film.path, film.info, film.fps, first=first):
        if shot.index >= end:
            return
        yield shot.index, cropped(shot.picture, film.window, film.side_px)


class _Finder:
    """Landmarks of the one face, and no other, in the window's pictures."""

    def __init__(self, film: CroppedVideo, *, tracked: bool) -> None:
        self._places = film.places
        self._find = Landmarker(tracked=tracked, most=MOST_FACES if film.multiple_faces else 1)

    def __call__(self, number: int, picture: UInt8Array) -> Float64Array:
        faces = self._find.faces(picture)
        *middle, tall = self._places[min(number, len(self._places) - 1)]
        if len(faces):
            boxes = np.stack([faces[..., :2].min(axis=1), faces[..., :2].max(axis=1)])
            away = np.linalg.norm(boxes.mean(axis=0) - middle, axis=1)
            best = int(np.argmin(away))
            if away[best] < _ASTRAY * tall:
                return np.asarray(faces[best])
        return np.full((LANDMARKS, 3), np.nan)

    def __enter__(self) -> "_Finder":
        return self

    def __exit__(self, *_: object) -> None:
        self._find.close()
