"""How far eyes are shut: the gap of the lids between what is open and what is shut for this person."""

from typing import Final

import numpy as np
from scipy.ndimage import minimum_filter1d, percentile_filter

from splatface.models.typing import AnyArray

__all__ = ["UPPER_LIDS", "eye_aspect_ratio", "eye_closure"]


UPPER_LIDS: Final = ((385, 386, 387), (158, 159, 160))
_LOWER_LIDS: Final = ((380, 374, 373), (153, 145, 144))
_CORNERS: Final = ((362, 263), (33, 133))
_USUAL_SHUT = 0.18  # gap of shut eyes, share of the open one's, as the tracker sees it
_DEEP = 0.62  # a dip below this share of the open gap is a blink
_OPEN_PERCENTILE, _WINDOW_S = 70, 6.0
_IDLE = 0.12  # of the way: lids are never quite still


def eye_aspect_ratio(flat_m: AnyArray) -> AnyArray:
    """Height of both eyes' openings over their width [F, 2], left then right; landmarks [F, 478, 2+]."""
    gaps = []
    for upper, lower, corners in zip(UPPER_LIDS, _LOWER_LIDS, _CORNERS, strict=True):
        height = (flat_m[:, lower, 1] - flat_m[:, upper, 1]).mean(1)
        width = np.linalg.norm(flat_m[:, corners[0], :2] - flat_m[:, corners[1], :2], axis=1)
        gaps.append(height / np.median(width))
    return np.stack(gaps, axis=1)


def eye_closure(gaps: AnyArray, fps: float) -> AnyArray:
    """How far each eye is shut [F, 2], 0..1, from gaps [F, 2] at `fps` pictures a second.

    Open is what an eye mostly is within six seconds; shut is the middle of the person's own blinks, or the
    usual share of open where the clip has none.
    """
    window = max(int(_WINDOW_S * fps) | 1, 3)
    both = []
    for side in range(2):
        gap = gaps[:, side]
        whole = float(np.percentile(gap, _OPEN_PERCENTILE))
        wide = 0.5 * whole + 0.5 * percentile_filter(gap, _OPEN_PERCENTILE, window, mode="nearest")
        shut = whole * _shut_share(gap / wide, fps)
        both.append((wide - gap) / np.maximum(wide - shut, 1e-9))
    amount = np.clip(np.stack(both, axis=1), 0, 1)
    blinks: AnyArray = np.clip((amount - _IDLE) / (1 - _IDLE), 0, 1)
    return blinks


def _shut_share(share: AnyArray, fps: float) -> float:
    """Gap of the shut eye over the open one's: the median floor of all deep dips."""
    floor = minimum_filter1d(share, max(int(0.3 * fps) | 1, 3), mode="nearest")
    dips = share[(share <= floor) & (share < _DEEP)]
    if not len(dips):
        return _USUAL_SHUT
    deep = dips[dips < np.median(dips) + 0.05]
    return float(np.clip(np.median(deep), 0.05, 0.5))
