"""Where the heads that come with splatface lie."""

import os
import sys
from pathlib import Path

from splatface.models.errors import HeadError

__all__ = ["head_folder", "shipped_heads"]


def _search_paths() -> list[Path]:
    prefixes = [*os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep), sys.prefix]
    return [Path(prefix) / "share" / "splatface" / "heads" for prefix in prefixes if prefix]


def shipped_heads() -> dict[str, Path]:
    """Name to folder of every installed head."""
    found: dict[str, Path] = {}
    for shelf in _search_paths():
        for info in sorted(shelf.glob("*/head.yaml")):
            # colcon --symlink-install links each file: the head is where they really are.
            found.setdefault(info.parent.name, info.resolve().parent)
    return found


def head_folder(name_or_path: str) -> Path:
    """The folder of a shipped head by its name, or of any head by its path.

    Raises:
        HeadError: when there is neither.
    """
    path = Path(name_or_path).expanduser()
    if (path / "head.yaml").is_file():
        return path
    shipped = shipped_heads()
    if name_or_path in shipped:
        return shipped[name_or_path]
    raise HeadError(
        f"head: expected a folder with a head.yaml or one of {', '.join(shipped) or '(none installed)'}, "
        f"found {name_or_path!r}: check the path, or leave head out for the default"
    )
