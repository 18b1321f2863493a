"""dataset.yaml: what stands in a data set beside its tables, read with suspicion."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from splatface.models.camera import Camera
from splatface.models.errors import DatasetError, HeadError
from splatface.models.head.yaml_door import read_yaml, yaml_text
from splatface.models.messages import NS_PER_S
from splatface.models.training.dataset.checks import INTACT
from splatface.models.training.dataset.types import TEST, TRAIN, VAL, Dataset, FrameTable

__all__ = ["FORMAT", "VERSION", "YAML", "Description", "describe", "read_description"]

FORMAT, VERSION = "splatface-dataset", 2
_READABLE = (1, VERSION)  # in 1 the last control, jaw_side, was missing (tables.unpack)
YAML = "dataset.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """dataset.yaml, each value of the right kind."""

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
    """The text of dataset.yaml; `sha256` names every table, the sound and the list of pictures."""
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
    """First and last picture of each part, s: for people; the table says it picture by picture."""
    spans = {}
    for name, part in (("train", TRAIN), ("val", VAL), ("test", TEST)):
        times = frames.time_ns[frames.split == part] / NS_PER_S
        spans[name] = [round(float(times[0]), 3), round(float(times[-1]), 3)] if len(times) else []
    return spans


def read_description(content: bytes) -> Description:
    """Parse dataset.yaml; DatasetError where it is not one, is of another version or holds odd values."""
    try:
        data = read_yaml(content, Path(YAML))
    except HeadError as error:  # the door is the heads', the words are ours
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
        camera=_camera_of(_Fields(fields.get("camera", Mapping, "a mapping"), "camera.")),
        background=None if fields.data.get("background") == "background.png" else fields.row("background", 3),
        pivot_m=fields.row("pivot_m", 3),
        pictures=fields.get("pictures", int, "a whole number"),
        sha256=_digests(fields.get("sha256", Mapping, "a mapping")),
    )


def _camera_of(fields: "_Fields") -> Camera:
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
    """A mapping from a file, each value asked for by name and kind."""

    def __init__(self, data: object, at: str = "") -> None:
        if not isinstance(data, Mapping):
            raise DatasetError(f"{YAML}: {at}: expected a mapping, found {type(data).__name__}: {INTACT}")
        self.data: Mapping[str, Any] = data
        self.at = at

    def get(self, name: str, kind: type, wanted: str) -> Any:
        """The value called `name` if it is of that kind."""
        value = self.data.get(name)
        if not isinstance(value, kind) or isinstance(value, bool):
            found = "nothing" if name not in self.data else f"{type(value).__name__} {str(value)[:40]!r}"
            raise DatasetError(f"{YAML}: {self.at}{name}: expected {wanted}, found {found}: {INTACT}")
        return value

    def number(self, name: str) -> float:
        """The finite number called `name`."""
        value = self.get(name, int | float, "a number")  # type: ignore[arg-type]
        if not abs(value) < 2**53 or not math.isfinite(value):
            raise DatasetError(
                f"{YAML}: {self.at}{name}: expected a finite number, found {value!s:.40}: {INTACT}"
            )
        return float(value)

    def row(self, name: str, count: int) -> tuple[float, ...]:
        """The list of `count` numbers called `name`."""
        values = self.get(name, list, f"{count} numbers")
        if len(values) != count:
            raise DatasetError(
                f"{YAML}: {self.at}{name}: expected {count} numbers, found {len(values)}: {INTACT}"
            )
        inner = _Fields({str(i): value for i, value in enumerate(values)}, f"{self.at}{name}.")
        return tuple(inner.number(str(i)) for i in range(count))
