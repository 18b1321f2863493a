"""How much of our own voice an echo canceller takes away (echo return loss enhancement, ITU-T G.168)."""

import math
from collections import deque

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio.voice import level_dbfs

__all__ = ["ErleMeter"]

PLAYING_DBFS = -50.0  # a block above this is sound
TAIL_BLOCKS = 15  # of 10 ms: a room and a device carry an echo so long
MEMORY = 500  # blocks with echo: 5 s


class ErleMeter:
    """Power of the microphone before and after, while there is echo."""

    def __init__(self) -> None:
        self._since = TAIL_BLOCKS  # blocks since the loudspeaker was last heard
        self._before: deque[float] = deque(maxlen=MEMORY)
        self._after: deque[float] = deque(maxlen=MEMORY)

    def add(
        self, played: NDArray[np.float32], heard: NDArray[np.float32], clean: NDArray[np.float32]
    ) -> None:
        """Take in a block [T] of the loudspeaker and of the microphone, before and after."""
        self._since = 0 if level_dbfs(played) > PLAYING_DBFS else self._since + 1
        if self._since < TAIL_BLOCKS:
            self._before.append(float(np.mean(np.square(heard, dtype=np.float64))))
            self._after.append(float(np.mean(np.square(clean, dtype=np.float64))))

    @property
    def db(self) -> float:
        """Over the last 5 s of echo; NaN before there was 0.5 s of it. A person who speaks makes it less."""
        if len(self._before) < MEMORY // 10:
            return math.nan
        return 10.0 * math.log10((sum(self._before) + 1e-12) / (sum(self._after) + 1e-12))
