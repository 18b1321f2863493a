"""The one face of a film: found where it is small too, chosen among others, and the window around it."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import TrackingError
from splatface.models.training.tracking.landmarks import Landmarker
from splatface.models.typing import Float64Array, UInt8Array

__all__ = ["MOST_FACES", "CropWindow", "FaceDetector", "FaceTrack", "choose_face", "crop_window", "cropped"]


MOST_FACES = 4
_SAME = 0.75  # a face moves by less than this share of its size between two looks
_APART = 0.35  # boxes whose middles are nearer than this share of their size show one face twice
_FACES_HIGH = 2.5  # window over the face from forehead to chin: head and shoulders
_LOWER = 0.12  # by which share of the window its middle lies below the face's
_HAIR, _CHEEK = 0.5, 0.35  # what must fit above and beside the face, shares of its height


class FaceDetector:
    """Finds faces in one picture after another, in parts of it where the whole shows none.

    mediapipe's detector sees a picture at 128 px: a face of less than a tenth of it is lost in the whole.
    Use it in a `with`, or close it.
    """

    def __init__(self) -> None:
        self._find = Landmarker(most=MOST_FACES)
        self._last: Float64Array | None = None
        self._misses = 0

    def __call__(self, picture: UInt8Array) -> Float64Array:
        """Boxes [n, 4] (left, top, right, bottom) px around brows, cheeks and chin of the faces found."""
        boxes = self._in(picture, (0, 0, picture.shape[1], picture.shape[0]))
        if not len(boxes) and self._last is not None:
            boxes = self._in(picture, _around(self._last, picture.shape))
        # Looking at all parts is dear; an empty room is looked through every eighth time only.
        if not len(boxes):
            if self._misses % 8 == 0:
                boxes = self._in_parts(picture)
            self._misses += 1
        if len(boxes):
            self._misses = 0
            self._last = boxes[np.argmax(boxes[:, 3] - boxes[:, 1])]
        return boxes

    def close(self) -> None:
        """Free what mediapipe holds."""
        self._find.close()

    def __enter__(self) -> "FaceDetector":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _in_parts(self, picture: UInt8Array) -> Float64Array:
        height, width = picture.shape[:2]
        for share in (1.0, 0.5, 0.25):
            side = round(min(height, width) * share)
            found = [self._in(picture, part) for part in _parts(width, height, side)]
            boxes = _each_once(np.concatenate(found))
            if len(boxes):
                return boxes[:MOST_FACES]
        return np.empty((0, 4))

    def _in(self, picture: UInt8Array, part: tuple[int, int, int, int]) -> Float64Array:
        left, top, right, bottom = part
        faces = self._find.faces(np.ascontiguousarray(picture[top:bottom, left:right]))
        boxes = np.concatenate([faces[..., :2].min(axis=1), faces[..., :2].max(axis=1)], axis=1)
        return np.asarray(boxes + np.array([left, top, left, top], np.float64))


@dataclass(frozen=True, slots=True, eq=False)
class FaceTrack:
    """One face through the film."""

    boxes: Float64Array  # [S, 4] px at each look, NaN where it was not found
    others: NDArray[np.bool_]  # [S] looks at which another face of some size was seen too


@dataclass(frozen=True, slots=True)
class CropWindow:
    """A square part of the upright film that all its pictures are cut to."""

    left: int  # px
    top: int  # px
    side: int  # px


def choose_face(looks: Sequence[Float64Array]) -> FaceTrack:
    """The face that is largest for longest among boxes [n, 4] of S looks in order of time.

    Raises:
        TrackingError: when no look has a face.
    """
    tracks: list[dict[int, Float64Array]] = []
    for at, boxes in enumerate(looks):
        free = list(range(len(tracks)))
        for box in sorted(boxes, key=lambda box: box[1] - box[3]):
            near = [i for i in free if _same(box, tracks[i], at)]
            if near:
                best = min(near, key=lambda i: _distance(box, tracks[i][max(tracks[i])]))
                tracks[best][at] = box
                free.remove(best)
            else:
                tracks.append({at: box})
    if not tracks:
        raise TrackingError(
            "face: expected one in the film, found none: film a person from the front, head and shoulders, "
            "in good light"
        )
    chosen = max(tracks, key=lambda track: sum(_height(box) for box in track.values()))
    boxes = np.full((len(looks), 4), np.nan)
    for at, box in chosen.items():
        boxes[at] = box
    usual = float(np.median([_height(box) for box in chosen.values()]))
    others = [
        any(track is not chosen and at in track and _height(track[at]) > 0.3 * usual for track in tracks)
        for at in range(len(looks))
    ]
    return FaceTrack(boxes, np.array(others, bool))


def crop_window(boxes: Float64Array, width: int, height: int) -> CropWindow:
    """Head and shoulders around a face's boxes [S, 4] (NaN where unknown), inside width x height px.

    It stands still for the whole film: wide enough for where the head goes.
    """
    known = boxes[np.isfinite(boxes).all(axis=1)]
    tall = float(np.median(known[:, 3] - known[:, 1]))
    left, top = np.percentile(known[:, :2], 2, axis=0)
    right, bottom = np.percentile(known[:, 2:], 98, axis=0)
    needed = max(right - left + 2 * _CHEEK * tall, bottom - top + 2 * _HAIR * tall)
    side = int(min(width, height, max(_FACES_HIGH * tall, needed)))
    middle = np.array([(left + right) / 2, (top + bottom) / 2 + _LOWER * side])
    corner = middle - side / 2
    corner[1] = min(corner[1], top - _HAIR * tall)  # hair before shoulders
    corner = np.clip(corner, 0, (width - side, height - side))
    return CropWindow(int(corner[0]), int(corner[1]), side)


def cropped(picture: UInt8Array, window: CropWindow, side_px: int) -> UInt8Array:
    """The window of a picture [H, W, 3], scaled to [side_px, side_px, 3]."""
    part = picture[window.top : window.top + window.side, window.left : window.left + window.side]
    if part.shape[:2] == (side_px, side_px):
        return np.ascontiguousarray(part)
    way = cv2.INTER_AREA if window.side > side_px else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(part, (side_px, side_px), interpolation=way), np.uint8)


def _height(box: Float64Array) -> float:
    return float(box[3] - box[1])


def _distance(one: Float64Array, other: Float64Array) -> float:
    """Between the middles, in sizes of the larger."""
    apart = (one[:2] + one[2:] - other[:2] - other[2:]) / 2
    return float(np.hypot(*apart)) / max(_height(one), _height(other), 1.0)


def _same(box: Float64Array, track: dict[int, Float64Array], at: int) -> bool:
    """Whether a box may show a track's face, which may have been lost for a while."""
    last = max(track)
    ratio = _height(box) / max(_height(track[last]), 1.0)
    return 0.6 < ratio < 1.7 and _distance(box, track[last]) < _SAME * min(at - last, 3)


def _each_once(boxes: Float64Array) -> Float64Array:
    """Boxes without those that show a face again, the largest first."""
    kept: list[Float64Array] = []
    for box in sorted(boxes, key=lambda box: box[1] - box[3]):
        if all(_distance(box, other) > _APART for other in kept):
            kept.append(box)
    return np.array(kept).reshape(-1, 4)


def _around(box: Float64Array, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """A part of the picture, four faces wide."""
    reach = 2 * _height(box)
    middle = (box[:2] + box[2:]) / 2
    left, top = np.maximum(middle - reach, 0).astype(int)
    right, bottom = np.minimum(middle + reach, (shape[1], shape[0])).astype(int)
    return int(left), int(top), max(int(right), int(left) + 2), max(int(bottom), int(top) + 2)


def _parts(width: int, height: int, side: int) -> list[tuple[int, int, int, int]]:
    """Squares that overlap by half."""

    def starts(length: int) -> list[int]:
        count = max(1, -(-2 * (length - side) // side) + 1)
        return [round(x) for x in np.linspace(0, length - side, count)]

    return [(x, y, x + side, y + side) for y in starts(height) for x in starts(width)]
