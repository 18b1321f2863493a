# SPDX-License-Identifier: Apache-2.0
"""Data set on disk: load, write row by row, save."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import DatasetError
from splatface.models.head.head_yaml import MAX_YAML_BYTES
from splatface.models.storage import PART, atomic_write
from splatface.models.training.dataset.dataset_audio import (
    AUDIO,
    FeatureStream,
    wav_bytes,
    write_features,
)
from splatface.models.training.dataset.file_format import (
    BACKGROUND_FILE,
    DIGESTS,
    FRAMES,
    MAX_TABLE_BYTES,
    MOTION,
    POINTS,
    YAML,
    Description,
    describe,
    disk_error,
    pack,
    plain_path,
    read_description,
    read_regular_file,
    sha256_of,
    unpack,
)
from splatface.models.training.dataset.frame_images import (
    LABEL_FOLDER,
    PICTURE_FOLDER,
    is_whole_png,
    png_bytes,
    read_png,
    row_name,
)
from splatface.models.training.dataset.types import (
    INTACT,
    LABELS,
    MAX_SIDE_PX,
    Dataset,
    FrameTable,
    MotionTrack,
    Points,
    check_dataset,
    check_points,
)
from splatface.models.typing import UInt8Array

__all__ = ["UNFINISHED", "DatasetWriter", "load_dataset", "load_points", "save_dataset"]

_NEEDED = (FRAMES, MOTION, AUDIO, DIGESTS)
_KNOWN = (*_NEEDED, POINTS, BACKGROUND_FILE)


def load_dataset(folder: str | os.PathLike[str]) -> Dataset:
    """Load a data set and check all of it but the pixels (`splatface dataset check` checks these too).

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


