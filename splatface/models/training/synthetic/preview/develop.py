"""From fine samples of light and labels to the picture: film curve, mean, majority."""

import numpy as np

from splatface.models.render.jit import kernel
from splatface.models.typing import AnyArray, UInt8Array

__all__ = ["light_of", "resolve_and_tonemap", "tone_mapped"]


f4 = np.float32

_EXPOSURE = 0.533
_BRIGHTEST = 16.0  # linear; all above is white
_STEPS = 8192


def tone_mapped(linear: AnyArray) -> AnyArray:
    """Linear light [...] >= 0 to picture values 0..1: a film's shoulder, then sRGB's curve.

    The shoulder is Narkowicz' fit of ACES (2015).
    """
    x = _EXPOSURE * np.asarray(linear, np.float64)
    film = np.clip(x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14), 0, 1)
    picture: AnyArray = np.where(film <= 0.0031308, 12.92 * film, 1.055 * film ** (1 / 2.4) - 0.055)
    return picture


# By the square root, so that the dark is as fine as the bright.
_CURVE = tone_mapped((np.arange(_STEPS + 1) / _STEPS) ** 2 * _BRIGHTEST).astype(np.float32)


def light_of(picture: AnyArray) -> AnyArray:
    """The linear light that becomes these picture values (0..1, short of white)."""
    light: AnyArray = np.interp(picture, _CURVE, (np.arange(_STEPS + 1) / _STEPS) ** 2 * _BRIGHTEST)
    return light


def resolve_and_tonemap(color: AnyArray, labels: UInt8Array, block: int) -> tuple[UInt8Array, UInt8Array]:
    """Picture [H, W, 3] and labels [H, W] of samples [H * block, W * block, ..].

    Each sample is tone-mapped before the mean, so that bright edges do not eat into dark ones. The most
    frequent label wins, of equals the later in LABELS.
    """
    height, width = labels.shape[0] // block, labels.shape[1] // block
    picture = np.empty((height, width, 3), np.uint8)
    voted = np.empty((height, width), np.uint8)
    _develop(color, labels, _CURVE, (picture, voted))
    return picture, voted


@kernel
def _develop(color, labels, curve, out):  # type: ignore[no-untyped-def]
    picture, voted = out
    height, width, _ = picture.shape
    block = len(labels) // height
    steps = len(curve) - 1
    votes = np.zeros(256, np.int32)
    for y in range(height):
        for x in range(width):
            for channel in range(3):
                total = f4(0)
                for j in range(block):
                    for i in range(block):
                        light = color[y * block + j, x * block + i, channel]
                        at = np.sqrt(min(max(light, f4(0)) / f4(16), f4(1))) * f4(steps)
                        low = min(int(at), steps - 1)
                        share = at - f4(low)
                        total += curve[low] + share * (curve[low + 1] - curve[low])
                picture[y, x, channel] = np.uint8(f4(255) * total / f4(block * block) + f4(0.5))
            best, most = 0, 0
            for j in range(block):
                for i in range(block):
                    votes[labels[y * block + j, x * block + i]] += 1
            for j in range(block):
                for i in range(block):
                    label = labels[y * block + j, x * block + i]
                    if votes[label] > most or (votes[label] == most and label > best):
                        best, most = int(label), votes[label]
            for j in range(block):
                for i in range(block):
                    votes[labels[y * block + j, x * block + i]] = 0
            voted[y, x] = best
