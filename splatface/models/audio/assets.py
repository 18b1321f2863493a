"""Weights that are installed in a Python package."""

import importlib.util
from pathlib import Path

from splatface.models.errors import EncoderError

__all__ = ["package_file"]


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
