# SPDX-License-Identifier: Apache-2.0
"""Images and label images of a data set: PNG files, label regions, loss weights, contact sheet."""

import struct
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import DatasetError
from splatface.models.messages import NS_PER_S
from splatface.models.training.dataset.file_format import read_regular_file
from splatface.models.training.dataset.types import (
    BACKGROUND,
    EYES,
    FACE,
    INTACT,
    LABELS,
    LIPS,
    MOUTH,
    TEST,
    VAL,
    Dataset,
)
from splatface.models.typing import BoolArray, UInt8Array

__all__ = [
    "LABEL_FOLDER",
    "PICTURE_FOLDER",
    "ImageCache",
    "LossWeights",
    "box_of",
    "contact_sheet",
    "eyes_mask",
    "face_mask",
    "is_whole_png",
    "loss_weights",
    "mouth_mask",
    "person_mask",
    "png_bytes",
    "read_image",
    "read_labels",
    "read_png",
    "row_name",
    "silhouette_trimap",
    "tinted",
]

PICTURE_FOLDER, LABEL_FOLDER = "pictures", "labels"
_HEAD, _END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"


def row_name(row: int) -> str:
    """Return the file name of a row's image."""
    return f"{row:06d}.png"


def read_image(dataset: Dataset, row: int) -> UInt8Array:
    """Read the image [H, W, 3] RGB of a row.

    Raises:
        DatasetError: when the row does not exist, or its file is missing, damaged or of another size.
    """
    size = (dataset.camera.width, dataset.camera.height)
    return read_png(dataset.folder, f"{PICTURE_FOLDER}/{row_name(_checked(dataset, row))}", size, channels=3)


def read_labels(dataset: Dataset, row: int) -> UInt8Array:
    """Read the labels [H, W] of a row: indices into LABELS. Raises DatasetError like `read_image`."""
    size = (dataset.camera.width, dataset.camera.height)
    name = f"{LABEL_FOLDER}/{row_name(_checked(dataset, row))}"
    image = read_png(dataset.folder, name, size, channels=1)
    if image.max(initial=0) >= len(LABELS):
        raise DatasetError(f"{name}: expected labels 0..{len(LABELS) - 1}, found {image.max()}: {INTACT}")
    return image


def _checked(dataset: Dataset, row: int) -> int:
    if not 0 <= row < len(dataset.frames):
        raise DatasetError(
            f"{dataset.name}: expected a row in 0..{len(dataset.frames) - 1}, found {row}: ask for one"
        )
    return row


def read_png(folder: Path, name: str, size: tuple[int, int], channels: int) -> UInt8Array:
    """Decode a PNG of exactly this size (width, height): [H, W, 3] RGB or, of 1 channel, [H, W]."""
    width, height = size
    content = read_regular_file(folder, name, limit=(1 << 16) + 8 * width * height)
    # The size stands in the header: a bomb is refused before it is unpacked.
    found = struct.unpack(">II", content[16:24]) if content[:8] == _HEAD and len(content) > 33 else (0, 0)
    if found != size:
        shown = f"{found[0]}x{found[1]}" if found != (0, 0) else "something else"
        raise DatasetError(f"{name}: expected a PNG of {width}x{height}, found {shown}: {INTACT}")
    mode = cv2.IMREAD_COLOR if channels == 3 else cv2.IMREAD_GRAYSCALE
    image = cv2.imdecode(np.frombuffer(content, np.uint8), mode) if content.endswith(_END) else None
    if image is None or image.shape[:2] != (height, width) or image.dtype != np.uint8:
        raise DatasetError(f"{name}: expected a whole 8-bit PNG, found a damaged one: {INTACT}")
    return np.ascontiguousarray(image[..., ::-1]) if channels == 3 else np.asarray(image, np.uint8)


def png_bytes(image: UInt8Array) -> bytes:
    """Encode an image [H, W, 3] RGB or [H, W] as PNG; DatasetError when it is neither."""
    fits = image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)
    if image.dtype != np.uint8 or not fits or not image.size:
        raise DatasetError(
            f"picture: expected uint8 [H, W, 3] or [H, W], found {image.dtype} {list(image.shape)}: "
            "round floats to 0..255"
        )
    ordered = image[..., ::-1] if image.ndim == 3 else image
    return bytes(cv2.imencode(".png", ordered, [cv2.IMWRITE_PNG_COMPRESSION, 3])[1])


def is_whole_png(path: Path) -> bool:
    """Tell whether a file begins and ends as a PNG (a crash of the machine may truncate it)."""
    if not path.is_file() or path.stat().st_size < 57:
        return False
    with path.open("rb") as file:
        head = file.read(len(_HEAD))
        file.seek(-len(_END), 2)
        return head == _HEAD and file.read() == _END


class ImageCache:
    """Cache of images with their labels, in memory as uint8 until `max_bytes` are full.

    The first ones stay: random access then hits as often as with any other rule, and sequential access more
    often than with LRU.
    """

    def __init__(self, dataset: Dataset, max_bytes: int = 1 << 30) -> None:
        self._dataset = dataset
        self._free_bytes = max_bytes
        self._images: dict[int, tuple[UInt8Array, UInt8Array]] = {}

    def __call__(self, row: int) -> tuple[UInt8Array, UInt8Array]:
        """Return the image [H, W, 3] and labels [H, W] of a row, read-only.

        Raises DatasetError like `read_image`.
        """
        if row in self._images:
            return self._images[row]
        pair = read_image(self._dataset, row), read_labels(self._dataset, row)
        size = sum(image.nbytes for image in pair)
        if size <= self._free_bytes:
            for image in pair:
                image.setflags(write=False)
            self._free_bytes -= size
            self._images[row] = pair
        return pair


