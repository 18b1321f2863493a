"""Tensors of a file of torch.save's first format, read without torch and without running what is in it."""

import collections
import pickle
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import SpeechError

__all__ = ["read_tensors"]

_MAGIC = 0x1950A86A20F9469CFC6C


class _Reader(pickle.Unpickler):
    """Knows the four names that a file of float tensors needs, and refuses all others."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self.storages: dict[str, int] = {}  # key to number of floats

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch", "FloatStorage"):
            return "float"
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda key, offset, shape, stride, *_: (key, offset, shape, stride)
        raise pickle.UnpicklingError(f"{module}.{name} has no place in a file of weights")

    def persistent_load(self, pid: Any) -> str:
        _, _, key, _, count, _ = pid
        self.storages[str(key)] = int(count)
        return str(key)


def read_tensors(path: Path, entry: str) -> dict[str, NDArray[np.float32]]:
    """The float tensors below a key of the file's dictionary.

    Raises:
        SpeechError: when the file is damaged or holds anything else.
    """
    try:
        with path.open("rb") as file:
            return _tensors(file, entry)
    except (OSError, pickle.UnpicklingError, ValueError, KeyError, TypeError, EOFError) as error:
        raise SpeechError(
            f"{path}: expected a file of weights, found it damaged ({error}): install it again"
        ) from None


def _tensors(file: BinaryIO, entry: str) -> dict[str, NDArray[np.float32]]:
    magic, _, _ = (_Reader(file).load() for _ in range(3))
    if magic != _MAGIC:
        raise ValueError("another format")
    reader = _Reader(file)
    described = reader.load()[entry]
    storages = {}
    for key in _Reader(file).load():
        count = int.from_bytes(file.read(8), "little")
        if count != reader.storages[key]:
            raise ValueError("truncated")
        storages[key] = np.frombuffer(file.read(4 * count), "<f4", count)
    out = {}
    for name, (key, offset, shape, stride) in described.items():
        steps = [4 * step for step in stride]
        out[name] = np.lib.stride_tricks.as_strided(storages[key][offset:], shape, steps).copy()
    return out
