"""Events on a seeded line of time that can be asked for any moment, in any order, with the same answer.

Time is cut into blocks of a minute; each block draws its events from its own generator. So motion depends on
the seed and the moment alone, not on when or how often somebody looks.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Generic, TypeVar

import numpy as np

__all__ = ["BLOCK_S", "SeededEventStream", "minimum_jerk_step"]

BLOCK_S = 60.0

E = TypeVar("E")


class SeededEventStream(Generic[E]):
    """`draw(generator)` gives one block's events as (seconds from the block's start, event), in order."""

    def __init__(self, seed: int, draw: Callable[[np.random.Generator], list[tuple[float, E]]]) -> None:
        self._seed = seed
        self._draw = draw
        self._block = lru_cache(maxsize=8)(self._make_block)

    def between(self, begin_s: float, end_s: float) -> list[tuple[float, E]]:
        """Events from `begin_s` to `end_s`, with their absolute times."""
        blocks = range(int(begin_s // BLOCK_S), int(end_s // BLOCK_S) + 1)
        return [(at, event) for block in blocks for at, event in self._block(block) if begin_s <= at <= end_s]

    def _make_block(self, block: int) -> list[tuple[float, E]]:
        generator = np.random.default_rng([self._seed, block % 2**32])
        return [(block * BLOCK_S + at, event) for at, event in self._draw(generator)]


def minimum_jerk_step(x: float) -> float:
    """0 to 1 without velocity or acceleration at either end: minimum jerk (Flash & Hogan 1985)."""
    x = min(max(x, 0.0), 1.0)
    return x * x * x * (10.0 + x * (6.0 * x - 15.0))
