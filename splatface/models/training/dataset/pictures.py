"""Pictures and label pictures of a data set: 8-bit PNG, one of each for every row of the frame table."""

import struct
from pathlib import Path

import cv2
import numpy as np

from splatface.models.errors import DatasetError
from splatface.models.training.dataset.checks import INTACT
from splatface.models.training.dataset.disk import read_regular_file
from splatface.models.training.dataset.types import LABELS, Dataset
from splatface.models.typing import UInt8Array

__all__ = [
    "LABEL_FOLDER",
    "PICTURE_FOLDER",
    "PictureCache",
    "is_whole_png",
    "labels",
    "picture",
    "png_bytes",
    "read_png",
    "row_name",
]

PICTURE_FOLDER, LABEL_FOLDER = "pictures", "labels"
_HEAD, _END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"


def row_name(row: int) -> str:
    """File name of a row's picture."""
    return f"{row:06d}.png"


def picture(dataset: Dataset, row: int) -> UInt8Array:
    """The picture [H, W, 3] RGB of a row.

    Raises:
        DatasetError: when the row does not exist, or its file is missing, damaged or of another size.
    """
    size = (dataset.camera.width, dataset.camera.height)
    return read_png(dataset.folder, f"{PICTURE_FOLDER}/{row_name(_checked(dataset, row))}", size, channels=3)


def labels(dataset: Dataset, row: int) -> UInt8Array:
    """What each pixel [H, W] of a row shows: indices into LABELS. Raises DatasetError like `picture`."""
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
    """A picture [H, W, 3] RGB or [H, W] as PNG; DatasetError when it is neither."""
    fits = image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)
    if image.dtype != np.uint8 or not fits or not image.size:
        raise DatasetError(
            f"picture: expected uint8 [H, W, 3] or [H, W], found {image.dtype} {list(image.shape)}: "
            "round floats to 0..255"
        )
    ordered = image[..., ::-1] if image.ndim == 3 else image
    return bytes(cv2.imencode(".png", ordered, [cv2.IMWRITE_PNG_COMPRESSION, 3])[1])


def is_whole_png(path: Path) -> bool:
    """Whether a file begins and ends as a PNG does (a crash of the machine may leave less)."""
    if not path.is_file() or path.stat().st_size < 57:
        return False
    with path.open("rb") as file:
        head = file.read(len(_HEAD))
        file.seek(-len(_END), 2)
        return head == _HEAD and file.read() == _END


class PictureCache:
    """Pictures with their labels, kept in memory as uint8 until `max_bytes` are full.

    Those that came first stay: rows drawn at random then hit as often as with any other rule, and a pass in
    order more often than when the oldest gave way.
    """

    def __init__(self, dataset: Dataset, max_bytes: int = 1 << 30) -> None:
        self._dataset = dataset
        self._room = max_bytes
        self._kept: dict[int, tuple[UInt8Array, UInt8Array]] = {}

    def __call__(self, row: int) -> tuple[UInt8Array, UInt8Array]:
        """The picture [H, W, 3] and labels [H, W] of a row, not to be written to.

        Raises DatasetError like `picture`.
        """
        if row in self._kept:
            return self._kept[row]
        pair = picture(self._dataset, row), labels(self._dataset, row)
        size = sum(image.nbytes for image in pair)
        if size <= self._room:
            for image in pair:
                image.setflags(write=False)
            self._room -= size
            self._kept[row] = pair
        return pair
