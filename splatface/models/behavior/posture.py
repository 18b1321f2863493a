"""How one holds the head while speaking: another pose with a phrase, kept until the next one.

The head shifts at the joints of speech and rests between them (Hadar et al. 1983: postural shifts at
junctures; Graf et al. 2002: a swing to one side that stays).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatface.models.behavior.events import minimum_jerk_step

__all__ = ["Posture", "PostureShift"]

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
