# SPDX-License-Identifier: Apache-2.0
"""Files that are written whole or not at all, and the folder of everything that can be computed again."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

__all__ = ["PART", "atomic_write", "cache_dir", "cached"]

PART = ".part"  # suffix of a file while it is being written


def cache_dir(name: str = "") -> Path:
    """Return `$SPLATFACE_CACHE`, else `$XDG_CACHE_HOME/splatface`, else `~/.cache/splatface`.

    The folder is not created.

    Args:
        name: a folder in it, empty for the cache folder itself.
    """
    if own := os.environ.get("SPLATFACE_CACHE"):
        return Path(own).expanduser() / name
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "splatface" / name


def atomic_write(path: Path, content: bytes, *, fsync: bool = True, shared: bool = False) -> None:
    """Write a file under a temporary name and rename it, so that a reader sees all of it or none.

    Args:
        path: in a folder that exists.
        content: of the file.
        fsync: wait until the content is on the disk: a rename must not overtake what it names.
        shared: several processes may write this file at once.

    Raises OSError, with the temporary file removed.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}{PART}" if shared else path.name + PART)
    try:
        with part.open("wb") as file:
            file.write(content)
            if fsync:
                file.flush()
                os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def cached(name: str, make: Callable[[], bytes], *, again: bool = False) -> bytes:
    """Return the bytes of a file in the cache folder; make and store them when absent (or `again`).

    A folder that cannot be written costs time at every start, but is no error.
    """
    path = cache_dir() / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file() and not again:
            return path.read_bytes()
    except OSError:
        return make()
    content = make()
    with contextlib.suppress(OSError):
        atomic_write(path, content, fsync=False, shared=True)
    return content
