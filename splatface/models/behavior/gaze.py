"""Where the eyes look: fixations joined by saccades, mostly on the viewer.

A saccade takes 21 ms + 2.2 ms per degree (the main sequence; Bahill, Clark & Stark 1975).
"""

import math
from bisect import bisect_right
from collections.abc import Callable

import numpy as np

from splatface.models.behavior.events import BLOCK_S, SeededEventStream, minimum_jerk_step

__all__ = ["Direction", "gaze_line", "glance_at", "held_glance_at", "saccade_s"]

Direction = tuple[float, float]  # yaw (rad, to the left), pitch (rad, down)

ON_VIEWER = 0.72  # share of fixations
HISTORY_S = 12.0  # longer than any fixation
# From eye to eye and mouth of somebody a meter away: within this one still looks at the face.
ON_FACE_RAD = math.radians(1.6)
# Beyond this the white of the eye shows and one seems to look at something else.
FARTHEST_RAD = math.radians(14.0)


def saccade_s(angle_rad: float) -> float:
    """How long the eyes take for a turn."""
    return 0.021 + 0.0022 * math.degrees(abs(angle_rad))


def gaze_line(seed: int, wander: float) -> SeededEventStream[Direction]:
    """Where a person looks, relative to the viewer; `wander` 0 stares, 1 is a person in conversation."""

    def draw(random: np.random.Generator) -> list[tuple[float, Direction]]:
        fixations: list[tuple[float, Direction]] = []
        at, away = 0.0, False
        while at < BLOCK_S:
            # Never away twice in a row: the viewer is who the face is for.
            away = not away and random.random() > ON_VIEWER
            spread = np.radians([9.0, 5.0] if away else [0.9, 0.6]) * wander
            yaw, pitch = random.normal(0.0, spread)
            fixations.append((at, (float(yaw), float(pitch))))
            at += float(np.clip(random.lognormal(np.log(0.6 if away else 1.7), 0.45), 0.2, 8.0))
        return fixations

    return SeededEventStream(seed, draw)


def glance_at(line: SeededEventStream[Direction], time_s: float) -> Direction:
    """The direction of the eyes at a moment, relative to what the person attends to."""
    return _between(line, time_s, lambda direction: direction)


def held_glance_at(line: SeededEventStream[Direction], time_s: float, hold: float) -> Direction:
    """The same of one who faces somebody, and never looks far away.

    At `hold` 1 no glance leaves the other's face, at 0 all are free.
    """
    return _between(line, time_s, lambda direction: _held(direction, hold))


def _between(
    line: SeededEventStream[Direction], time_s: float, seen: Callable[[Direction], Direction]
) -> Direction:
    fixations = line.between(time_s - HISTORY_S, time_s)
    index = bisect_right([at for at, _ in fixations], time_s) - 1
    begun, here = fixations[index][0], seen(fixations[index][1])
    before = seen(fixations[index - 1][1]) if index > 0 else here
    turn = math.hypot(here[0] - before[0], here[1] - before[1])
    done = minimum_jerk_step((time_s - begun) / saccade_s(turn))
    return before[0] + done * (here[0] - before[0]), before[1] + done * (here[1] - before[1])


def _held(direction: Direction, hold: float) -> Direction:
    angle = math.hypot(*direction)
    if angle <= ON_FACE_RAD:
        return direction
    seen = FARTHEST_RAD * math.tanh(angle / FARTHEST_RAD)
    share = (seen - hold * (seen - ON_FACE_RAD)) / angle
    return share * direction[0], share * direction[1]