def person_mask(labels: UInt8Array) -> BoolArray:
    """Return the mask [H, W] of the person."""
    return np.asarray(labels != BACKGROUND)


def silhouette_trimap(labels: UInt8Array, clear_px: float) -> NDArray[np.int8]:
    """Return 1 at the person, -1 at the background, 0 within `clear_px` of the edge [H, W]."""
    person = person_mask(labels)
    outside, inside = ~_dilated(person, clear_px), ~_dilated(~person, clear_px)
    return inside.astype(np.int8) - outside.astype(np.int8)


def face_mask(labels: UInt8Array) -> BoolArray:
    """Return the mask [H, W] of the face with eyes, lips and mouth, without hair and neck."""
    return np.asarray(labels >= FACE)


def eyes_mask(labels: UInt8Array, dilate_px: float = 0.0) -> BoolArray:
    """Return the mask [H, W] of the eyes, dilated by `dilate_px`."""
    return _dilated(labels == EYES, dilate_px)


def mouth_mask(labels: UInt8Array, dilate_px: float = 0.0) -> BoolArray:
    """Return the mask [H, W] of the lips and the mouth between them, dilated by `dilate_px`."""
    return _dilated((labels == LIPS) | (labels == MOUTH), dilate_px)


@dataclass(frozen=True, slots=True, kw_only=True)
class LossWeights:
    """Weights of image regions in the loss, tuned at 512 px."""

    background: float = 0.35
    person: float = 1.0
    face: float = 1.0
    eyes: float = 1.5
    mouth: float = 4.0
    mouth_dilation_px: float = 0.012  # by which eyes and mouth are widened, share of the picture's height


def loss_weights(labels: UInt8Array, weights: LossWeights | None = None) -> NDArray[np.float32]:
    """Compute the weight [H, W] of each pixel, with a mean of 1 so that losses compare between frames.

    Where regions overlap the larger weight counts: lips stay lips in front of the face.
    """
    region_weights = weights or LossWeights()
    dilation_px = region_weights.mouth_dilation_px * labels.shape[0]
    regions = (
        (person_mask(labels), region_weights.person),
        (face_mask(labels), region_weights.face),
        (eyes_mask(labels, dilation_px), region_weights.eyes),
        (mouth_mask(labels, dilation_px), region_weights.mouth),
    )
    picture = np.full(labels.shape, region_weights.background, np.float32)
    picture[regions[0][0]] = region_weights.person
    for mask, weight in regions[1:]:
        picture[mask] = np.maximum(picture[mask], np.float32(weight))
    mean = float(picture.mean())
    return picture / np.float32(mean) if mean > 0 else picture


def box_of(mask: BoolArray, margin_px: int = 0) -> tuple[int, int, int, int] | None:
    """Return (top, bottom, left, right) of a mask [H, W], bottom and right excluded; None when empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    height, width = mask.shape
    return (
        max(int(rows[0]) - margin_px, 0),
        min(int(rows[-1]) + 1 + margin_px, height),
        max(int(columns[0]) - margin_px, 0),
        min(int(columns[-1]) + 1 + margin_px, width),
    )


def _dilated(mask: BoolArray, radius_px: float) -> BoolArray:
    """Dilate a mask [H, W] by a radius."""
    if radius_px <= 0 or not mask.any():
        return mask
    distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    near: BoolArray = np.asarray(distance <= radius_px)
    return near


_COLORS = np.array(
    [
        (0, 0, 0),
        (225, 87, 89),
        (89, 161, 79),
        (156, 117, 95),
        (237, 201, 72),
        (78, 121, 167),
        (255, 105, 180),
        (120, 20, 60),
    ],
    np.float32,
)
_PARTS = {VAL: "val", TEST: "test"}


def contact_sheet(
    dataset: Dataset, *, pictures: int = 24, columns: int = 6, side_px: int = 256
) -> UInt8Array:
    """Draw frames evenly over the video [H, W, 3] RGB: images above, with labels and landmarks below.

    Raises DatasetError when a picture is damaged.
    """
    rows = np.unique(np.linspace(0, len(dataset.frames) - 1, pictures).astype(int))
    tiles = [_tile(dataset, int(row), side_px) for row in rows]
    columns = min(columns, len(tiles))
    blank = np.full_like(tiles[0], 255)
    tiles += [blank] * (-len(tiles) % columns)
    lines = [np.hstack(tiles[first : first + columns]) for first in range(0, len(tiles), columns)]
    return np.ascontiguousarray(np.vstack(lines))


def tinted(image: UInt8Array, shown: UInt8Array) -> UInt8Array:
    """Color an image [H, W, 3] by its labels [H, W]; the background stays as it is."""
    mixed = 0.45 * image + 0.55 * _COLORS[shown]
    return np.where(shown[..., None] > 0, mixed, image).astype(np.uint8)


def _tile(dataset: Dataset, row: int, side_px: int) -> UInt8Array:
    image, shown = read_image(dataset, row), read_labels(dataset, row)
    scale = side_px / max(shown.shape)
    size = (round(shown.shape[1] * scale), round(shown.shape[0] * scale))
    above = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    below = cv2.resize(tinted(image, shown), size, interpolation=cv2.INTER_AREA)
    for x, y in dataset.frames.landmarks_px[row]:
        if np.isfinite(x + y):
            cv2.circle(below, (round(float(x) * scale), round(float(y) * scale)), 1, (255, 255, 255), -1)
    seconds = dataset.frames.time_ns[row] / NS_PER_S
    text = f"{row}  {seconds:.2f} s {_PARTS.get(int(dataset.frames.split[row]), '')}"
    for color, width in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(above, text, (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.42, color, width, cv2.LINE_AA)
    return np.vstack([above, below])
