"""Parsing pictures of the format the field shares, with landmarks, as our label pictures.

Their parser knows three parts and paints them, as OpenCV sees the file, in pure blue (head with hair and
ears), green (neck) and red (torso) on white: written and read as BGR, so what their code calls (255, 0, 0) is
blue in the PNG. Eyes, lips and mouth come from the 68 landmarks; hair is what the head shows outside the
oval that they span, which ears share.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from splatface.models.training.dataset.types import BACKGROUND, EYES, FACE, HAIR, LIPS, MOUTH, NECK, TORSO
from splatface.models.typing import Float32Array, UInt8Array

__all__ = ["labels_of_parsing"]


_JAW, _BROWS = slice(0, 17), slice(17, 27)
_EYES = (slice(36, 42), slice(42, 48))
_OUTER, _INNER = slice(48, 60), slice(60, 68)
_NOSE_BASE, _CHIN = 33, 8
_WIDER = 1.06  # landmarks of the jaw lie a little inside its edge
_OPEN_PX = 1.5  # lips nearer than this are shut: fillPoly would still draw a line
_SUBPIXEL = 4  # bits


def labels_of_parsing(parsing_bgr: UInt8Array, landmarks_px: Float32Array) -> UInt8Array:
    """Labels [H, W] of a parsing picture [H, W, 3] BGR and landmarks [68, 2], which may be NaN."""
    blue, green, red = (parsing_bgr[..., i] > 127 for i in range(3))
    labels = np.full(parsing_bgr.shape[:2], BACKGROUND, np.uint8)
    labels[red & ~green & ~blue] = TORSO
    labels[green & ~red & ~blue] = NECK
    head = blue & ~green & ~red
    labels[head] = FACE
    if not np.isfinite(landmarks_px).all():
        return labels
    labels[head & ~_filled(labels.shape, _oval(landmarks_px))] = HAIR
    for eye in _EYES:
        labels[head & _filled(labels.shape, landmarks_px[eye])] = EYES
    labels[head & _filled(labels.shape, landmarks_px[_OUTER])] = LIPS
    opening = np.linalg.norm(landmarks_px[61:64].mean(axis=0) - landmarks_px[65:68].mean(axis=0))
    if opening > _OPEN_PX:
        labels[head & _filled(labels.shape, landmarks_px[_INNER])] = MOUTH
    return labels


def _oval(landmarks_px: Float32Array) -> Float32Array:
    """Corners [n, 2] of the face from chin to hairline, which lies a third of it above the brows."""
    brows = landmarks_px[_BROWS]
    up = brows.mean(axis=0) - landmarks_px[_CHIN]
    up = up / max(float(np.linalg.norm(up)), 1e-6)
    lift = np.linalg.norm(brows.mean(axis=0) - landmarks_px[_NOSE_BASE])
    arch = 0.8 * lift * np.sin(np.linspace(0.15, 0.85, len(brows)) * np.pi)
    hull = cv2.convexHull(np.concatenate([landmarks_px[_JAW], brows + up * arch[:, None]]).astype(np.float32))
    corners, middle = hull[:, 0], hull[:, 0].mean(axis=0)
    return np.asarray(middle + _WIDER * (corners - middle), np.float32)


def _filled(shape: tuple[int, ...], corners: Float32Array) -> NDArray[np.bool_]:
    mask = np.zeros(shape[:2], np.uint8)
    fixed = np.round((np.clip(corners, -1e4, 1e4) - 0.5) * 2**_SUBPIXEL).astype(np.int32)
    cv2.fillPoly(mask, [fixed], 1, shift=_SUBPIXEL)
    inside: NDArray[np.bool_] = mask > 0
    return inside
