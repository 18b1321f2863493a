"""A data set on disk, opened: the door through which everybody reads one.

A folder with dataset.yaml, frames.safetensors, motion.safetensors, points.safetensors (where known),
pictures/000000.png, labels/000000.png, pictures.sha256, background.png (where it is a picture), audio.wav and
features/<encoder>.safetensors (made when first asked for).
"""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import DatasetError
from splatface.models.head.yaml_door import MAX_YAML_BYTES
from splatface.models.training.dataset.checks import INTACT, check_dataset, check_points
from splatface.models.training.dataset.description import YAML, Description, read_description
from splatface.models.training.dataset.disk import plain_path, read_regular_file, sha256_of
from splatface.models.training.dataset.hearing import AUDIO, features, load_audio
from splatface.models.training.dataset.pictures import (
    LABEL_FOLDER,
    PICTURE_FOLDER,
    PictureCache,
    labels,
    picture,
    read_png,
    row_name,
)
from splatface.models.training.dataset.tables import FRAMES, MAX_TABLE_BYTES, MOTION, POINTS, unpack
from splatface.models.training.dataset.types import Dataset, FrameTable, MotionTrack, Points
from splatface.models.training.dataset.writer import (
    BACKGROUND_FILE,
    DIGESTS,
    UNFINISHED,
    DatasetWriter,
    save_dataset,
)

__all__ = [
    "DatasetWriter",
    "PictureCache",
    "features",
    "labels",
    "load_audio",
    "load_dataset",
    "picture",
    "points",
    "save_dataset",
]

_NEEDED = (FRAMES, MOTION, AUDIO, DIGESTS)
_KNOWN = (*_NEEDED, POINTS, BACKGROUND_FILE)


def load_dataset(folder: str | os.PathLike[str]) -> Dataset:
    """Open a data set and check all of it but the pixels (`splatface dataset check` looks at these too).

    Raises:
        DatasetError: when a file is missing, damaged, changed, of another version or not sound, in words a
            user can act on. Pictures, labels and sound stay on disk.
    """
    path = Path(folder)
    try:
        return _load(path)
    except DatasetError as error:
        raise DatasetError(f"{path}: {error}") from error
    except OSError as error:
        raise DatasetError(
            f"{path}: expected a readable data set, found {error.strerror or error}: "
            "check the path and its rights"
        ) from error


def points(dataset: Dataset) -> Points | None:
    """Where training may start; None when nobody knows.

    Raises:
        DatasetError: when the file is damaged.
    """
    if not (dataset.folder / POINTS).exists():
        return None
    found = unpack(Points, read_regular_file(dataset.folder, POINTS, MAX_TABLE_BYTES), POINTS)
    check_points(found)
    return found


def _load(folder: Path) -> Dataset:
    if not (folder / YAML).exists():
        raise _no_dataset(folder)
    description = read_description(read_regular_file(folder, YAML, MAX_YAML_BYTES))
    _check_files(folder, description)
    dataset = Dataset(
        folder=folder,
        name=description.name,
        source=description.source,
        license=description.license,
        consent=description.consent,
        camera=description.camera,
        fps=description.fps,
        background=_background(folder, description),
        pivot_m=np.array(description.pivot_m, np.float64),
        landmark_scheme=description.landmark_scheme,
        frames=unpack(FrameTable, read_regular_file(folder, FRAMES, MAX_TABLE_BYTES), FRAMES),
        motion=unpack(MotionTrack, read_regular_file(folder, MOTION, MAX_TABLE_BYTES), MOTION),
    )
    check_dataset(dataset)
    _check_pictures(dataset, description.pictures)
    return dataset


def _no_dataset(folder: Path) -> DatasetError:
    if not folder.is_dir():
        return DatasetError("expected the folder of a data set, found none: check the path")
    if (folder / UNFINISHED).exists():
        rows = len(list((folder / LABEL_FOLDER).glob("*.png")))
        return DatasetError(
            f"expected a finished data set, found one still being written ({rows} pictures so far): "
            "run the command that makes it again, it goes on from there"
        )
    return DatasetError(f"expected {YAML} in it, found none: give the folder of a data set")


def _check_files(folder: Path, description: Description) -> None:
    """Every table and the sound are those that dataset.yaml names by their sha256."""
    listed = description.sha256
    odd = [name for name in listed if name not in _KNOWN] + [name for name in _NEEDED if name not in listed]
    if odd:
        raise DatasetError(
            f"{YAML}: sha256: expected {', '.join(_NEEDED)}, found an odd {odd[0][:40]!r}: {INTACT}"
        )
    for name, digest in listed.items():
        if sha256_of(plain_path(folder, name)) != digest:
            raise DatasetError(
                f"{name}: expected the file that {YAML} names by its sha256, found another: it is truncated "
                f"or changed, {INTACT}"
            )
    if (folder / POINTS).exists() and POINTS not in listed:
        raise DatasetError(f"{POINTS}: expected it in {YAML}'s sha256, found it only in the folder: {INTACT}")


def _background(folder: Path, description: Description) -> NDArray[np.float32]:
    if description.background is not None:
        return np.array(description.background, np.float32)
    camera = description.camera
    image = read_png(folder, BACKGROUND_FILE, (camera.width, camera.height), channels=3)
    return image.astype(np.float32) / np.float32(255)


def _check_pictures(dataset: Dataset, count: int) -> None:
    if count != len(dataset.frames):
        raise DatasetError(
            f"{FRAMES}: expected {count} rows as {YAML} says, found {len(dataset.frames)}: {INTACT}"
        )
    for part in (PICTURE_FOLDER, LABEL_FOLDER):
        there = {entry.name for entry in os.scandir(dataset.folder / part) if entry.is_file()}
        missing = [row for row in range(count) if row_name(row) not in there]
        if missing:
            raise DatasetError(
                f"{part}: expected {count} pictures, found {count - len(missing)}, first missing "
                f"{row_name(missing[0])}: {INTACT}"
            )
