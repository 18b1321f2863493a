# SPDX-License-Identifier: Apache-2.0
"""Compiled kernels: numba as all render kernels want it, cached on disk, and the threads that run them."""

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numba
from numba import config

from splatface.models.storage import cache_dir

__all__ = ["Workers", "cache_folder", "kernel"]

# No `nnan` / `ninf`: comparisons with NaN must stay false, so that a broken Gaussian is culled.
# No `reassoc`: numba sets the flags on every operation, and (x + big) - big must go on rounding x.
_FAST_MATH = {"contract", "arcp", "nsz", "afn"}


def _sources_digest() -> str:
    """Hash all render sources: numba watches only a kernel's own file, but ours inline each other."""
    digest = hashlib.sha256(numba.__version__.encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:12]


def cache_folder() -> Path:
    """Return the folder of compiled kernels, one per version: NUMBA_CACHE_DIR, XDG_CACHE_HOME or ~/.cache."""
    named = os.environ.get("NUMBA_CACHE_DIR")
    return (Path(named) if named else cache_dir("kernels")) / _DIGEST


_DIGEST = _sources_digest()


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function on first call, without the GIL, cached in `cache_folder()`."""
    previous_cache_dir = config.CACHE_DIR
    config.CACHE_DIR = str(cache_folder())  # read by numba while it decorates
    try:
        compiled: Callable[..., Any] = numba.njit(
            function, cache=True, nogil=True, fastmath=_FAST_MATH, error_model="numpy", boundscheck=False
        )
    finally:
        config.CACHE_DIR = previous_cache_dir
    return compiled


class Workers:
    """`threads` threads, the calling one included; none is started for one."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads - 1, "render") if threads > 1 else None

    def run(self, work: Callable[[int], object]) -> None:
        """Call work(0) .. work(threads - 1) at the same time and wait for all."""
        futures = [self._pool.submit(work, k) for k in range(1, self.threads)] if self._pool else []
        work(0)
        for future in futures:
            future.result()
