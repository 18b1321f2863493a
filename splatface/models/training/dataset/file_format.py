# SPDX-License-Identifier: Apache-2.0
"""Files of a data set: dataset.yaml, tensor tables, atomic writes and guarded reads."""

import hashlib
import math
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from splatface.models.audio2motion.audio_to_mouth import CONTROLS
from splatface.models.camera import Camera
from splatface.models.errors import DatasetError, HeadError
from splatface.models.head.head_yaml import read_yaml, yaml_text
from splatface.models.messages import NS_PER_S
from splatface.models.training.dataset.types import (
    INTACT,
    TEST,
    TRAIN,
    VAL,
    Dataset,
    FrameTable,
    MotionTrack,
    Points,
)

__all__ = [
    "BACKGROUND_FILE",
    "DIGESTS",
    "FORMAT",
    "FRAMES",
    "MAX_TABLE_BYTES",
    "MOTION",
    "POINTS",
    "VERSION",
    "YAML",
    "Description",
    "describe",
    "disk_error",
    "pack",
    "plain_path",
    "read_description",
    "read_regular_file",
    "sha256_of",
    "unpack",
]

_BLOCK = 1 << 20


def plain_path(folder: Path, name: str) -> Path:
    """Return the path of a file that exists in the folder itself; DatasetError otherwise."""
    path = folder / name
    if not path.is_file():
        raise DatasetError(f"{name}: expected a file, found none: {INTACT}")
    if not path.resolve().is_relative_to(folder.resolve()):
        raise DatasetError(
            f"{name}: expected a file in the folder, found a link out of it: copy the file there"
        )
    return path


