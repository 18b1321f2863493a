"""Nods: the head goes down (or up) and comes back, now and then a little beyond."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatface.models.behavior.events import minimum_jerk_step

__all__ = ["DOWN_S", "UP_S", "Nod", "head_at", "nods_at", "under_way"]

# Half a period of the rapid movements of speakers' heads, 2 to 7 Hz (Hadar et al. 1983), and its slower end.
DOWN_S, UP_S = 0.16, 0.34
SETTLE_S = 0.3


@dataclass(frozen=True, slots=True)
class Nod:
    """One nod."""

    begin_s: float
    pitch_rad: float  # downwards; below 0 the chin goes up
    brow: float = 0.0  # 0..1, how far the brows go up with it
    yaw_rad: float = 0.0
    roll_rad: float = 0.0
    down_s: float = DOWN_S
    up_s: float = UP_S
    beyond: float = 0.0  # share of the way by which it comes back too far, and settles


def _shape(nod: Nod, since_s: float) -> float:
    back_s = since_s - nod.down_s
    out = minimum_jerk_step(since_s / nod.down_s) - (1.0 + nod.beyond) * minimum_jerk_step(back_s / nod.up_s)
    return out + nod.beyond * minimum_jerk_step((back_s - nod.up_s) / SETTLE_S)


def under_way(nods: Iterable[Nod], time_s: float) -> list[Nod]:
    """Nods that have begun and are not over."""
    return [n for n in nods if 0.0 < time_s - n.begin_s < n.down_s + n.up_s + SETTLE_S]


def head_at(nods: Iterable[Nod], time_s: float) -> NDArray[np.float64]:
    """Yaw, pitch and roll (rad) that the nods make at a moment, [3]."""
    angles = np.zeros(3)
    for nod in under_way(nods, time_s):
        angles += _shape(nod, time_s - nod.begin_s) * np.array([nod.yaw_rad, nod.pitch_rad, nod.roll_rad])
    return angles


def nods_at(nods: Iterable[Nod], time_s: float) -> tuple[float, float]:
    """Pitch (rad, down) and brow raise (0..1) that the nods make at a moment."""
    moving = under_way(nods, time_s)
    brow = max((nod.brow * _shape(nod, time_s - nod.begin_s) for nod in moving), default=0.0)
    return float(head_at(moving, time_s)[1]), max(brow, 0.0)
