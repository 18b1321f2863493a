"""Movements of head and brows: nods, brow raises, posture shifts, sway and breath."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatface.models.behavior.trajectories import minimum_jerk_step
from splatface.models.typing import Float64Array

__all__ = [
    "DOWN_S",
    "UP_S",
    "BrowRaise",
    "Nod",
    "Posture",
    "PostureShift",
    "Sway",
    "fuzzy_or",
    "head_at",
    "nods_at",
    "raises_at",
    "sway_at",
    "sway_of",
    "under_way",
]

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


RISE_S, FALL_S = 0.18, 0.42


@dataclass(frozen=True, slots=True)
class BrowRaise:
    """Both brows go up, stay and come down."""

    begin_s: float
    weight: float  # 0..1
    hold_s: float


def fuzzy_or(a: float, b: float) -> float:
    """Two weights (0..1) together: never above 1, and smooth where the larger one of two is not."""
    return 1.0 - (1.0 - a) * (1.0 - b)


def raises_at(raises: Iterable[BrowRaise], time_s: float) -> float:
    """How far the brows are up, 0..1."""
    out = 0.0
    for one in raises:
        since_s = time_s - one.begin_s
        if 0.0 <= since_s < RISE_S + one.hold_s + FALL_S:
            down = minimum_jerk_step((since_s - RISE_S - one.hold_s) / FALL_S)
            out = fuzzy_or(out, min(one.weight, 1.0) * (minimum_jerk_step(since_s / RISE_S) - down))
    return out


KEPT = 16


@dataclass(frozen=True, slots=True)
class PostureShift:
    """From wherever the head is held to another pose."""

    begin_s: float
    length_s: float
    angles_rad: NDArray[np.float64]  # [3] yaw, pitch, roll from the head at rest


class Posture:
    """The shifts so far; smooth even where one begins before the last is over."""

    def __init__(self) -> None:
        self._shifts: list[PostureShift] = []
        self._origin = np.zeros(3)

    def add(self, shift: PostureShift) -> None:
        """Take a new pose; shifts come in the order of their time."""
        self._shifts.append(shift)
        if len(self._shifts) > KEPT:
            self._origin = self._shifts.pop(0).angles_rad

    def forget_after(self, time_s: float) -> None:
        """Shifts that have not begun will not."""
        self._shifts = [shift for shift in self._shifts if shift.begin_s <= time_s]

    def at(self, time_s: float) -> NDArray[np.float64]:
        """Yaw, pitch and roll (rad) at a moment, [3]."""
        angles, before = self._origin.copy(), self._origin
        for shift in self._shifts:
            # Steps add up: each leads from the last pose to its own, whether that was reached or not.
            angles += minimum_jerk_step((time_s - shift.begin_s) / shift.length_s) * (
                shift.angles_rad - before
            )
            before = shift.angles_rad
        return angles


FREQUENCIES_HZ = np.array([0.059, 0.097, 0.143, 0.211, 0.317])
# Yaw, pitch, roll (rad) and forward, left, up (m): standard deviation of each.
AMOUNT = np.array([0.042, 0.018, 0.016, 0.0020, 0.0030, 0.0008])
BREATH_HZ = 0.25
BREATH_RISE_M = 0.0022
BREATH_PITCH_RAD = 0.004


@dataclass(frozen=True, slots=True)
class Sway:
    """Phases and weights of one person."""

    phases_rad: Float64Array  # [6, 5]
    weights: Float64Array  # [6, 5]
    breath_phase_rad: float
    breath: float  # 0..1


def sway_of(seed: int, amount: float) -> Sway:
    """The sway of a person; `amount` 0 is a statue, 1 a calm person, 2 a restless one."""
    random = np.random.default_rng([seed, 0x5A])
    weights = random.uniform(0.5, 1.0, (6, len(FREQUENCIES_HZ))) / FREQUENCIES_HZ**0.5
    # A sine of weight w has the variance w^2 / 2.
    weights *= np.sqrt(2.0) * amount * AMOUNT[:, None] / np.linalg.norm(weights, axis=1, keepdims=True)
    phases = random.uniform(0.0, 2 * np.pi, (6, len(FREQUENCIES_HZ)))
    return Sway(phases, weights, float(random.uniform(0.0, 2 * np.pi)), min(amount, 1.0))


def sway_at(sway: Sway, time_s: float) -> Float64Array:
    """Yaw, pitch, roll (rad) and forward, left, up (m) at a moment, [6]."""
    moving = np.sin(2 * np.pi * FREQUENCIES_HZ * time_s + sway.phases_rad)
    out: Float64Array = (sway.weights * moving).sum(axis=1)
    breath = sway.breath * np.sin(2 * np.pi * BREATH_HZ * time_s + sway.breath_phase_rad)
    out[1] -= BREATH_PITCH_RAD * breath
    out[5] += BREATH_RISE_M * breath
    return out
