"""Where weights that came in a Python package lie, and where what is made of them is kept."""

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path

from splatface.models.errors import EncoderError

__all__ = ["cache_folder", "cached", "package_file"]


def package_file(encoder: str, package: str, file: str, install: str) -> Path:
    """Path of `file` inside an installed `package`, which is found but not imported.

    Raises EncoderError, naming the pip command, when the package or the file is absent.
    """
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    for folder in folders:
        path = Path(folder) / file
        if path.is_file():
            return path
    found = f"no {file} in {folders[0]}" if folders else f"no package {package}"
    raise EncoderError(f"encoder '{encoder}': expected its weights in {package}, found {found}: {install}")


def cache_folder() -> Path:
    """`$SPLATFACE_CACHE`, else `$XDG_CACHE_HOME/splatface`, else `~/.cache/splatface`; made if absent."""
    own = os.environ.get("SPLATFACE_CACHE")
    shared = os.environ.get("XDG_CACHE_HOME")
    folder = Path(own) if own else (Path(shared) if shared else Path.home() / ".cache") / "splatface"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def cached(name: str, make: Callable[[], bytes], *, again: bool = False) -> bytes:
    """Bytes of `name` in the cache folder, made and kept when absent (or `again`).

    A folder that cannot be written costs time at every start, not the encoder.
    """
    try:
        path = cache_folder() / name
        if path.is_file() and not again:
            return path.read_bytes()
    except OSError:
        return make()
    made = make()
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(made)
        partial.replace(path)  # atomic: two nodes may start at once
    except OSError:
        partial.unlink(missing_ok=True)
    return made
