# SPDX-License-Identifier: Apache-2.0
"""Label images from landmarks, a person mask and the person's colors; the background behind the person."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from splatface.models.training.dataset.types import BACKGROUND, EYES, FACE, HAIR, LIPS, MOUTH, NECK, TORSO
from splatface.models.training.tracking.face_detection import LIPS as LIP_CONTOURS
from splatface.models.training.tracking.face_detection import PERSON_MASK, GraphModel
from splatface.models.typing import AnyArray, BoolArray, Float32Array, Float64Array, Int64Array, UInt8Array

__all__ = [
    "EYE_CONTOURS",
    "FACE_OVAL",
    "BackgroundEstimate",
    "ColorModel",
    "PersonSegmenter",
    "composite_over_background",
    "estimate_background",
    "fit_color_model",
    "segment_frame",
]

# fmt: off
FACE_OVAL = (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
        152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)
EYE_CONTOURS = ((33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
         (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466))
# fmt: on
_LIDS = ((159, 145), (386, 374))
_OUTER, _INNER = LIP_CONTOURS[:20], LIP_CONTOURS[20:]
_TOP, _CHIN, _SIDES = 10, 152, (234, 454)
_UPPER_LIP, _LOWER_LIP = 13, 14

_SKIN, _HAIR, _CLOTHES = range(3)
_CLOSED_PX = 1.3  # lids and lips nearer than this hide what is behind them
_FILTER_PX, _FILTER_LEVELS = 9, 6.0  # guided filter: window and gray levels of an edge
_SUBPIXEL = 4  # bits
_COLOR_PIXELS = 4000  # of each part and image for the color model
_MIN_COLOR_PIXELS = 100


@dataclass(frozen=True, slots=True, eq=False)
class ColorModel:
    """Normal distributions of skin, hair and clothes in Lab."""

    means: Float64Array  # [3, 3]
    precisions: Float64Array  # [3, 3, 3]
    offsets: Float64Array  # [3] log determinants of the covariances


class PersonSegmenter(GraphModel):
    """Soft mask of the person. Use it in a `with`, or close it."""

    def __init__(self) -> None:
        super().__init__(PERSON_MASK, model_selection=0)

    def __call__(self, image: UInt8Array) -> Float32Array:
        """Return the person's coverage [H, W] of each pixel, 0..1, refined to edges of the image."""
        mask = np.ascontiguousarray(self._graph.image(image), np.float32)
        return _guided_filter(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32), mask)


def fit_color_model(samples: Iterable[tuple[UInt8Array, Float32Array, Float64Array]]) -> ColorModel:
    """Fit the colors of the person to images [H, W, 3], person masks [H, W] and landmarks [478, 2+] px.

    Skin pixels are those of the face, hair pixels above it, clothes pixels far below.
    """
    rng = np.random.default_rng(0)
    pixels_by_part: list[list[Float64Array]] = [[], [], []]
    for image, mask, landmarks in samples:
        lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.float64)
        x, y = _face_coordinates(landmarks, mask.shape)
        person, oval = mask > 0.8, _fill(mask.shape, landmarks[list(FACE_OVAL), :2])
        features = _eyes_and_mouth(mask.shape, landmarks).astype(np.uint8)
        features = cv2.dilate(features, np.ones((9, 9), np.uint8)) > 0
        parts = (
            oval & ~features,
            person & ~oval & (y < -1.05) & (np.abs(x) < 0.5),
            person & (y > 0.45),
        )
        for kind, part in enumerate(parts):
            pixels = lab[part]
            if len(pixels):
                chosen = rng.choice(len(pixels), min(_COLOR_PIXELS, len(pixels)), replace=False)
                pixels_by_part[kind].append(pixels[chosen])
    return _fit_gaussians(pixels_by_part)


