"""The log of a run: one line of JSON per report, cut back to where a resumed run goes on."""

import json
from dataclasses import asdict
from pathlib import Path

from splatface.models.storage import atomic_write
from splatface.models.training.optimization.types import Progress

__all__ = ["LOG", "add_to_log", "read_log"]

LOG = "log.jsonl"


def add_to_log(folder: Path, progress: Progress) -> None:
    """Append a line."""
    with (folder / LOG).open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(progress)) + "\n")


def read_log(folder: Path, until_step: int) -> list[Progress]:
    """The lines up to a step; later ones, which the resumed run writes again, are taken out of the file.

    A line that a crash cut short is dropped.
    """
    path = folder / LOG
    kept = []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    for line in lines:
        try:
            progress = Progress(**json.loads(line))
        except (ValueError, TypeError):
            continue
        if progress.step <= until_step:
            kept.append(progress)
    atomic_write(path, "".join(json.dumps(asdict(p)) + "\n" for p in kept).encode(), fsync=False)
    return kept
