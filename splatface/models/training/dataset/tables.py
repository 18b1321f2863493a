"""Tables of a data set as safetensors: one tensor for each field of a FrameTable, MotionTrack or Points."""

from dataclasses import fields
from typing import Any, TypeVar

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from splatface.models.audio2motion.audio_to_mouth import CONTROLS
from splatface.models.errors import DatasetError
from splatface.models.training.dataset.checks import INTACT
from splatface.models.training.dataset.types import FrameTable, MotionTrack, Points

__all__ = ["FRAMES", "MAX_TABLE_BYTES", "MOTION", "POINTS", "pack", "unpack"]

FRAMES, MOTION, POINTS = "frames.safetensors", "motion.safetensors", "points.safetensors"
MAX_TABLE_BYTES = 2**30

Table = TypeVar("Table", FrameTable, MotionTrack, Points)


def pack(table: FrameTable | MotionTrack | Points) -> bytes:
    """The bytes of a table's file."""
    arrays = {field.name: np.ascontiguousarray(getattr(table, field.name)) for field in fields(table)}
    return bytes(safetensors.numpy.save(arrays))


def unpack(kind: type[Table], content: bytes, file: str) -> Table:
    """The table in a file's bytes; shapes stay unchecked.

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
    names = [field.name for field in fields(kind)]
    missing = [name for name in names if name not in loaded]
    if missing:
        raise DatasetError(
            f"{file}: expected the tensors {', '.join(names)}, found no {', '.join(missing)}: {INTACT}"
        )
    return kind(**{name: _complete(name, np.array(loaded[name])) for name in names})


def _complete(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """Tables of version 1 lack the last control, jaw_side: nobody looked for it, so it stays at rest."""
    lacks = name in ("controls", "control_modes") and array.ndim >= 2 and array.shape[1] == len(CONTROLS) - 1
    return np.pad(array, [(0, int(axis == 1)) for axis in range(array.ndim)]) if lacks else array
