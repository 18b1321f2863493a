"""Raises of the brows."""

from collections.abc import Iterable
from dataclasses import dataclass

from splatface.models.behavior.events import minimum_jerk_step

__all__ = ["BrowRaise", "fuzzy_or", "raises_at"]

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
