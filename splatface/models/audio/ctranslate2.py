"""Reads the tensors of a CTranslate2 model file (`model.bin`), without CTranslate2."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import EncoderError

__all__ = ["read_tensors"]

# The file's number for each type (CTranslate2, types.h); bfloat16 and int8 are in no model we read.
DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
NEWEST_BINARY = 6


class _Reader:
    def __init__(self, data: bytes, path: Path) -> None:
        self._data, self._path, self._at = memoryview(data), path, 0

    def bytes(self, count: int) -> memoryview:
        if self._at + count > len(self._data):
            raise EncoderError(f"{self._path}: ends in the middle of a tensor: install its package again")
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self, kind: str) -> int:
        (value,) = struct.unpack("<" + kind, self.bytes(struct.calcsize("<" + kind)))
        return int(value)

    def text(self) -> str:
        return bytes(self.bytes(self.number("H"))).rstrip(b"\0").decode()


def read_tensors(path: Path, wanted: Callable[[str], bool]) -> dict[str, NDArray[np.float32]]:
    """The tensors whose name `wanted` accepts, as float32 in the file's shapes.

    Raises EncoderError when the file is not CTranslate2's or is cut short.
    """
    reader = _Reader(path.read_bytes(), path)
    version = reader.number("I")
    if version > NEWEST_BINARY:
        raise EncoderError(
            f"{path}: expected a CTranslate2 file of version {NEWEST_BINARY} or less, found {version}"
        )
    reader.text()  # name of the specification
    reader.number("I")  # its revision
    tensors = {}
    for _ in range(reader.number("I")):
        name = reader.text()
        shape = [reader.number("I") for _ in range(reader.number("B"))]
        dtype = DTYPES.get(reader.number("B"))
        data = reader.bytes(reader.number("I"))
        if not wanted(name):
            continue
        if dtype is None:
            raise EncoderError(f"{path}: tensor {name} has a type we cannot read")
        tensors[name] = np.frombuffer(data, dtype).reshape(shape).astype(np.float32)
    return tensors