def segment_frame(
    image: UInt8Array, mask: Float32Array, landmarks: Float64Array, colors: ColorModel
) -> UInt8Array:
    """Return labels [H, W] (dataset LABELS) of an image [H, W, 3].

    Args:
        image: RGB.
        mask: [H, W] of the person, see `PersonSegmenter`.
        landmarks: [478, 2 or 3] px.
        colors: of this person.
    """
    oval = _fill(mask.shape, landmarks[list(FACE_OVAL), :2])
    labels = _hair_neck_torso(image, mask, landmarks, colors)
    labels[mask <= 0.5] = BACKGROUND
    labels[oval] = FACE
    for contour, (upper, lower) in zip(EYE_CONTOURS, _LIDS, strict=True):
        if _distance_px(landmarks, upper, lower) > _CLOSED_PX:
            labels[_fill(mask.shape, landmarks[list(contour), :2])] = EYES
    labels[_fill(mask.shape, landmarks[list(_OUTER), :2])] = LIPS
    if _distance_px(landmarks, _UPPER_LIP, _LOWER_LIP) > _CLOSED_PX:
        labels[_fill(mask.shape, landmarks[list(_INNER), :2])] = MOUTH
    return labels


def _hair_neck_torso(
    image: UInt8Array, mask: Float32Array, landmarks: Float64Array, colors: ColorModel
) -> UInt8Array:
    """Return HAIR, NECK or TORSO [H, W], as if the person filled the image; computed at half the size."""
    small = tuple(max(1, side // 2) for side in mask.shape[::-1])
    image = np.asarray(cv2.resize(image, small, interpolation=cv2.INTER_AREA), np.uint8)
    person = cv2.resize(mask, small, interpolation=cv2.INTER_AREA) > 0.5
    scale = np.array(small) / mask.shape[::-1]
    x, y = _face_coordinates(landmarks[:, :2] * scale, person.shape)
    kind = _most_likely_part(image, colors)
    width = _face_width(landmarks)
    beside = np.abs(x) > 0.36 * width
    head = (y < -0.36) & (np.abs(x) < 1.1 * width)
    hair = _connected_to(head, (kind == _HAIR) & beside & person & (y < 0.9))
    throat = np.abs(x) < (0.42 + 0.12 * np.clip(y, 0, 1)) * width
    shadow = throat & (((kind == _HAIR) & (y < 0.25)) | (y < 0.04))
    skin = (kind == _SKIN) & (np.abs(x) < 0.7 * width)
    neck = (shadow | skin) & (y < 0.55) & ~hair
    labels = _majority_filter(np.where(hair, HAIR, np.where(neck, NECK, TORSO)).astype(np.uint8))
    return np.asarray(cv2.resize(labels, mask.shape[::-1], interpolation=cv2.INTER_NEAREST), np.uint8)


def _guided_filter(gray: Float32Array, mask: Float32Array) -> Float32Array:
    """Apply the guided filter (He, Sun and Tang 2010, eqs. 5-8) to a mask [H, W] by a gray image [H, W]."""
    size = (_FILTER_PX, _FILTER_PX)

    def mean(values: AnyArray) -> Float32Array:
        return np.asarray(cv2.boxFilter(values, -1, size), np.float32)

    gray_mean, mask_mean = mean(gray), mean(mask)
    variance = mean(gray * gray) - gray_mean * gray_mean
    scale = (mean(gray * mask) - gray_mean * mask_mean) / (variance + _FILTER_LEVELS**2)
    offset = mask_mean - scale * gray_mean
    return np.asarray(np.clip(mean(scale) * gray + mean(offset), 0.0, 1.0), np.float32)


def _face_coordinates(landmarks: Float64Array, shape: tuple[int, ...]) -> tuple[Float32Array, Float32Array]:
    """Compute each pixel's x and y [H, W] from the chin, y down along the face, in heights of the face."""
    chin = landmarks[_CHIN, :2]
    up = landmarks[_TOP, :2] - chin
    height = max(float(np.hypot(*up)), 1.0)
    up = up / height
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32) + np.float32(0.5)
    x, y = (x - chin[0]) / height, (y - chin[1]) / height
    return (-up[1] * x + up[0] * y).astype(np.float32), (-up[0] * x - up[1] * y).astype(np.float32)


def _face_width(landmarks: Float64Array) -> float:
    """Compute the width of the face in heights of it, at least 0.5 for a turned one."""
    return max(_distance_px(landmarks, *_SIDES) / max(_distance_px(landmarks, _TOP, _CHIN), 1.0), 0.5)


def _distance_px(landmarks: Float64Array, a: int, b: int) -> float:
    return float(np.hypot(*(landmarks[a, :2] - landmarks[b, :2])))


def _eyes_and_mouth(shape: tuple[int, ...], landmarks: Float64Array) -> BoolArray:
    """Return the mask [H, W] of eyes and mouth."""
    contours = (*EYE_CONTOURS, _OUTER)
    masks = [_fill(shape, landmarks[list(contour), :2]) for contour in contours]
    return np.asarray(np.logical_or.reduce(masks), bool)


def _fit_gaussians(pixels_by_part: list[list[Float64Array]]) -> ColorModel:
    means, precisions, offsets = np.zeros((3, 3)), np.zeros((3, 3, 3)), np.zeros(3)
    for kind, parts in enumerate(pixels_by_part):
        pixels = np.concatenate(parts) if parts else np.zeros((0, 3))
        if (
            len(pixels) < _MIN_COLOR_PIXELS
        ):  # no hair, or a face without shoulders: never the most likely part
            means[kind], precisions[kind] = -1e3, np.eye(3)
            continue
        means[kind] = np.median(pixels, axis=0)
        # Folds and shadows change lightness more than the sample shows; few parts are of one color only.
        covariance = np.cov((pixels - means[kind]).T) + np.diag([60.0, 9.0, 9.0])
        covariance[0, 0] *= 2.0
        precisions[kind] = np.linalg.inv(covariance)
        offsets[kind] = np.linalg.slogdet(covariance)[1]
    return ColorModel(means, precisions, offsets)


def _most_likely_part(image: UInt8Array, colors: ColorModel) -> Int64Array:
    """Return the part of maximum likelihood [H, W]: skin, hair or clothes."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.float32)
    costs = []
    for mean, precision, offset in zip(colors.means, colors.precisions, colors.offsets, strict=True):
        difference = lab - mean.astype(np.float32)
        costs.append(
            ((difference @ precision.astype(np.float32)) * difference).sum(axis=2) + np.float32(offset)
        )
    kinds: Int64Array = np.argmin(costs, axis=0)
    return kinds


def _connected_to(head: BoolArray, candidates: BoolArray) -> BoolArray:
    """Return the head with the candidates connected to it: a dark collar is not."""
    eroded = cv2.erode(candidates.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    _, parts = cv2.connectedComponents((eroded | head).astype(np.uint8))
    connected = np.zeros(int(parts.max()) + 1, bool)
    connected[parts[head]] = True
    connected[0] = False
    grown = cv2.dilate(connected[parts].astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    result: BoolArray = head | (grown & candidates)
    return result


def _majority_filter(labels: UInt8Array) -> UInt8Array:
    """Replace each label by the most frequent one around it."""
    votes = [cv2.boxFilter((labels == part).astype(np.float32), -1, (5, 5)) for part in (TORSO, NECK, HAIR)]
    most: UInt8Array = np.array((TORSO, NECK, HAIR), np.uint8)[np.argmax(votes, axis=0)]
    return most


def _fill(shape: tuple[int, ...], corners: Float64Array) -> BoolArray:
    """Return the pixels [H, W] inside a polygon [n, 2]."""
    mask = np.zeros(shape[:2], np.uint8)
    fixed = np.round((np.clip(corners, -1e4, 1e4) - 0.5) * 2**_SUBPIXEL).astype(np.int32)
    cv2.fillPoly(mask, [fixed], 1, shift=_SUBPIXEL)
    inside: BoolArray = mask > 0
    return inside


_MAX_COVERAGE = 0.1  # by the person, below which a pixel shows the background
_MARGIN_PX = 9  # around the person: shadow, motion, hair
_MIN_VISIBLE = 3  # frames that show a background pixel, for it to be known
_MOTION_LEVELS = 12.0  # of 255 by which a static background pixel may differ from its median
_UNIFORM_LEVELS = 2.5
_CHUNK_ROWS = 32  # floats of all rows would fill the memory


@dataclass(frozen=True, slots=True, eq=False)
class BackgroundEstimate:
    """The background without the person."""

    image: Float32Array  # [H, W, 3] RGB 0..1
    uniform: bool  # of one color, as in a studio
    visible_fraction: float  # of the pixels that are visible at some time
    moving_fraction: float  # of the visible pixels that change with time


def estimate_background(images: Sequence[UInt8Array], masks: Sequence[Float32Array]) -> BackgroundEstimate:
    """Estimate the background of K images [H, W, 3] with person masks [H, W]; K of 20 to 60 is good.

    It is the median over time of the visible pixels; what is never visible is filled from around it.
    """
    stack = np.stack(images)
    visible = np.stack([_visible_background(mask) for mask in masks])
    median, spread = _masked_median(stack, visible)
    known = visible.sum(axis=0) >= min(_MIN_VISIBLE, len(stack))
    filled = _fill_holes(median, ~known)
    return BackgroundEstimate(
        image=filled / np.float32(255),
        uniform=bool(known.any() and filled[known].std(axis=0).max() < _UNIFORM_LEVELS),
        visible_fraction=float(known.mean()),
        moving_fraction=float((spread[known] > _MOTION_LEVELS).mean()) if known.any() else 0.0,
    )


def composite_over_background(
    image: UInt8Array, mask: Float32Array, background: BackgroundEstimate
) -> UInt8Array:
    """Composite the person of an image [H, W, 3] over the estimated background."""
    x = np.clip((mask - 0.15) / 0.7, 0.0, 1.0)
    alpha = (x * x * (3 - 2 * x))[..., None]
    return np.asarray(image * alpha + background.image * 255 * (1 - alpha) + 0.5, np.uint8)


def _visible_background(mask: Float32Array) -> BoolArray:
    person = (mask > _MAX_COVERAGE).astype(np.uint8)
    size = 2 * _MARGIN_PX + 1
    return np.asarray(cv2.dilate(person, np.ones((size, size), np.uint8)) == 0)


def _masked_median(stack: UInt8Array, visible: BoolArray) -> tuple[Float32Array, Float32Array]:
    """Compute the median [H, W, 3] of visible pixels of K images, and the 90th percentile from it [H, W]."""
    height, width = stack.shape[1:3]
    median, spread = np.zeros((height, width, 3), np.float32), np.zeros((height, width), np.float32)
    count = visible.sum(axis=0)
    for top in range(0, height, _CHUNK_ROWS):
        rows = slice(top, top + _CHUNK_ROWS)
        values = np.where(visible[:, rows, :, None], stack[:, rows].astype(np.float32), np.inf)
        values.sort(axis=0)
        # Invisible pixels sort last, so the median of the visible ones is at half their number.
        middle = np.maximum(count[rows] - 1, 0)[None, ..., None] // 2
        median[rows] = np.take_along_axis(values, middle, axis=0)[0]
        distance = np.abs(stack[:, rows].astype(np.float32) - median[rows]).max(axis=3)
        distance = np.where(visible[:, rows], distance, np.inf)
        distance.sort(axis=0)
        index = np.maximum(count[rows] * 9 // 10 - 1, 0)[None]
        spread[rows] = np.take_along_axis(distance, index, axis=0)[0]
    return median, spread


def _fill_holes(image: Float32Array, holes: BoolArray) -> Float32Array:
    """Fill holes [H, W] of an image [H, W, 3] smoothly from around them."""
    known = np.where(np.isfinite(image), image, 0).clip(0, 255).astype(np.float32)
    if not holes.any() or holes.all():
        return known
    # Push-pull: each level is the mean of the known pixels of the finer one, holes take the coarser level's.
    levels = [(known * ~holes[..., None], (~holes).astype(np.float32))]
    while max(levels[-1][1].shape) > 1:
        values, weight = levels[-1]
        size = tuple(max(1, -(-side // 2)) for side in weight.shape[::-1])
        coarse = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
        color = cv2.resize(values, size, interpolation=cv2.INTER_AREA).reshape(*size[::-1], 3)
        levels.append(
            (color / np.maximum(coarse, 1e-6)[..., None] * (coarse > 0)[..., None], (coarse > 0) * 1.0)
        )
    filled = levels[-1][0]
    for values, weight in levels[-2::-1]:
        smooth = cv2.resize(
            np.asarray(filled, np.float32), weight.shape[::-1], interpolation=cv2.INTER_LINEAR
        )
        filled = np.where(weight[..., None] > 0, values, smooth.reshape(values.shape))
    return np.asarray(filled, np.float32)
