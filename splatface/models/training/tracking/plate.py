"""What is behind the person: the median over time of what the person leaves free."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from splatface.models.typing import Float32Array, UInt8Array

__all__ = ["Plate", "composite_over_plate", "estimate_clean_plate"]


_FREE = 0.1  # share of the person below which a pixel shows the background
_MARGIN_PX = 9  # around the person: shadow, motion, hair
_FEWEST = 3  # looks at a pixel that make it known
_MOVES = 12.0  # levels of 255 by which a background pixel may differ from its median before it moves
_FLAT = 2.5
_ROWS = 32


@dataclass(frozen=True, slots=True, eq=False)
class Plate:
    """A clean background."""

    picture: Float32Array  # [H, W, 3] RGB 0..1
    flat: bool  # of one color, as in a studio
    seen: float  # share of the pixels that were ever free
    moving: float  # share of the free pixels that change with time


def estimate_clean_plate(pictures: Sequence[UInt8Array], shares: Sequence[Float32Array]) -> Plate:
    """The plate of K pictures [H, W, 3] in which the person takes the shares [H, W].

    K of 20 to 60 is good.
    """
    stack = np.stack(pictures)
    free = np.stack([_free(share) for share in shares])
    plate, spread = _median(stack, free)
    known = free.sum(axis=0) >= min(_FEWEST, len(stack))
    filled = _filled_in(plate, ~known)
    return Plate(
        picture=filled / np.float32(255),
        flat=bool(known.any() and filled[known].std(axis=0).max() < _FLAT),
        seen=float(known.mean()),
        moving=float((spread[known] > _MOVES).mean()) if known.any() else 0.0,
    )


def composite_over_plate(picture: UInt8Array, share: Float32Array, plate: Plate) -> UInt8Array:
    """The person of a picture [H, W, 3] before the plate, where the real background moves."""
    x = np.clip((share - 0.15) / 0.7, 0.0, 1.0)
    there = (x * x * (3 - 2 * x))[..., None]
    return np.asarray(picture * there + plate.picture * 255 * (1 - there) + 0.5, np.uint8)


def _free(share: Float32Array) -> NDArray[np.bool_]:
    person = (share > _FREE).astype(np.uint8)
    wide = 2 * _MARGIN_PX + 1
    return np.asarray(cv2.dilate(person, np.ones((wide, wide), np.uint8)) == 0)


def _median(stack: UInt8Array, free: NDArray[np.bool_]) -> tuple[Float32Array, Float32Array]:
    """Median [H, W, 3] of the free pixels of K pictures, and [H, W] how far nine in ten stay from it."""
    height, width = stack.shape[1:3]
    plate, spread = np.zeros((height, width, 3), np.float32), np.zeros((height, width), np.float32)
    count = free.sum(axis=0)
    for top in range(0, height, _ROWS):  # some rows at a time: floats of all would fill the memory
        rows = slice(top, top + _ROWS)
        values = np.where(free[:, rows, :, None], stack[:, rows].astype(np.float32), np.inf)
        values.sort(axis=0)
        # What is not free sorts last, so the middle of those that are is at half their number.
        middle = np.maximum(count[rows] - 1, 0)[None, ..., None] // 2
        plate[rows] = np.take_along_axis(values, middle, axis=0)[0]
        away = np.abs(stack[:, rows].astype(np.float32) - plate[rows]).max(axis=3)
        away = np.where(free[:, rows], away, np.inf)
        away.sort(axis=0)
        far = np.maximum(count[rows] * 9 // 10 - 1, 0)[None]
        spread[rows] = np.take_along_axis(away, far, axis=0)[0]
    return plate, spread


def _filled_in(plate: Float32Array, holes: NDArray[np.bool_]) -> Float32Array:
    """The plate with what nobody saw continued smoothly from around it."""
    known = np.where(np.isfinite(plate), plate, 0).clip(0, 255).astype(np.float32)
    if not holes.any() or holes.all():
        return known
    # Push-pull: each level is the mean of what is known of the finer one, holes take the coarser level's.
    levels = [(known * ~holes[..., None], (~holes).astype(np.float32))]
    while max(levels[-1][1].shape) > 1:
        values, weight = levels[-1]
        size = tuple(max(1, -(-side // 2)) for side in weight.shape[::-1])
        less = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
        color = cv2.resize(values, size, interpolation=cv2.INTER_AREA).reshape(*size[::-1], 3)
        levels.append((color / np.maximum(less, 1e-6)[..., None] * (less > 0)[..., None], (less > 0) * 1.0))
    filled = levels[-1][0]
    for values, weight in levels[-2::-1]:
        smooth = cv2.resize(
            np.asarray(filled, np.float32), weight.shape[::-1], interpolation=cv2.INTER_LINEAR
        )
        filled = np.where(weight[..., None] > 0, values, smooth.reshape(values.shape))
    return np.asarray(filled, np.float32)
