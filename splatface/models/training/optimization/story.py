"""What a run folder tells of a training, read by whoever shows it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["RunArtifacts", "load_run_artifacts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunArtifacts:
    """What a run folder tells of a training; empty where it tells nothing."""

    log: tuple[Mapping[str, Any], ...] = ()  # lines of log.jsonl
    config: str = ""  # config.yaml
    evaluation: Mapping[str, Any] | None = None  # evaluation.json
    openings: Mapping[str, Any] | None = None  # openings.json: "time_s" and lip openings by name
    poses: Mapping[str, Any] | None = None  # poses.json: how they were refined
    validation: tuple[Path, ...] = ()  # pictures, the newest last


def load_run_artifacts(run_folder: Path) -> RunArtifacts:
    """Read what there is; a last line of the log that was cut off by a crash is left out."""
    log = [line for line in map(_json, _lines(run_folder / "log.jsonl")) if isinstance(line, dict)]
    config = run_folder / "config.yaml"
    return RunArtifacts(
        log=tuple(log),
        evaluation=_mapping(run_folder / "evaluation.json"),
        openings=_mapping(run_folder / "openings.json"),
        poses=_mapping(run_folder / "poses.json"),
        config=config.read_text(encoding="utf-8") if config.is_file() else "",
        validation=tuple(sorted((run_folder / "validation").glob("*.png"))),
    )


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _mapping(file: Path) -> Mapping[str, Any] | None:
    found = _json("\n".join(_lines(file)))
    return found if isinstance(found, dict) else None
