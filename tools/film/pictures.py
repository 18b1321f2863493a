# SPDX-License-Identifier: Apache-2.0
"""8-bit pictures with numpy and Blender alone."""

import struct
import zlib
from pathlib import Path

import bpy
import numpy as np

__all__ = ["over", "read_png", "write_png"]

_EDGE_PX = 4


def over(picture: np.ndarray, labels: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Return the picture [H, W, 3]; away from the person the background itself, so that it never flickers."""
    person = labels > 0
    for axis in (0, 1):
        grown = person.copy()
        for step in range(1, _EDGE_PX + 1):
            grown |= np.roll(person, step, axis) | np.roll(person, -step, axis)
        person = grown
    return np.where(person[..., None], picture, background)


def read_png(path: Path) -> np.ndarray:
    """Return the bytes of a PNG as they are [H, W, 4] uint8, first row on top."""
    image = bpy.data.images.load(str(path), check_existing=False)
    image.colorspace_settings.name = "Non-Color"
    image.alpha_mode = "CHANNEL_PACKED"
    width, height = image.size
    values = np.empty(width * height * 4, np.float32)
    image.pixels.foreach_get(values)
    bpy.data.images.remove(image)
    return (values.reshape(height, width, 4)[::-1] * 255 + 0.5).astype(np.uint8)


def write_png(path: Path, picture: np.ndarray) -> None:
    """Write RGB [H, W, 3] or gray [H, W] uint8, at once or not at all."""
    height, width = picture.shape[:2]
    color_type = 2 if picture.ndim == 3 else 0
    rows = np.concatenate([np.zeros((height, 1), np.uint8), picture.reshape(height, -1)], 1)
    header = struct.pack(">IIBBBBB", width, height, 8, color_type, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n"
    for kind, body in ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 6)), (b"IEND", b"")):
        data += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    part = path.with_suffix(".part")
    part.write_bytes(data)
    part.replace(path)
