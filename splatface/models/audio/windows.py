"""Sound in chunks of any size becomes windows of one size on one grid."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["StreamFramer"]


class StreamFramer:
    """Overlapping windows of a stream: the same windows however the stream was cut.

    Window n ends at sample `(n + 1) * hop` of the stream; what lies before the stream's first
    sample is zero. Memory is bounded by one window and the chunk being pushed.
    """

    def __init__(self, length: int, hop: int) -> None:
        if hop <= 0 or length < hop:
            raise ValueError(f"windows need 0 < hop <= length, found hop {hop} and length {length}")
        self.length = length
        self.hop = hop
        self.reset()

    def reset(self) -> None:
        """Forget the stream; the next sample pushed is sample 0 of a new one."""
        self._rest: NDArray[np.float32] = np.zeros(self.length - self.hop, np.float32)
        self._end = 0

    def push(self, samples: NDArray[np.float32]) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield `(end_sample, window [length])` for every window that `samples` [T] completes.

        The iterator must be drained before the next push.
        """
        held = np.concatenate([self._rest, samples])
        first = 0
        while len(held) - first >= self.length:
            self._end += self.hop
            yield self._end, held[first : first + self.length]
            first += self.hop
        self._rest = held[first:].copy()
