"""Regions of a label picture, and how much each pixel counts in training."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from splatface.models.training.dataset.types import BACKGROUND, EYES, FACE, LIPS, MOUTH
from splatface.models.typing import BoolArray, UInt8Array

__all__ = [
    "LossWeights",
    "box_of",
    "eyes_mask",
    "face_mask",
    "loss_weights",
    "mouth_mask",
    "person_mask",
    "silhouette_trimap",
]


def person_mask(labels: UInt8Array) -> BoolArray:
    """Where the person is [H, W]."""
    return np.asarray(labels != BACKGROUND)


def silhouette_trimap(labels: UInt8Array, clear_px: float) -> NDArray[np.int8]:
    """1 where the person is, -1 where only the background is, 0 within `clear_px` of the edge [H, W]."""
    person = person_mask(labels)
    outside, inside = ~_dilated(person, clear_px), ~_dilated(~person, clear_px)
    return inside.astype(np.int8) - outside.astype(np.int8)


def face_mask(labels: UInt8Array) -> BoolArray:
    """The face with eyes, lips and mouth [H, W]; neither hair nor neck."""
    return np.asarray(labels >= FACE)


def eyes_mask(labels: UInt8Array, dilate_px: float = 0.0) -> BoolArray:
    """The eyes [H, W], and what lies within `dilate_px` of them."""
    return _dilated(labels == EYES, dilate_px)


def mouth_mask(labels: UInt8Array, dilate_px: float = 0.0) -> BoolArray:
    """Lips and what is between them [H, W], and what lies within `dilate_px` of them."""
    return _dilated((labels == LIPS) | (labels == MOUTH), dilate_px)


@dataclass(frozen=True, slots=True, kw_only=True)
class LossWeights:
    """How much a pixel counts; the prototype's settings at 512 px."""

    background: float = 0.35
    person: float = 1.0
    face: float = 1.0
    eyes: float = 1.5
    mouth: float = 4.0
    mouth_dilation_px: float = 0.012  # by which eyes and mouth are widened, share of the picture's height


def loss_weights(labels: UInt8Array, weights: LossWeights | None = None) -> NDArray[np.float32]:
    """Weight [H, W] of each pixel, with a mean of 1 so that losses compare between pictures.

    Where regions overlap the larger weight counts: lips stay lips in front of the face.
    """
    choice = weights or LossWeights()
    reach_px = choice.mouth_dilation_px * labels.shape[0]
    regions = (
        (person_mask(labels), choice.person),
        (face_mask(labels), choice.face),
        (eyes_mask(labels, reach_px), choice.eyes),
        (mouth_mask(labels, reach_px), choice.mouth),
    )
    picture = np.full(labels.shape, choice.background, np.float32)
    picture[regions[0][0]] = choice.person
    for mask, weight in regions[1:]:
        picture[mask] = np.maximum(picture[mask], np.float32(weight))
    mean = float(picture.mean())
    return picture / np.float32(mean) if mean > 0 else picture


def box_of(mask: BoolArray, margin_px: int = 0) -> tuple[int, int, int, int] | None:
    """(top, bottom, left, right) around a mask [H, W], bottom and right excluded; None where it is empty."""
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
    """All pixels whose center lies within the radius of the center of a pixel of the mask."""
    if radius_px <= 0 or not mask.any():
        return mask
    distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    near: BoolArray = np.asarray(distance <= radius_px)
    return near
