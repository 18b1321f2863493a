"""Label pictures from landmarks, a person mask and the person's own colors."""

from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from splatface.models.training.dataset.types import BACKGROUND, EYES, FACE, HAIR, LIPS, MOUTH, NECK, TORSO
from splatface.models.training.tracking.landmarks import LIPS as LIP_RIMS
from splatface.models.training.tracking.mediapipe_door import PERSON_MASK, Graph
from splatface.models.typing import BoolArray, Float32Array, Float64Array, UInt8Array

__all__ = ["EYE_RIMS", "OVAL", "ColorModel", "PersonSegmenter", "learn_colors", "segment_frame"]


# fmt: off
OVAL = (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
        152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)
EYE_RIMS = ((33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
         (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466))
# fmt: on
_LIDS = ((159, 145), (386, 374))
_OUTER, _INNER = LIP_RIMS[:20], LIP_RIMS[20:]
_TOP, _CHIN, _SIDES = 10, 152, (234, 454)
_UPPER_LIP, _LOWER_LIP = 13, 14

_SKIN, _HAIR, _CLOTHES = range(3)
_SHUT_PX = 1.3  # lids and lips nearer than this hide what is behind them
_EDGE_PX, _EDGE_LEVELS = 9, 6.0  # guided filter: its reach and what counts as an edge
_SUBPIXEL = 4  # bits
_SAMPLE = 4000  # pixels of each part and picture from which colors are learned


@dataclass(frozen=True, slots=True, eq=False)
class ColorModel:
    """Normal distributions of skin, hair and clothes in Lab."""

    means: Float64Array  # [3, 3]
    precisions: Float64Array  # [3, 3, 3]
    offsets: Float64Array  # [3] log determinants of the covariances


class PersonSegmenter:
    """Finds the person in one picture after another. Use it in a `with`, or close it."""

    def __init__(self) -> None:
        self._graph = Graph(PERSON_MASK, model_selection=0)

    def __call__(self, picture: UInt8Array) -> Float32Array:
        """Share of the person [H, W] in each pixel, 0..1, its edge drawn to the picture's [H, W, 3]."""
        share = np.ascontiguousarray(self._graph.image(picture), np.float32)
        return _guided_filter(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32), share)

    def close(self) -> None:
        """Free what mediapipe holds."""
        self._graph.close()

    def __enter__(self) -> "PersonSegmenter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def learn_colors(samples: Iterable[tuple[UInt8Array, Float32Array, Float64Array]]) -> ColorModel:
    """Colors of the person from pictures [H, W, 3], person shares [H, W] and landmarks [478, 2+] px.

    Skin is what the face shows, hair what is above it, clothes what is far below.
    """
    rng = np.random.default_rng(0)
    found: list[list[Float64Array]] = [[], [], []]
    for picture, share, landmarks in samples:
        lab = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB).astype(np.float64)
        across, down = _face_frame(landmarks, share.shape)
        person, oval = share > 0.8, _filled(share.shape, landmarks[list(OVAL), :2])
        features = (
            cv2.dilate(_features(share.shape, landmarks).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
        )
        parts = (
            oval & ~features,
            person & ~oval & (down < -1.05) & (np.abs(across) < 0.5),
            person & (down > 0.45),
        )
        for kind, part in enumerate(parts):
            pixels = lab[part]
            if len(pixels):
                found[kind].append(pixels[rng.choice(len(pixels), min(_SAMPLE, len(pixels)), replace=False)])
    return _fitted(found)


def segment_frame(
    picture: UInt8Array, share: Float32Array, landmarks: Float64Array, colors: ColorModel
) -> UInt8Array:
    """Labels [H, W] (dataset LABELS) of a picture [H, W, 3].

    Args:
        picture: RGB.
        share: [H, W] of the person, see `PersonMask`.
        landmarks: [478, 2 or 3] px.
        colors: of this person.
    """
    oval = _filled(share.shape, landmarks[list(OVAL), :2])
    labels = _outer_parts(picture, share, landmarks, colors)
    labels[share <= 0.5] = BACKGROUND
    labels[oval] = FACE
    for rim, (upper, lower) in zip(EYE_RIMS, _LIDS, strict=True):
        if _apart(landmarks, upper, lower) > _SHUT_PX:
            labels[_filled(share.shape, landmarks[list(rim), :2])] = EYES
    labels[_filled(share.shape, landmarks[list(_OUTER), :2])] = LIPS
    if _apart(landmarks, _UPPER_LIP, _LOWER_LIP) > _SHUT_PX:
        labels[_filled(share.shape, landmarks[list(_INNER), :2])] = MOUTH
    return labels


def _outer_parts(
    picture: UInt8Array, share: Float32Array, landmarks: Float64Array, colors: ColorModel
) -> UInt8Array:
    """HAIR, NECK or TORSO [H, W], as if the person filled the picture; worked out at half the size."""
    small = tuple(max(1, side // 2) for side in share.shape[::-1])
    picture = np.asarray(cv2.resize(picture, small, interpolation=cv2.INTER_AREA), np.uint8)
    person = cv2.resize(share, small, interpolation=cv2.INTER_AREA) > 0.5
    scale = np.array(small) / share.shape[::-1]
    across, down = _face_frame(landmarks[:, :2] * scale, person.shape)
    kind = _kinds(picture, colors)
    wide = _width(landmarks)
    beside = np.abs(across) > 0.36 * wide
    head = (down < -0.36) & (np.abs(across) < 1.1 * wide)
    hair = _joined(head, (kind == _HAIR) & beside & person & (down < 0.9))
    throat = np.abs(across) < (0.42 + 0.12 * np.clip(down, 0, 1)) * wide
    dark = throat & (((kind == _HAIR) & (down < 0.25)) | (down < 0.04))
    skin = (kind == _SKIN) & (np.abs(across) < 0.7 * wide)
    neck = (dark | skin) & (down < 0.55) & ~hair
    labels = _smooth(np.where(hair, HAIR, np.where(neck, NECK, TORSO)).astype(np.uint8))
    return np.asarray(cv2.resize(labels, share.shape[::-1], interpolation=cv2.INTER_NEAREST), np.uint8)


def _guided_filter(gray: Float32Array, share: Float32Array) -> Float32Array:
    """Guided filter (He, Sun and Tang 2010, eqs. 5-8) of a share [H, W] by a gray picture [H, W]."""
    size = (_EDGE_PX, _EDGE_PX)

    def mean(values: NDArray[Any]) -> Float32Array:
        return np.asarray(cv2.boxFilter(values, -1, size), np.float32)

    gray_mean, share_mean = mean(gray), mean(share)
    variance = mean(gray * gray) - gray_mean * gray_mean
    slope = (mean(gray * share) - gray_mean * share_mean) / (variance + _EDGE_LEVELS**2)
    level = share_mean - slope * gray_mean
    return np.asarray(np.clip(mean(slope) * gray + mean(level), 0.0, 1.0), np.float32)


def _face_frame(landmarks: Float64Array, shape: tuple[int, ...]) -> tuple[Float32Array, Float32Array]:
    """Each pixel's place [H, W] across and below the chin, along the face, in heights of the face."""
    chin = landmarks[_CHIN, :2]
    up = landmarks[_TOP, :2] - chin
    tall = max(float(np.hypot(*up)), 1.0)
    up = up / tall
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32) + np.float32(0.5)
    x, y = (x - chin[0]) / tall, (y - chin[1]) / tall
    return (-up[1] * x + up[0] * y).astype(np.float32), (-up[0] * x - up[1] * y).astype(np.float32)


def _width(landmarks: Float64Array) -> float:
    """Width of the face in heights of it; a turned one is not thought narrower than half its usual."""
    return max(_apart(landmarks, *_SIDES) / max(_apart(landmarks, _TOP, _CHIN), 1.0), 0.5)


def _apart(landmarks: Float64Array, one: int, other: int) -> float:
    return float(np.hypot(*(landmarks[one, :2] - landmarks[other, :2])))


def _features(shape: tuple[int, ...], landmarks: Float64Array) -> BoolArray:
    """Eyes and mouth [H, W]."""
    rims = (*EYE_RIMS, _OUTER)
    masks = [_filled(shape, landmarks[list(rim), :2]) for rim in rims]
    return np.asarray(np.logical_or.reduce(masks), bool)


def _fitted(found: list[list[Float64Array]]) -> ColorModel:
    means, precisions, offsets = np.zeros((3, 3)), np.zeros((3, 3, 3)), np.zeros(3)
    for kind, parts in enumerate(found):
        pixels = np.concatenate(parts) if parts else np.zeros((0, 3))
        if len(pixels) < 100:  # no hair, or a face without shoulders: nothing looks like it
            means[kind], precisions[kind] = -1e3, np.eye(3)
            continue
        means[kind] = np.median(pixels, axis=0)
        # Folds and shadows change lightness more than the sample shows; few parts are of one color only.
        covariance = np.cov((pixels - means[kind]).T) + np.diag([60.0, 9.0, 9.0])
        covariance[0, 0] *= 2.0
        precisions[kind] = np.linalg.inv(covariance)
        offsets[kind] = np.linalg.slogdet(covariance)[1]
    return ColorModel(means, precisions, offsets)


def _kinds(picture: UInt8Array, colors: ColorModel) -> NDArray[np.int64]:
    """Skin, hair or clothes [H, W]: whose colors are likeliest."""
    lab = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB).astype(np.float32)
    costs = []
    for mean, precision, offset in zip(colors.means, colors.precisions, colors.offsets, strict=True):
        away = lab - mean.astype(np.float32)
        costs.append(((away @ precision.astype(np.float32)) * away).sum(axis=2) + np.float32(offset))
    kinds: NDArray[np.int64] = np.argmin(costs, axis=0)
    return kinds


def _joined(head: BoolArray, candidates: BoolArray) -> BoolArray:
    """The head, and what hangs together with it: a dark collar does not."""
    apart = cv2.erode(candidates.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    _, parts = cv2.connectedComponents((apart | head).astype(np.uint8))
    joins = np.zeros(int(parts.max()) + 1, bool)
    joins[parts[head]] = True
    joins[0] = False
    grown = cv2.dilate(joins[parts].astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    joined: BoolArray = head | (grown & candidates)
    return joined


def _smooth(labels: UInt8Array) -> UInt8Array:
    """What most of the pixels around are."""
    votes = [cv2.boxFilter((labels == part).astype(np.float32), -1, (5, 5)) for part in (TORSO, NECK, HAIR)]
    most: UInt8Array = np.array((TORSO, NECK, HAIR), np.uint8)[np.argmax(votes, axis=0)]
    return most


def _filled(shape: tuple[int, ...], corners: Float64Array) -> BoolArray:
    """Pixels [H, W] inside a polygon [n, 2]."""
    mask = np.zeros(shape[:2], np.uint8)
    fixed = np.round((np.clip(corners, -1e4, 1e4) - 0.5) * 2**_SUBPIXEL).astype(np.int32)
    cv2.fillPoly(mask, [fixed], 1, shift=_SUBPIXEL)
    inside: BoolArray = mask > 0
    return inside
