"""Files of a data set, read with suspicion and written whole."""

import hashlib
import os
import stat
from pathlib import Path

from splatface.models.errors import DatasetError
from splatface.models.training.dataset.checks import INTACT

__all__ = ["PART", "atomic_write", "disk_error", "plain_path", "read_regular_file", "sha256_of"]

PART = ".part"  # how the name of a file ends while it is being written
_BLOCK = 1 << 20


def plain_path(folder: Path, name: str) -> Path:
    """The path of a file that is there and lies in the folder itself; DatasetError otherwise."""
    path = folder / name
    if not path.is_file():
        raise DatasetError(f"{name}: expected a file, found none: {INTACT}")
    if not path.resolve().is_relative_to(folder.resolve()):
        raise DatasetError(
            f"{name}: expected a file in the folder, found a link out of it: copy the file there"
        )
    return path


def read_regular_file(folder: Path, name: str, limit: int) -> bytes:
    """The content of such a file of at most `limit` bytes.

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
    """Hex digest of a file, a mebibyte in memory at a time."""
    digest = hashlib.sha256()
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def atomic_write(path: Path, content: bytes, *, fsync: bool = True) -> None:
    """Write a file so that its name only ever shows all of it.

    settled: wait until it lies on the disk (not for pictures, which a continued writing checks again).
    """
    part = path.with_name(path.name + PART)
    with part.open("wb") as file:
        file.write(content)
        if fsync:
            file.flush()
            os.fsync(file.fileno())
    part.replace(path)


def disk_error(folder: Path, error: OSError) -> DatasetError:
    """What to tell a user whose disk is full or whose rights do not suffice."""
    return DatasetError(
        f"{folder}: expected to write a data set, found {error.strerror or error}: free space or mend the "
        "rights, then run the same command again to go on"
    )
