"""`kernel`: numba compilation as all render kernels want it, cached on disk across processes."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba import config

from splatface.models.storage import cache_dir

__all__ = ["cache_folder", "kernel"]

# No `nnan` / `ninf`: comparisons with NaN must stay false, so that a broken Gaussian is culled.
# No `reassoc`: numba sets the flags on every operation, and (x + big) - big must go on rounding x.
_FAST_MATH = {"contract", "arcp", "nsz", "afn"}


def _sources_digest() -> str:
    """Numba watches only the file a kernel stands in; ours inline each other across files."""
    digest = hashlib.sha256(numba.__version__.encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:12]


def cache_folder() -> Path:
    """Return the folder of compiled kernels of this version: in NUMBA_CACHE_DIR, else in the cache folder."""
    named = os.environ.get("NUMBA_CACHE_DIR")
    return (Path(named) if named else cache_dir("kernels")) / _DIGEST


_DIGEST = _sources_digest()


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile on first call, without the GIL, cached in `cache_folder()`."""
    before = config.CACHE_DIR
    config.CACHE_DIR = str(cache_folder())  # read by numba while it decorates
    try:
        compiled: Callable[..., Any] = numba.njit(
            function, cache=True, nogil=True, fastmath=_FAST_MATH, error_model="numpy", boundscheck=False
        )
    finally:
        config.CACHE_DIR = before
    return compiled
