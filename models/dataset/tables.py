"""Tables of a data set as safetensors: one tensor for each field of a FrameTable, MotionTrack or Points."""

from dataclasses import fields
from typing import TypeVar

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from splatface.models.dataset.checks import INTACT
from splatface.models.dataset.types import FrameTable, MotionTrack, Points
from splatface.models.errors import DatasetError

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
    names = [field.name for field in fields(kind)]
    missing = [name for name in names if name not in loaded]
    if missing:
        raise DatasetError(
            f"{file}: expected the tensors {', '.join(names)}, found no {', '.join(missing)}: {INTACT}"
        )
    return kind(**{name: np.array(loaded[name]) for name in names})
