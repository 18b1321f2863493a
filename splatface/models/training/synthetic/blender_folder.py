# SPDX-License-Identifier: Apache-2.0
"""Render folder for Blender (tools/film): written for it, and its images imported."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import ActorError, DatasetError
from splatface.models.training.dataset.dataset_io import DatasetWriter
from splatface.models.training.dataset.frame_images import LABEL_FOLDER, PICTURE_FOLDER, read_png, row_name
from splatface.models.training.dataset.types import Dataset
from splatface.models.training.synthetic.actor_video import (
    ActorScene,
    ActorVideoSpec,
    Progress,
    finish_dataset,
    frame_features,
)
from splatface.models.training.synthetic.blender_scene import frame_path, write_frame, write_scene
from splatface.models.training.synthetic.initial_points import RenderedView
from splatface.models.training.synthetic.performance import ActingConfig

__all__ = ["import_rendered", "read_video_spec", "write_render_folder"]

_FILM_FILE = "film.json"


def write_render_folder(staged: ActorScene, folder: Path, progress: Progress) -> None:
    """Write scene and frames into a film folder; goes on where it was stopped.

    Raises:
        ActorError: when the folder holds another film, or the disk refuses.
    """
    held = folder / _FILM_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if held.exists() and read_video_spec(folder) != staged.film:
            raise ActorError(
                f"{folder}: expected a new folder or one of this film, found another: choose another folder"
            )
        held.write_text(json.dumps(asdict(staged.film)), "utf-8")
        write_scene(folder, staged.body, staged.camera)
        moments = staged.chosen.moments.tolist()
        for row, moment in enumerate(moments):
            if not frame_path(folder, row).exists():
                write_frame(folder, row, staged.posed(moment))
            progress(row + 1, len(moments))
    except OSError as error:
        raise ActorError(
            f"{folder}: expected a folder to write into, found {error.strerror or error}: "
            "make room or choose another, then run the same command again"
        ) from error


def read_video_spec(folder: Path) -> ActorVideoSpec:
    """Return the film that a folder was prepared for.

    Raises:
        ActorError: when the folder holds none.
    """
    path = folder / _FILM_FILE
    try:
        values: Mapping[str, Any] = json.loads(path.read_text("utf-8"))
        return ActorVideoSpec(**{**values, "acting": ActingConfig(**values["acting"])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ActorError(
            f"{path}: expected the description of a prepared film, found none ({error}): prepare it first"
        ) from error


def import_rendered(staged: ActorScene, folder: Path, out: Path, progress: Progress) -> Dataset:
    """Make the data set `out` of a film folder whose pictures are all rendered; goes on where it was stopped.

    Raises:
        ActorError: when pictures are missing.
        DatasetError: when one is damaged, or `out` holds something else.
    """
    rows = range(len(staged.chosen.moments))
    missing = [row for row in rows if not _rendered(folder, row)]
    if missing:
        raise ActorError(
            f"{folder}: expected {len(rows)} rendered pictures, found {len(rows) - len(missing)}, first "
            f"missing {row_name(missing[0])}: run tools/film/render.py on it again, it goes on"
        )
    size = (staged.camera.width, staged.camera.height)
    writer = DatasetWriter(out, *size, f"film {staged.film.key()}")
    for row in rows:
        if not writer.has(row):
            writer.add(row, *_picture(folder, row, size))
        progress(row + 1, len(rows))
    return finish_dataset(
        staged, writer, _shot(staged, folder, size), read_png(folder, "background.png", size, 3)
    )


def _rendered(folder: Path, row: int) -> bool:
    return all((folder / part / row_name(row)).is_file() for part in (PICTURE_FOLDER, LABEL_FOLDER))


def _picture(folder: Path, row: int, size: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return picture and labels of a row; DatasetError for one that is damaged or of another size."""
    try:
        return (
            read_png(folder, f"{PICTURE_FOLDER}/{row_name(row)}", size, 3),
            read_png(folder, f"{LABEL_FOLDER}/{row_name(row)}", size, 1),
        )
    except DatasetError as error:
        raise DatasetError(
            f"{folder}: row {row}: delete its picture and render it again ({error})"
        ) from error


def _shot(staged: ActorScene, folder: Path, size: tuple[int, int]) -> RenderedView:
    """Return the rendered picture that is nearest to the face at rest."""
    features = frame_features(staged.performance)[staged.chosen.moments]
    row = int(np.argmin(np.square(features).sum(axis=1)))
    picture, labels = _picture(folder, row, size)
    return RenderedView(staged.posed(int(staged.chosen.moments[row])), picture, labels, staged.camera)
