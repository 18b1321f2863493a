"""Films of high dynamic range (telephones make them unasked) as ordinary pictures of BT.709 colors.

Taken for an ordinary film, one in HLG or PQ looks gray and flat, and so would the head. Reference white
stands at 203 cd/m2 (ITU-R BT.2408); up to 80 % of it colors are kept, what is brighter is rolled off.
"""

from functools import cache
from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = ["HDR_TRANSFERS", "hdr_to_sdr"]

HDR_TRANSFERS: Final = {16: "PQ", 18: "HLG"}  # by the transfer characteristics' number of ITU-T H.273

_WHITE_NITS, _HLG_PEAK_NITS, _PQ_PEAK_NITS = 203.0, 1000.0, 10000.0
_HLG_GAMMA = 1.2  # of the whole system at that peak (ITU-R BT.2100)
_LUMA_2020 = (0.2627, 0.678, 0.0593)
_2020_TO_709: Final = np.array(
    [[1.660491, -0.587641, -0.072850], [-0.124550, 1.132900, -0.008349], [-0.018151, -0.100579, 1.118730]],
    np.float32,
)  # ITU-R BT.2407
_KEPT = 0.8
_CODES, _LEVELS = 4096, 4096


def hdr_to_sdr(picture: NDArray[np.uint16], transfer: str) -> NDArray[np.uint8]:
    """A picture [H, W, 3] of HLG or PQ values, RGB of BT.2020, 0..65535, as one of sRGB.

    Args:
        transfer: "HLG" or "PQ".
    """
    gamma = _HLG_GAMMA - 1 if transfer == "HLG" else 0.0
    light, levels = _tables(transfer)
    shown = np.empty((picture.size // 3, 3), np.uint8)
    _show(picture.reshape(-1, 3), light, np.float32(gamma), levels, shown)
    return shown.reshape(picture.shape)


@cache
def _tables(transfer: str) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Light of each code, and levels of sRGB by the root of light."""
    light = (_hlg_light if transfer == "HLG" else _pq_light)(np.arange(_CODES) / (_CODES - 1))
    return light.astype(np.float32), _srgb((np.arange(_LEVELS) / (_LEVELS - 1)) ** 2)


def _hlg_light(code: NDArray[np.float64]) -> NDArray[np.float64]:
    """Light of the scene (ITU-R BT.2100 table 5), 1 where the system's gamma makes it white."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)
    brighter: NDArray[np.float64] = scene * (_HLG_PEAK_NITS / _WHITE_NITS) ** (1 / _HLG_GAMMA)
    return brighter


def _pq_light(code: NDArray[np.float64]) -> NDArray[np.float64]:
    """Light of the display (ITU-R BT.2100 table 4), 1 is white."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    root = code ** (1 / m2)
    light: NDArray[np.float64] = (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)
    return light * (_PQ_PEAK_NITS / _WHITE_NITS)


def _srgb(light: NDArray[np.float64]) -> NDArray[np.uint8]:
    coded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    levels: NDArray[np.uint8] = np.rint(255 * coded).astype(np.uint8)
    return levels


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _show(
    codes: NDArray[np.uint16],
    light: NDArray[np.float32],
    gamma: np.float32,
    levels: NDArray[np.uint8],
    shown: NDArray[np.uint8],
) -> None:
    for i in range(len(codes)):
        r, g, b = light[codes[i, 0] >> 4], light[codes[i, 1] >> 4], light[codes[i, 2] >> 4]
        luma = _LUMA_2020[0] * r + _LUMA_2020[1] * g + _LUMA_2020[2] * b
        gain = max(luma, 1e-6) ** gamma
        brightest = np.float32(1e-6)
        for k in range(3):
            value = _2020_TO_709[k, 0] * r + _2020_TO_709[k, 1] * g + _2020_TO_709[k, 2] * b
            brightest = max(brightest, gain * value)
        if brightest > _KEPT:
            room = 1 - _KEPT
            gain *= (_KEPT + room * (1 - np.exp((_KEPT - brightest) / room))) / brightest
        for k in range(3):
            value = _2020_TO_709[k, 0] * r + _2020_TO_709[k, 1] * g + _2020_TO_709[k, 2] * b
            coded = np.sqrt(min(max(gain * value, 0.0), 1.0))
            shown[i, k] = levels[int(coded * (_LEVELS - 1) + 0.5)]
