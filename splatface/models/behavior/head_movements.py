# SPDX-License-Identifier: Apache-2.0
"""Movements of head and brows: nods, brow raises, posture shifts, sway and breath."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from splatface.models.behavior.trajectories import minimum_jerk_step
from splatface.models.typing import Float64Array

__all__ = [
    "BROW_RISE_S",
    "BrowRaise",
    "Nod",
    "Posture",
    "PostureShift",
    "Sway",
    "active_nods",
    "brow_raise_at",
    "fuzzy_or",
    "make_sway",
    "nod_angles_at",
    "nod_pitch_and_brow_at",
    "sway_at",
]

# Half a period of the rapid head movements of speakers, 2 to 7 Hz (Hadar et al. 1983), and its slower end.
_DOWN_S, _UP_S = 0.16, 0.34
_SETTLE_S = 0.3
BROW_RISE_S, _BROW_FALL_S = 0.18, 0.42
_MAX_SHIFTS = 16


@dataclass(frozen=True, slots=True)
class Nod:
    """A nod: the head moves down (or up) and back, possibly with an overshoot."""

    begin_s: float
    pitch_rad: float  # downwards; negative raises the chin
    brow: float = 0.0  # 0..1, brow raise with it
    yaw_rad: float = 0.0
    roll_rad: float = 0.0
    down_s: float = _DOWN_S
    up_s: float = _UP_S
    overshoot: float = 0.0  # fraction by which it comes back too far before it settles


def active_nods(nods: Iterable[Nod], time_s: float) -> list[Nod]:
    """Return the nods that have begun and are not over."""
    return [n for n in nods if 0.0 < time_s - n.begin_s < n.down_s + n.up_s + _SETTLE_S]


def nod_angles_at(nods: Iterable[Nod], time_s: float) -> Float64Array:
    """Return the sum of the nods: yaw, pitch and roll (rad), [3]."""
    angles = np.zeros(3)
    for nod in active_nods(nods, time_s):
        angles += _nod_profile(nod, time_s - nod.begin_s) * np.array(
            [nod.yaw_rad, nod.pitch_rad, nod.roll_rad]
        )
    return angles


def nod_pitch_and_brow_at(nods: Iterable[Nod], time_s: float) -> tuple[float, float]:
    """Return pitch (rad, down) and brow raise (0..1) of the nods."""
    active = active_nods(nods, time_s)
    brow = max((nod.brow * _nod_profile(nod, time_s - nod.begin_s) for nod in active), default=0.0)
    return float(nod_angles_at(active, time_s)[1]), max(brow, 0.0)


def _nod_profile(nod: Nod, elapsed_s: float) -> float:
    """Return the fraction of a nod's amplitude, 1 at its extreme."""
    back_s = elapsed_s - nod.down_s
    down, up = minimum_jerk_step(elapsed_s / nod.down_s), minimum_jerk_step(back_s / nod.up_s)
    return (
        down - (1.0 + nod.overshoot) * up + nod.overshoot * minimum_jerk_step((back_s - nod.up_s) / _SETTLE_S)
    )


@dataclass(frozen=True, slots=True)
class BrowRaise:
    """A raise of both brows."""

    begin_s: float
    weight: float  # 0..1
    hold_s: float


def brow_raise_at(raises: Iterable[BrowRaise], time_s: float) -> float:
    """Return the brow raise, 0..1."""
    level = 0.0
    for brow_raise in raises:
        elapsed_s = time_s - brow_raise.begin_s
        if 0.0 <= elapsed_s < BROW_RISE_S + brow_raise.hold_s + _BROW_FALL_S:
            fall = minimum_jerk_step((elapsed_s - BROW_RISE_S - brow_raise.hold_s) / _BROW_FALL_S)
            rise = minimum_jerk_step(elapsed_s / BROW_RISE_S)
            level = fuzzy_or(level, min(brow_raise.weight, 1.0) * (rise - fall))
    return level


def fuzzy_or(a: float, b: float) -> float:
    """Combine two weights (0..1) by the probabilistic sum: at most 1, and smooth where the maximum is not."""
    return 1.0 - (1.0 - a) * (1.0 - b)


@dataclass(frozen=True, slots=True)
class PostureShift:
    """A change of the head's resting pose."""

    begin_s: float
    duration_s: float
    angles_rad: Float64Array  # [3] yaw, pitch, roll of the new pose


class Posture:
    """Resting pose of the head: a sequence of shifts, smooth even where one begins before the last is over.

    Speakers shift the head at phrase boundaries and rest between them (Hadar et al. 1983: postural shifts at
    junctures; Graf et al. 2002: a rotation to one side that is held).
    """

    def __init__(self) -> None:
        self._shifts: list[PostureShift] = []
        self._origin = np.zeros(3)

    def add(self, shift: PostureShift) -> None:
        """Add a shift; shifts are added in order of time."""
        self._shifts.append(shift)
        if len(self._shifts) > _MAX_SHIFTS:
            self._origin = self._shifts.pop(0).angles_rad

    def cancel_after(self, time_s: float) -> None:
        """Remove the shifts that have not begun."""
        self._shifts = [shift for shift in self._shifts if shift.begin_s <= time_s]

    def angles_at(self, time_s: float) -> Float64Array:
        """Return yaw, pitch and roll (rad), [3]."""
        angles, previous = self._origin.copy(), self._origin
        for shift in self._shifts:
            # Steps add up: each leads from the previous pose to its own, whether that was reached or not.
            step = minimum_jerk_step((time_s - shift.begin_s) / shift.duration_s)
            angles += step * (shift.angles_rad - previous)
            previous = shift.angles_rad
        return angles


_SWAY_HZ = np.array([0.059, 0.097, 0.143, 0.211, 0.317])
# Standard deviations of yaw, pitch, roll (rad) and forward, left, up (m).
_SWAY_STD = np.array([0.042, 0.018, 0.016, 0.0020, 0.0030, 0.0008])
_BREATH_HZ = 0.25
_BREATH_RISE_M = 0.0022
_BREATH_PITCH_RAD = 0.004


@dataclass(frozen=True, slots=True)
class Sway:
    """Small continuous movements of a head at rest: phases and weights of sines."""

    phases_rad: Float64Array  # [6, 5]
    weights: Float64Array  # [6, 5]
    breath_phase_rad: float
    breath: float  # 0..1


def make_sway(seed: int, amount: float) -> Sway:
    """Return a random sway; `amount` 0 is motionless, 1 a relaxed person, 2 a restless one."""
    random = np.random.default_rng([seed, 0x5A])
    weights = random.uniform(0.5, 1.0, (6, len(_SWAY_HZ))) / _SWAY_HZ**0.5
    # A sine of weight w has the variance w^2 / 2.
    weights *= np.sqrt(2.0) * amount * _SWAY_STD[:, None] / np.linalg.norm(weights, axis=1, keepdims=True)
    phases = random.uniform(0.0, 2 * np.pi, (6, len(_SWAY_HZ)))
    return Sway(phases, weights, float(random.uniform(0.0, 2 * np.pi)), min(amount, 1.0))


def sway_at(sway: Sway, time_s: float) -> Float64Array:
    """Return yaw, pitch, roll (rad) and forward, left, up (m), [6]."""
    sines = np.sin(2 * np.pi * _SWAY_HZ * time_s + sway.phases_rad)
    out: Float64Array = (sway.weights * sines).sum(axis=1)
    breath = sway.breath * np.sin(2 * np.pi * _BREATH_HZ * time_s + sway.breath_phase_rad)
    out[1] -= _BREATH_PITCH_RAD * breath
    out[5] += _BREATH_RISE_M * breath
    return out
