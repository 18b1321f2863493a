# SPDX-License-Identifier: Apache-2.0
"""Write Gaussians as the .ply of 3D Gaussian Splatting, which viewers and other trainers read."""

import os
from pathlib import Path

import numpy as np

from splatface.models.errors import HeadError
from splatface.models.head.head import Gaussians
from splatface.models.head.validation import check_gaussians
from splatface.models.storage import atomic_write

__all__ = ["ply_bytes", "write_ply"]


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


def ply_bytes(gaussians: Gaussians) -> bytes:
    """Return the content of a .ply with x y z nx ny nz f_dc_* f_rest_* opacity scale_* rot_*."""
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


def _names(rest_count: int) -> list[str]:
    names = ["x", "y", "z", "nx", "ny", "nz"]
    names += [f"f_dc_{i}" for i in range(3)] + [f"f_rest_{i}" for i in range(rest_count)]
    return [*names, "opacity", *(f"scale_{i}" for i in range(3)), *(f"rot_{i}" for i in range(4))]
