"""How far a mouth is open, seen from outside: by what of the picture changes while the face speaks."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatface.models.messages import NS_PER_S

__all__ = ["REST", "Course", "Mouth", "lag_ms", "loudness"]

REST = 0.15  # of a wide-open mouth: below this nobody sees it move
_SHARE = 0.02  # of the picture's pixels that change most are the mouth
_STEP_S, _MOST_S = 0.005, 0.3


class Mouth:
    """Knows the mouth of a face that keeps its head still.

    Args:
        resting: pictures [P, h, w] of the silent face.
        speaking: of the speaking face.
    """

    def __init__(self, resting: NDArray[np.uint8], speaking: NDArray[np.uint8]) -> None:
        self._rest = np.median(resting.astype(np.float32), axis=0)
        change = np.abs(speaking.astype(np.float32) - self._rest).mean(axis=0)
        self._where = change > np.quantile(change, 1 - _SHARE)
        self._scale = 1.0
        self._scale = float(np.percentile(self.opening(speaking), 95))

    def opening(self, small: NDArray[np.uint8]) -> NDArray[np.float64]:
        """0 (at rest) .. about 1 (wide open) of each picture, [P]."""
        change = np.abs(small[:, self._where].astype(np.float64) - self._rest[self._where])
        opening: NDArray[np.float64] = change.mean(axis=1) / self._scale
        return opening


@dataclass(frozen=True, slots=True)
class Course:
    """Something over time."""

    times_ns: NDArray[np.int64]  # [n], rising
    values: NDArray[np.float64]  # [n], each until the next


def loudness(samples: NDArray[np.float64], times_ns: NDArray[np.int64], size: int) -> Course:
    """RMS of every `size` samples of a sound [n * size], given when each such piece begins [n]."""
    pieces = samples[: len(times_ns) * size].reshape(-1, size)
    return Course(times_ns, np.sqrt(np.mean(pieces**2, axis=1)))


def lag_ms(after: Course, before: Course) -> float:
    """By how much one course follows another that it resembles, within 300 ms, to 5 ms."""
    begin = max(after.times_ns[0], before.times_ns[0])
    end = min(after.times_ns[-1], before.times_ns[-1])
    if (end - begin) / NS_PER_S < 2.0:
        return float("nan")
    grid_s = np.arange(0, (end - begin) / NS_PER_S, _STEP_S)
    a, b = (
        course.values[np.searchsorted((course.times_ns - begin) / NS_PER_S, grid_s, side="right") - 1]
        for course in (after, before)
    )
    most = round(_MOST_S / _STEP_S)
    lags = np.arange(-most, most + 1)
    fits = [float(np.corrcoef(a[most + k : len(a) - most + k], b[most:-most])[0, 1]) for k in lags]
    return float(lags[int(np.argmax(fits))]) * _STEP_S * 1e3