def read_regular_file(folder: Path, name: str, limit: int) -> bytes:
    """Read the content of such a file of at most `limit` bytes.

    Raises:
        DatasetError: when it is missing, too large, a link out of the folder, or no file at all.
    """
    # Should it become a pipe after the look: without O_NONBLOCK opening it would wait for ever.
    with open(os.open(plain_path(folder, name), os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_size > limit:
            found = f"{status.st_size} bytes" if stat.S_ISREG(status.st_mode) else "something else"
            raise DatasetError(f"{name}: expected a file of at most {limit} bytes, found {found}: {INTACT}")
        return file.read(status.st_size)


def sha256_of(path: Path) -> str:
    """Compute the hex digest of a file, with a mebibyte in memory at a time."""
    digest = hashlib.sha256()
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def disk_error(folder: Path, error: OSError) -> DatasetError:
    """Return the error for a disk that is full or not writable."""
    return DatasetError(
        f"{folder}: expected to write a data set, found {error.strerror or error}: free space or mend the "
        "rights, then run the same command again to go on"
    )


FRAMES, MOTION, POINTS = "frames.safetensors", "motion.safetensors", "points.safetensors"
MAX_TABLE_BYTES = 2**30
_TENSOR_NAMES = {"skinning_weight": "skin"}  # in the file, where it differs from the field

Table = TypeVar("Table", FrameTable, MotionTrack, Points)


def pack(table: FrameTable | MotionTrack | Points) -> bytes:
    """Serialize a table to the bytes of its file."""
    arrays = {
        _TENSOR_NAMES.get(field.name, field.name): np.ascontiguousarray(getattr(table, field.name))
        for field in fields(table)
    }
    return bytes(safetensors.numpy.save(arrays))


def unpack(kind: type[Table], content: bytes, file: str) -> Table:
    """Deserialize a table from a file's bytes; shapes are not checked.

    Raises:
        DatasetError: when it is damaged or lacks a tensor.
    """
    try:
        loaded = safetensors.numpy.load(content)
    # Kinds numpy lacks end as KeyError or TypeError, odd shapes as ValueError.
    except (SafetensorError, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise DatasetError(f"{file}: expected safetensors, found {str(error)[:120]}: {INTACT}") from error
    if "colours" in loaded:  # the spelling of data sets made before 0.2
        loaded["colors"] = loaded.pop("colours")
    names = {field.name: _TENSOR_NAMES.get(field.name, field.name) for field in fields(kind)}
    missing = [name for name in names.values() if name not in loaded]
    if missing:
        raise DatasetError(
            f"{file}: expected the tensors {', '.join(names.values())}, found no {', '.join(missing)}: "
            f"{INTACT}"
        )
    return kind(**{name: _upgrade_controls(name, np.array(loaded[tensor])) for name, tensor in names.items()})


def _upgrade_controls(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """Add the last control, jaw_side, at rest, which tables of version 1 lack."""
    lacks = name in ("controls", "control_modes") and array.ndim >= 2 and array.shape[1] == len(CONTROLS) - 1
    return np.pad(array, [(0, int(axis == 1)) for axis in range(array.ndim)]) if lacks else array


FORMAT, VERSION = "splatface-dataset", 2
_READABLE = (1, VERSION)  # in 1 the last control, jaw_side, was missing (tables.unpack)
YAML = "dataset.yaml"
DIGESTS = "pictures.sha256"  # `sha256sum -c pictures.sha256` checks every image
BACKGROUND_FILE = "background.png"


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """Content of dataset.yaml, with checked types."""

    name: str
    source: str
    license: str
    consent: str
    fps: float
    camera: Camera
    background: tuple[float, ...] | None  # None: background.png holds it
    pivot_m: tuple[float, ...]
    landmark_scheme: str
    pictures: int
    sha256: Mapping[str, str]  # file name in the folder to hex digest


def describe(dataset: Dataset, sha256: Mapping[str, str]) -> bytes:
    """Return the text of dataset.yaml; `sha256` has every table, the audio and the list of images."""
    camera = dataset.camera
    color = [float(x) for x in dataset.background] if dataset.background.ndim == 1 else "background.png"
    plain: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "name": dataset.name,
        "source": dataset.source,
        "license": dataset.license,
        "consent": dataset.consent,
        "fps": float(dataset.fps),
        "pictures": len(dataset.frames),
        "camera": {
            **{name: int(getattr(camera, name)) for name in ("width", "height")},
            **{name: float(getattr(camera, name)) for name in ("fx", "fy", "cx", "cy")},
            "T_camera_world": [[float(x) for x in row] for row in camera.T_camera_world],
        },
        "pivot_m": [float(x) for x in dataset.pivot_m],
        "background": color,
        "landmark_scheme": dataset.landmark_scheme,
        "split": _spans_s(dataset.frames),
        "sha256": dict(sha256),
    }
    return yaml_text(plain).encode()


def _spans_s(frames: FrameTable) -> dict[str, list[float]]:
    """Return times of the first and last frame of each split, s, for readers of the file."""
    spans = {}
    for name, part in (("train", TRAIN), ("val", VAL), ("test", TEST)):
        times = frames.time_ns[frames.split == part] / NS_PER_S
        spans[name] = [round(float(times[0]), 3), round(float(times[-1]), 3)] if len(times) else []
    return spans


def read_description(content: bytes) -> Description:
    """Parse dataset.yaml; DatasetError when it is another file, version, or has invalid values."""
    try:
        data = read_yaml(content, Path(YAML))
    except HeadError as error:  # the same YAML reader as heads, another error
        reason = " ".join(str(error.__cause__ or "more bytes than any has").split())[:200]
        raise DatasetError(f"{YAML}: expected plain YAML, found {reason}: {INTACT}") from error
    if isinstance(data, dict) and "licence" in data:  # the spelling of data sets made before 0.2
        data["license"] = data.pop("licence")
    fields = _Fields(data)
    if fields.get("format", str, "text") != FORMAT:
        raise DatasetError(f"{YAML}: expected format {FORMAT}, found another: give the folder of a data set")
    version = fields.get("version", int, "a whole number")
    if version not in _READABLE:
        raise DatasetError(
            f"{YAML}: expected version {VERSION}, found {version}: "
            + ("update splatface" if version > VERSION else "make the data set again")
        )
    texts = ("name", "source", "license", "consent", "landmark_scheme")
    return Description(
        **{name: fields.get(name, str, "text") for name in texts},
        fps=fields.number("fps"),
        camera=_parse_camera(_Fields(fields.get("camera", Mapping, "a mapping"), "camera.")),
        background=None if fields.data.get("background") == "background.png" else fields.row("background", 3),
        pivot_m=fields.row("pivot_m", 3),
        pictures=fields.get("pictures", int, "a whole number"),
        sha256=_digests(fields.get("sha256", Mapping, "a mapping")),
    )


def _parse_camera(fields: "_Fields") -> Camera:
    rows = fields.get("T_camera_world", list, "four rows")
    matrix = [_Fields({"row": row}, "camera.T_camera_world.").row("row", 4) for row in rows[:5]]
    if len(matrix) != 4:
        raise DatasetError(f"{YAML}: camera.T_camera_world: expected 4 rows, found {len(rows)}: {INTACT}")
    return Camera(
        width=fields.get("width", int, "a whole number"),
        height=fields.get("height", int, "a whole number"),
        **{name: fields.number(name) for name in ("fx", "fy", "cx", "cy")},
        T_camera_world=np.array(matrix, np.float64),
    )


def _digests(data: Mapping[Any, Any]) -> dict[str, str]:
    fields = _Fields(data, "sha256.")
    return {str(name): fields.get(name, str, "a digest") for name in data}


class _Fields:
    """Mapping from a file with type-checked access."""

    def __init__(self, data: object, at: str = "") -> None:
        if not isinstance(data, Mapping):
            raise DatasetError(f"{YAML}: {at}: expected a mapping, found {type(data).__name__}: {INTACT}")
        self.data: Mapping[str, Any] = data
        self.at = at

    def get(self, name: str, kind: type, wanted: str) -> Any:
        """Return the value called `name` if it is of that type."""
        value = self.data.get(name)
        if not isinstance(value, kind) or isinstance(value, bool):
            found = "nothing" if name not in self.data else f"{type(value).__name__} {str(value)[:40]!r}"
            raise DatasetError(f"{YAML}: {self.at}{name}: expected {wanted}, found {found}: {INTACT}")
        return value

    def number(self, name: str) -> float:
        """Return the finite number called `name`."""
        value = self.get(name, int | float, "a number")  # type: ignore[arg-type]
        if not abs(value) < 2**53 or not math.isfinite(value):
            raise DatasetError(
                f"{YAML}: {self.at}{name}: expected a finite number, found {value!s:.40}: {INTACT}"
            )
        return float(value)

    def row(self, name: str, count: int) -> tuple[float, ...]:
        """Return the list of `count` numbers called `name`."""
        values = self.get(name, list, f"{count} numbers")
        if len(values) != count:
            raise DatasetError(
                f"{YAML}: {self.at}{name}: expected {count} numbers, found {len(values)}: {INTACT}"
            )
        inner = _Fields({str(i): value for i, value in enumerate(values)}, f"{self.at}{name}.")
        return tuple(inner.number(str(i)) for i in range(count))
