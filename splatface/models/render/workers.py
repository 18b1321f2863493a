"""A few threads that run compiled kernels side by side (kernels release the GIL)."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

__all__ = ["Workers"]


class Workers:
    """`threads` threads, the calling one included; none is started for one."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads - 1, "render") if threads > 1 else None

    def run(self, work: Callable[[int], object]) -> None:
        """Call work(0) .. work(threads - 1) at the same time and wait for all."""
        others = [self._pool.submit(work, k) for k in range(1, self.threads)] if self._pool else []
        work(0)
        for other in others:
            other.result()
