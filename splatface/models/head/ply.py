"""The usual 3DGS .ply: what viewers and other trainers read and write."""

import os
import stat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import HeadError
from splatface.models.head.head import Gaussians
from splatface.models.head.validation import MAX_GAUSSIANS, SH_SIZES, check_gaussians
from splatface.models.storage import atomic_write

__all__ = ["ply_bytes", "ply_of_bytes", "read_ply", "write_ply"]

MAX_HEADER_BYTES = 16 * 1024
_SIZES = {
    "char": "i1", "uchar": "u1", "int8": "i1", "uint8": "u1",
    "short": "<i2", "ushort": "<u2", "int16": "<i2", "uint16": "<u2",
    "int": "<i4", "uint": "<u4", "int32": "<i4", "uint32": "<u4",
    "float": "<f4", "float32": "<f4", "double": "<f8", "float64": "<f8",
}  # fmt: skip


def write_ply(gaussians: Gaussians, path: str | os.PathLike[str]) -> None:
    """Write Gaussians as the .ply of the 3DGS reference (Kerbl et al. 2023), exact to the last bit.

    Raises:
        HeadError: when they are not sound or the disk refuses.
    """
    target = Path(path)
    content = ply_bytes(gaussians)
    try:
        atomic_write(target, content, fsync=False)
    except OSError as error:
        raise HeadError(
            f"{target}: expected to write {len(content)} bytes, found {error.strerror or error}: "
            "free space or choose another place"
        ) from error


def read_ply(path: str | os.PathLike[str]) -> Gaussians:
    """Read a 3DGS .ply (binary little endian, SH degree 0..3).

    Raises:
        HeadError: when it is missing, of another kind, truncated or holds unusable numbers.
    """
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise HeadError(f"{path}: expected a plain file, found something else: give a .ply file")
            # One Gaussian of degree 3 takes 248 bytes; nothing larger could be used.
            content = file.read(min(status.st_size, MAX_HEADER_BYTES + MAX_GAUSSIANS * 256))
        return ply_of_bytes(content)
    except HeadError as error:
        raise HeadError(f"{path}: {error}") from error
    except (OSError, ValueError) as error:
        raise HeadError(f"{path}: expected a .ply file, found {error}: check the path") from error


def ply_bytes(gaussians: Gaussians) -> bytes:
    """The content of a .ply with x y z nx ny nz f_dc_* f_rest_* opacity scale_* rot_*."""
    check_gaussians(gaussians)
    g, count = gaussians, len(gaussians)
    # f_rest_* runs through all red ones, then green, then blue.
    rest = g.sh[:, 1:].transpose(0, 2, 1).reshape(count, -1)
    normals = np.zeros((count, 3), np.float32)
    columns = [g.means, normals, g.sh[:, 0], rest, g.opacity_logits[:, None], g.log_scales, g.quats]
    names = _names(rest.shape[1])
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {count}"]
    lines += [f"property float {name}" for name in names]
    header = "\n".join([*lines, "end_header", ""])
    return header.encode("ascii") + np.concatenate(columns, axis=1).astype("<f4").tobytes()


def ply_of_bytes(content: bytes) -> Gaussians:
    """Gaussians from the content of a .ply; properties may come in any order, others are left out."""
    count, layout, start = _header(content)
    if len(content) - start < count * layout.itemsize:
        raise HeadError(
            f"ply: expected {count} Gaussians of {layout.itemsize} bytes, "
            f"found {len(content) - start} bytes: the file is truncated, take an intact copy"
        )
    rows = np.frombuffer(content, layout, count, start)
    rest_count = sum(name.startswith("f_rest_") for name in layout.names or ())
    wanted = _names(rest_count, normals=False)
    missing = [name for name in wanted if name not in (layout.names or ())]
    if missing or rest_count // 3 + 1 not in SH_SIZES or rest_count % 3:
        raise HeadError(
            f"ply: expected x y z, f_dc_0..2, f_rest_0.. (0, 9, 24 or 45), opacity, scale_0..2, rot_0..3, "
            f"found {rest_count} f_rest and none called {', '.join(missing) or '-'}: "
            "export it as 3D Gaussian Splatting"
        )

    def column(*names: str) -> NDArray[np.float32]:
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused below
            return np.stack([rows[name].astype(np.float32) for name in names], axis=1)

    rest = column(*wanted[6 : 6 + rest_count]) if rest_count else np.zeros((count, 0), np.float32)
    color = column("f_dc_0", "f_dc_1", "f_dc_2")[:, None]
    gaussians = Gaussians(
        means=column("x", "y", "z"),
        quats=column("rot_0", "rot_1", "rot_2", "rot_3"),
        log_scales=column("scale_0", "scale_1", "scale_2"),
        opacity_logits=column("opacity")[:, 0],
        sh=np.concatenate([color, rest.reshape(count, 3, -1).transpose(0, 2, 1)], axis=1),
    )
    check_gaussians(gaussians)
    return gaussians


def _names(rest_count: int, *, normals: bool = True) -> list[str]:
    names = ["x", "y", "z", *(["nx", "ny", "nz"] if normals else [])]
    names += [f"f_dc_{i}" for i in range(3)] + [f"f_rest_{i}" for i in range(rest_count)]
    return [*names, "opacity", *(f"scale_{i}" for i in range(3)), *(f"rot_{i}" for i in range(4))]


def _header(content: bytes) -> tuple[int, np.dtype[np.void], int]:
    """Number of vertices, layout of one, and where the first begins."""
    end = content.find(b"end_header\n", 0, MAX_HEADER_BYTES)
    lines = content[: max(end, 0)].decode("ascii", errors="replace").split("\n")
    if end < 0 or lines[0].strip() != "ply":
        raise HeadError(
            "ply: expected a header from 'ply' to 'end_header', found none: give a 3D Gaussian Splatting .ply"
        )
    words = [line.split() for line in lines[1:] if line.split() and line.split()[0] != "comment"]
    if words[:1] != [["format", "binary_little_endian", "1.0"]]:
        found = " ".join(words[0])[:60] if words else "none"
        raise HeadError(f"ply: expected format binary_little_endian 1.0, found {found}: export it as binary")
    return _vertices(words), _layout(words[2:]), end + len(b"end_header\n")


def _vertices(words: list[list[str]]) -> int:
    found = words[1] if len(words) > 1 else []
    if found[:2] == ["element", "vertex"] and len(found) == 3 and found[2].isdecimal() and len(found[2]) < 12:
        count = int(found[2])
        if 1 <= count <= MAX_GAUSSIANS:
            return count
    raise HeadError(
        f"ply: expected 'element vertex N' first, N in 1..{MAX_GAUSSIANS}, found {' '.join(found)[:60]!r}: "
        "export the Gaussians alone"
    )


def _layout(words: list[list[str]]) -> np.dtype[np.void]:
    fields: dict[str, str] = {}
    for line in words:
        if line[0] in ("element", "obj_info"):  # what follows the vertices is not read
            break
        if len(line) != 3 or line[0] != "property" or line[1] not in _SIZES or line[2] in fields:
            raise HeadError(
                f"ply: expected 'property TYPE NAME', each once, found {' '.join(line)[:60]!r}: "
                "export it as 3D Gaussian Splatting"
            )
        fields[line[2]] = _SIZES[line[1]]
    return np.dtype(list(fields.items()))
