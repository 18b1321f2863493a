"""How alike two pictures are, pixel by pixel: PSNR and SSIM, of the whole or of a part."""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import MetricError
from splatface.models.training.dataset.types import BACKGROUND, EYES, FACE, LIPS, MOUTH, NECK
from splatface.models.typing import BoolArray, Float64Array, UInt8Array

__all__ = ["MOST_DB", "REGIONS", "face_region", "mouth_region", "psnr", "ssim", "ssim_map"]


MOST_DB = 100.0  # said of equal pictures, so that a mean over pictures stays a number
# Wang et al. 2004, section III C: an 11x11 Gaussian window of 1.5 px, K1 = 0.01, K2 = 0.03.
_WINDOW, _SIGMA_PX = 11, 1.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
# The mouth's region reaches this much of the picture's width beyond lips and teeth: 10 px of 512. So a
# mouth drawn too large or at the wrong place counts too.
_MOUTH_MARGIN = 10 / 512


def psnr(truth: UInt8Array, found: UInt8Array, region: BoolArray | None = None) -> float:
    """Peak signal-to-noise ratio in dB over all colors of the region (everything when left out).

    At most MOST_DB. NaN where the region is empty.

    Raises:
        MetricError: when the pictures differ in shape.
    """
    _check(truth, found)
    difference = truth.astype(np.int32) - found
    squares = np.square(difference if region is None else difference[region])
    if not squares.size:
        return float("nan")
    error = float(squares.mean())
    return min(MOST_DB, 10 * np.log10(255**2 / error)) if error else MOST_DB


def ssim_map(truth: UInt8Array, found: UInt8Array) -> Float64Array:
    """Structural similarity [H, W] about each pixel, averaged over the colors (eq. 13).

    Windows at the rim see the picture mirrored.

    Raises:
        MetricError: when the pictures differ in shape.
    """
    _check(truth, found)
    x, y = truth.astype(np.float64), found.astype(np.float64)
    mean_x, mean_y = _blurred(x), _blurred(y)
    spread_x = _blurred(x * x) - mean_x * mean_x
    spread_y = _blurred(y * y) - mean_y * mean_y
    together = _blurred(x * y) - mean_x * mean_y
    alike = (2 * mean_x * mean_y + _C1) * (2 * together + _C2)
    per_color = alike / ((mean_x**2 + mean_y**2 + _C1) * (spread_x + spread_y + _C2))
    mean: Float64Array = per_color.mean(axis=2)
    return mean


def ssim(similarity: Float64Array, region: BoolArray | None = None) -> float:
    """Mean of a `ssim_map` over the region; without one over all windows that lie inside the picture.

    NaN where the region is empty.
    """
    if region is None:
        rim = _WINDOW // 2
        inside = similarity[rim:-rim, rim:-rim]
        return float(inside.mean()) if inside.size else float("nan")
    return float(similarity[region].mean()) if region.any() else float("nan")


def face_region(labels: NDArray[np.uint8]) -> BoolArray:
    """The face with eyes and mouth, without hair and neck, of a label picture [H, W]."""
    return np.isin(labels, (FACE, EYES, LIPS, MOUTH))


def mouth_region(labels: NDArray[np.uint8]) -> BoolArray:
    """Lips, teeth and the dark between, and a margin of 2 % of the picture's width around them."""
    mouth = np.isin(labels, (LIPS, MOUTH)).astype(np.uint8)
    side = 2 * max(1, round(_MOUTH_MARGIN * labels.shape[1])) + 1
    brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    return np.asarray(cv2.dilate(mouth, brush)).astype(bool)


def _person_region(labels: NDArray[np.uint8]) -> BoolArray:
    return np.asarray(labels != BACKGROUND)


def _neck_region(labels: NDArray[np.uint8]) -> BoolArray:
    return np.asarray(labels == NECK)


# Parts of a picture that are measured by themselves, by name.
REGIONS: dict[str, Callable[[NDArray[np.uint8]], BoolArray]] = {
    "person": _person_region,
    "face": face_region,
    "mouth": mouth_region,
    "neck": _neck_region,
}


def _blurred(values: Float64Array) -> Float64Array:
    blurred: Any = cv2.GaussianBlur(values, (_WINDOW, _WINDOW), _SIGMA_PX, borderType=cv2.BORDER_REFLECT)
    return np.asarray(blurred, np.float64)


def _check(truth: UInt8Array, found: UInt8Array) -> None:
    if truth.shape != found.shape or truth.ndim != 3:
        raise MetricError(
            f"pictures: expected two of one shape [H, W, 3], found {list(truth.shape)} and "
            f"{list(found.shape)}: draw the second with the first one's camera"
        )
