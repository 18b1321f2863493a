"""How long things took lately: percentiles over the last few hundred, bounded memory."""

from collections import deque

import numpy as np

__all__ = ["LatencyStats"]


class LatencyStats:
    """The last `size` durations."""

    def __init__(self, size: int = 500) -> None:
        self._values: deque[float] = deque(maxlen=size)

    def add(self, value: float) -> None:
        """Add one."""
        self._values.append(value)

    def summary(self, name: str) -> dict[str, object]:
        """p50, p95 and p99 under `name_p50` and so on; empty when nothing was added."""
        if not self._values:
            return {}
        marks = np.percentile(np.array(self._values), [50, 95, 99])
        return {f"{name}_p{q}": f"{mark:.2f}" for q, mark in zip((50, 95, 99), marks, strict=True)}