def load_points(dataset: Dataset) -> Points | None:
    """Load the initial points; None when there are none.

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
    """Check the sha256 of every table and the audio in dataset.yaml."""
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


UNFINISHED = "unfinished.txt"  # there while the data set is being written


class DatasetWriter:
    """Writer of a data set's images, one by one, in any order; it continues an interrupted one.

    A killed writer leaves complete images only; a new one with the same key and size finds them.
    """

    def __init__(self, folder: Path, width: int, height: int, key: str = "") -> None:
        """Create a data set or continue one.

        Args:
            folder: new, empty, or left unfinished by a writer of the same key and size.
            width: of every picture, px.
            height: of every picture, px.
            key: says what is being made (a configuration's digest), so that two films never mix.

        Raises:
            DatasetError: when the folder holds something else, or the disk refuses.
        """
        if not (1 <= width <= MAX_SIDE_PX and 1 <= height <= MAX_SIDE_PX):
            raise DatasetError(
                f"pictures: expected sides of 1..{MAX_SIDE_PX} px, found {width}x{height}: scale them"
            )
        self.folder = folder
        self._shape = (height, width)
        note = f"splatface data set, being written\n{width}x{height}\n{key}\n"
        try:
            _mark_unfinished(folder, note.encode())
            for name in (PICTURE_FOLDER, LABEL_FOLDER):
                (folder / name).mkdir(exist_ok=True)
                for part in (folder / name).glob(f"*{PART}"):
                    part.unlink()
        except OSError as error:
            raise disk_error(folder, error) from error

    def has(self, row: int) -> bool:
        """Tell whether the row's image and labels are complete."""
        return all(
            is_whole_png(self.folder / part / row_name(row)) for part in (PICTURE_FOLDER, LABEL_FOLDER)
        )

    def read(self, row: int) -> tuple[UInt8Array, UInt8Array]:
        """Read the image [H, W, 3] and labels [H, W] of a row; DatasetError when it was not added."""
        size = self._shape[::-1]
        image = read_png(self.folder, f"{PICTURE_FOLDER}/{row_name(row)}", size, channels=3)
        return image, read_png(self.folder, f"{LABEL_FOLDER}/{row_name(row)}", size, channels=1)

    def add(self, row: int, picture: UInt8Array, labels: UInt8Array) -> None:
        """Write the image [H, W, 3] RGB and the labels [H, W] of a row; an old one is replaced.

        Raises:
            DatasetError: when they do not fit, or the disk refuses; all rows before are kept.
        """
        if row < 0 or picture.shape != (*self._shape, 3) or labels.shape != self._shape:
            raise DatasetError(
                f"row {row}: expected a picture {[*self._shape, 3]} and labels {list(self._shape)}, found "
                f"{list(picture.shape)} and {list(labels.shape)}: draw them with the data set's camera"
            )
        if labels.dtype != np.uint8 or labels.max() >= len(LABELS):
            raise DatasetError(
                f"row {row}: expected uint8 labels 0..{len(LABELS) - 1}, found {labels.dtype} up to "
                f"{labels.max()}: use the numbers of LABELS"
            )
        try:
            for part, image in ((PICTURE_FOLDER, picture), (LABEL_FOLDER, labels)):
                atomic_write(self.folder / part / row_name(row), png_bytes(image), fsync=False)
        except OSError as error:
            raise disk_error(self.folder, error) from error

    def finish(
        self,
        dataset: Dataset,
        audio: NDArray[np.float32],
        points: Points | None = None,
        features: Mapping[str, FeatureStream] | None = None,
    ) -> Dataset:
        """Write everything but the images, dataset.yaml last; return the data set in its folder.

        Args:
            dataset: as many frames as pictures were added; its `folder` is not looked at.
            audio: [n] samples at 16 kHz, the first at film time 0.
            points: where training may start.
            features: of other encoders, by name.

        Raises:
            DatasetError: when something is not sound or a picture is missing; nothing is lost.
        """
        target = replace(dataset, folder=self.folder)
        check_dataset(target)
        if (target.camera.height, target.camera.width) != self._shape:
            raise DatasetError(
                f"camera: expected {self._shape[::-1]} px as the pictures, found another: scale it"
            )
        missing = [row for row in range(len(target.frames)) if not self.has(row)]
        if missing:
            raise DatasetError(
                f"{self.folder}: expected {len(target.frames)} pictures, found none for {len(missing)} rows, "
                f"first {missing[0]}: add them"
            )
        if points is not None:
            check_points(points)
        try:
            _write_tables(target, audio, points, features or {})
        except OSError as error:
            raise disk_error(self.folder, error) from error
        return target


def save_dataset(
    dataset: Dataset,
    points: Points | None,
    audio: NDArray[np.float32],
    pictures: Iterable[tuple[UInt8Array, UInt8Array]],
) -> Dataset:
    """Write a data set to `dataset.folder`; `pictures` iterates over (image, labels) of the rows in order.

    Raises DatasetError like `DatasetWriter`.
    """
    camera = dataset.camera
    writer = DatasetWriter(dataset.folder, camera.width, camera.height)
    for row, (image, labels) in enumerate(pictures):
        writer.add(row, image, labels)
    return writer.finish(dataset, audio, points)


def _mark_unfinished(folder: Path, note: bytes) -> None:
    """Mark the folder as an unfinished data set, or check that it is this one."""
    if (folder / YAML).exists():
        raise DatasetError(
            f"{folder}: expected a new folder, found a finished data set: choose another or delete it"
        )
    marker = folder / UNFINISHED
    if marker.is_file():
        found = marker.read_bytes()[: 1 << 16]
        if found != note:
            raise DatasetError(
                f"{folder}: expected an unfinished data set of the same making, found one of another: "
                "repeat the command that began it, choose another folder or delete it"
            )
        return
    leftovers = (
        [path for path in folder.iterdir() if path.name != UNFINISHED + PART] if folder.exists() else []
    )
    if leftovers:
        raise DatasetError(
            f"{folder}: expected a new or empty folder, found {leftovers[0].name} in it: choose another"
        )
    folder.mkdir(parents=True, exist_ok=True)
    atomic_write(marker, note)


def _write_tables(
    dataset: Dataset, audio: NDArray[np.float32], points: Points | None, features: Mapping[str, FeatureStream]
) -> None:
    contents = {
        AUDIO: wav_bytes(audio),
        FRAMES: pack(dataset.frames),
        MOTION: pack(dataset.motion),
        DIGESTS: _digests(dataset),
    }
    if points is not None:
        contents[POINTS] = pack(points)
    if dataset.background.ndim == 3:
        contents[BACKGROUND_FILE] = png_bytes((dataset.background * 255 + 0.5).astype(np.uint8))
    for name, content in contents.items():
        atomic_write(dataset.folder / name, content)
    for encoder, (values, centers_ns) in features.items():
        write_features(dataset.folder, encoder, values, centers_ns)
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    atomic_write(dataset.folder / YAML, describe(dataset, digests))
    (dataset.folder / UNFINISHED).unlink(missing_ok=True)


def _digests(dataset: Dataset) -> bytes:
    """Return a line "digest  name" for each image, in the format of `sha256sum`."""
    names = [
        f"{part}/{row_name(row)}"
        for part in (PICTURE_FOLDER, LABEL_FOLDER)
        for row in range(len(dataset.frames))
    ]
    return "".join(f"{sha256_of(dataset.folder / name)}  {name}\n" for name in names).encode()
