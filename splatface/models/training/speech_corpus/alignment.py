"""When were the words said? A recording is aligned with a voice that says the same and knows its times.

Dynamic time warping after Sakoe & Chiba, "Dynamic programming algorithm optimization for spoken word
recognition" (1978), with steps that limit the slope, over an encoder's features: what an encoder of speech
makes of a sound hardly depends on who speaks.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatface.models.messages import SAMPLE_RATE
from splatface.models.training.speech_corpus.phonemes import Phone
from splatface.models.typing import Float32Array, Float64Array

__all__ = ["Alignment", "align", "moved_phones"]


_STEPS = ((1, 1), (1, 2), (2, 1), (1, 3), (3, 1))  # frames of one side, of the other
_QUIET_DB = -38.0  # under the loudest: a pause, which each side makes as it likes
_HOP = 320


@dataclass(frozen=True, slots=True, eq=False)
class Alignment:
    """Moments of the reference and the moments of the recording that sound the same."""

    reference_s: Float64Array  # [n], rising
    recording_s: Float64Array  # [n], rising
    distance: float  # mean cosine distance along the way, 0 same .. 1 strangers


def align(
    reference: tuple[Float32Array, Float64Array],
    recording: tuple[Float32Array, Float64Array],
    voiced: tuple[Float32Array, Float32Array],
) -> Alignment | None:
    """Warp one utterance onto another of the same words.

    Args:
        reference, recording: features [F, D] and centers [F] in s.
        voiced: the samples [T] at 16 kHz of both; their pauses are left out of the matching.

    None where one side is silent or more than three times as long as the other.
    """
    sides = []
    for (values, centers_s), samples in zip((reference, recording), voiced, strict=True):
        loud = _loud(samples, centers_s)
        if loud.sum() < 5:
            return None
        x = values[loud] - values[loud].mean(axis=0)
        x = x / (x.std(axis=0) + 1e-3)
        sides.append((x / (np.linalg.norm(x, axis=1, keepdims=True) + 1e-6), centers_s[loud]))
    (a, a_s), (b, b_s) = sides
    path = _path(1 - a @ b.T)
    if path is None:
        return None
    steps, distance = path
    return Alignment(a_s[steps[:, 0]], b_s[steps[:, 1]], distance)


def moved_phones(phones: tuple[Phone, ...], found: Alignment) -> tuple[Phone, ...]:
    """The reference's phones at the recording's times; what lies across a pause of the recording is cut."""

    def moved(time_s: float) -> float:
        outside = time_s - float(np.clip(time_s, found.reference_s[0], found.reference_s[-1]))
        return float(np.interp(time_s, found.reference_s, found.recording_s)) + outside

    there = []
    for phone in phones:
        start_s, end_s = max(moved(phone.start_s), 0.0), moved(phone.end_s)
        if end_s - start_s > 0.005:
            there.append(Phone(phone.ipa, start_s, end_s, phone.stress))
    return tuple(there)


def _loud(samples: Float32Array, centers_s: Float64Array) -> NDArray[np.bool_]:
    power = np.square(samples[: len(samples) // _HOP * _HOP].reshape(-1, _HOP)).mean(axis=1)
    level = 10 * np.log10(power + 1e-12)
    loud = level > np.percentile(level, 98) + _QUIET_DB
    near = np.convolve(loud, np.ones(5), "same") > 0  # closures are quiet too: stay within 40 ms of speech
    at = np.clip((centers_s * SAMPLE_RATE / _HOP).astype(np.int64), 0, len(near) - 1)
    found: NDArray[np.bool_] = near[at]
    return found


def _path(cost: Float32Array) -> tuple[NDArray[np.int64], float] | None:
    """Cheapest way from corner to corner, [n, 2], and the mean cost on it."""
    rows, columns = cost.shape
    total = np.full((rows, columns), np.inf)
    came = np.zeros((rows, columns), np.int8)
    total[0, 0] = cost[0, 0]
    for i in range(1, rows):
        for k, (down, right) in enumerate(_STEPS):
            if down > i or right >= columns:
                continue
            weight = down + right  # both sides' frames count the same however the step leans
            there = total[i - down, :-right] + weight * cost[i, right:]
            better = there < total[i, right:]
            total[i, right:][better] = there[better]
            came[i, right:][better] = k
    if not np.isfinite(total[-1, -1]):
        return None
    at, way = (rows - 1, columns - 1), []
    while at != (0, 0):
        way.append(at)
        down, right = _STEPS[came[at]]
        at = (at[0] - down, at[1] - right)
    way.append((0, 0))
    return np.array(way[::-1]), float(total[-1, -1] / (rows + columns))
