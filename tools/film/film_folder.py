# SPDX-License-Identifier: Apache-2.0
"""Reads a film folder (splatface.models.training.synthetic.blender_scene) with numpy alone."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

__all__ = ["Film", "Piece", "read_film"]


@dataclass(frozen=True)
class Piece:
    """One part: a mesh (faces [F, 4]) or strands (positions [S, K, 3]), canonical frame, meters."""

    name: str
    kind: str
    material: str
    roughness: float
    subsurface: float
    radius: tuple[float, float]
    positions: np.ndarray
    colors: np.ndarray
    labels: np.ndarray
    faces: np.ndarray | None
    gloss: np.ndarray | None


@dataclass(frozen=True)
class Film:
    """An opened film folder."""

    folder: Path
    pieces: dict[str, Piece]
    head_fixed: tuple[str, ...]
    camera: dict

    def rows(self) -> list[int]:
        """Return numbers of the frames, rising."""
        return sorted(
            int(path.stem) for path in (self.folder / "frames").glob("[0-9]*.npz") if path.stem.isdigit()
        )

    def frame(self, row: int) -> dict[str, np.ndarray]:
        """Return positions of the moving parts and T_world_head [4, 4]."""
        with np.load(self.folder / "frames" / f"{row:06d}.npz", allow_pickle=False) as tensors:
            return {name: tensors[name] for name in tensors.files}


def read_film(folder: Path) -> Film:
    """Open a film folder; SystemExit with the reason where it is none."""
    path = folder / "scene.npz"
    if not path.exists():
        raise SystemExit(f"{path}: expected a film folder, found no scene.npz")
    with np.load(path, allow_pickle=False) as tensors:
        about = json.loads(str(tensors["about"]))
        if about.get("format") != "splatface-film" or about.get("version") != 1:
            raise SystemExit(f"{path}: expected splatface-film version 1, found another format")
        pieces = {}
        for name, facts in about["parts"].items():
            have = {key: tensors[f"{name}.{key}"] for key in ("positions", "colors", "labels")}
            optional = {
                key: tensors[f"{name}.{key}"] if f"{name}.{key}" in tensors.files else None
                for key in ("faces", "gloss")
            }
            facts = {**facts, "radius": tuple(facts["radius"])}
            pieces[name] = Piece(name=name, **facts, **have, **optional)
    return Film(folder, pieces, tuple(about["head_fixed"]), about["camera"])
