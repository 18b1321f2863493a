"""A contact sheet: pictures of a data set with their labels and landmarks, to be looked at."""

import cv2
import numpy as np

from splatface.models.messages import NS_PER_S
from splatface.models.training.dataset.pictures import labels, picture
from splatface.models.training.dataset.types import TEST, VAL, Dataset
from splatface.models.typing import UInt8Array

__all__ = ["contact_sheet", "tinted"]


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
    """Pictures evenly over the film [H, W, 3] RGB: above as they are, below with labels and landmarks.

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
    """A picture [H, W, 3] colored by its labels [H, W]; the background stays as it is."""
    mixed = 0.45 * image + 0.55 * _COLORS[shown]
    return np.where(shown[..., None] > 0, mixed, image).astype(np.uint8)


def _tile(dataset: Dataset, row: int, side_px: int) -> UInt8Array:
    image, shown = picture(dataset, row), labels(dataset, row)
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
