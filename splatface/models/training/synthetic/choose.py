"""Which moments of a film are worth a picture: few, as different as possible, nothing extreme left out.

Greedy k-center (Gonzalez 1985, at most twice the best radius) in the space of motion and pose, begun
with the extremes.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio2motion.audio_to_mouth import CONTROLS, MOUTH_MODES
from splatface.models.errors import ActorError
from splatface.models.training.dataset.types import TEST, TRAIN, VAL
from splatface.models.training.synthetic.performance import (
    LEARNED_SHARE,
    POSE_LIMITS_RAD,
    TEST_SHARE,
    Performance,
)
from splatface.models.typing import AnyArray, Int64Array

__all__ = ["FrameSelection", "choose", "coverage_radius", "extremes", "farthest_first", "features_of"]


_MOUTH: Final = 1.0
_CONTROLS: Final = dict(zip(CONTROLS, (0.6, 0.6, 1.6, 2.0, 0.5, 0.5, 0.6, 0.6), strict=True))
_HEAD_TURNS: Final = 0.5  # from the middle to a limit
_BODY_TURNS: Final = 0.15
_VAL = 16


@dataclass(frozen=True, slots=True, eq=False)
class FrameSelection:
    """F moments that get a picture, rising, and what each is for."""

    moments: Int64Array  # [F] numbers of moments of the performance
    split: NDArray[np.uint8]  # [F] TRAIN, VAL or TEST


def features_of(performance: Performance) -> AnyArray:
    """Where each moment stands [T, 8 + 8 + 6], scaled so that equal distances are equally worth a picture."""
    turns = np.array([_HEAD_TURNS] * 3 + [_BODY_TURNS] * 3) / np.array(POSE_LIMITS_RAD)
    return np.hstack(
        [
            _MOUTH * performance.mouth,
            performance.controls * np.array(list(_CONTROLS.values())),
            performance.poses * turns,
        ]
    ).astype(np.float64)


def choose(performance: Performance, count: int) -> FrameSelection:
    """Moments for `count` pictures to learn from, 16 to validate with, and the last 10 % to test with.

    Training pictures come from the first 85 %, validation from the 5 % behind, the test is every moment
    of the last 10 %; the same performance gives the same choice.

    Raises:
        ActorError: when the film has too few moments.
    """
    total = len(performance)
    learned, test_from = int(LEARNED_SHARE * total), total - round(TEST_SHARE * total)
    if count < 1 or learned < count or test_from - learned < 1:
        raise ActorError(
            f"pictures: expected 1..{learned} to choose from {total}, found {count}: make the film longer"
        )
    features = features_of(performance)
    begun = extremes(performance, learned)[:count]
    train = farthest_first(features[:learned], begun, count)
    val = np.unique(
        np.linspace(learned, test_from - 1, min(_VAL, test_from - learned)).round().astype(np.int64)
    )
    test = np.arange(test_from, total)
    moments = np.concatenate([np.sort(train), val, test])
    sizes = (len(train), len(val), len(test))
    return FrameSelection(moments, np.repeat(np.array([TRAIN, VAL, TEST], np.uint8), sizes))


def extremes(performance: Performance, until: int) -> Int64Array:
    """Moments before `until` that must not be missing, the most important first, none twice.

    Rest, the largest of each mouth mode, shut and half-shut eyes, the ends of gaze, jaw and every turn.
    """
    mouth, controls = performance.mouth[:until], performance.controls[:until]
    poses = performance.poses[:until]
    found = [int(np.argmin(np.square(features_of(performance)[:until]).sum(axis=1)))]
    found += [int(np.argmax(mouth[:, mode])) for mode in range(len(MOUTH_MODES))]
    for number in range(len(CONTROLS)):
        found.append(int(np.argmax(controls[:, number])))
    for name in ("gaze_yaw", "gaze_pitch", "jaw_side"):
        found.append(int(np.argmin(controls[:, CONTROLS.index(name)])))
    for share in (0.5, 0.25, 0.75):
        found.append(int(np.argmin(np.square(controls[:, :2] - share).sum(axis=1))))
    for turn in range(poses.shape[1]):
        found += [int(np.argmax(poses[:, turn])), int(np.argmin(poses[:, turn]))]
    return np.array(list(dict.fromkeys(found)), np.int64)


def farthest_first(features: AnyArray, begun: Int64Array, count: int) -> Int64Array:
    """`count` rows of features [T, D], those begun with among them; each is the farthest from all before."""
    nearest = np.full(len(features), np.inf)
    chosen: list[int] = []
    while len(chosen) < count:
        row = int(begun[len(chosen)]) if len(chosen) < len(begun) else int(np.argmax(nearest))
        chosen.append(row)
        nearest = np.minimum(nearest, np.square(features - features[row]).sum(axis=1))
        nearest[row] = -1.0  # never twice, also where moments are alike
    return np.array(chosen, np.int64)


def coverage_radius(features: AnyArray, chosen: Int64Array) -> float:
    """How far the most lonely of features [T, D] is from the nearest chosen one."""
    nearest = np.full(len(features), np.inf)
    for row in chosen.tolist():
        nearest = np.minimum(nearest, np.square(features - features[row]).sum(axis=1))
    return float(np.sqrt(nearest.max()))
