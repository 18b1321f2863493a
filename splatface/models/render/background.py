"""What stands behind a face: a color or a picture, named by a line of text."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import RenderError

__all__ = ["background_of"]


def background_of(text: str, size: tuple[int, int]) -> NDArray[np.float32] | None:
    """The background that `text` names.

    Args:
        text: empty for the head's own, a color such as `#2a3b4c`, or the path of a picture.
        size: width and height of the canvas; a picture is scaled to cover it and its middle is kept.

    Returns:
        None for the head's own, a color [3] or a picture [H, W, 3], RGB 0..1.

    Raises:
        RenderError: when it is neither a color nor a picture that can be read.
    """
    if not text:
        return None
    if text.startswith("#"):
        return _color(text)
    pixels = cv2.imread(str(Path(text).expanduser()), cv2.IMREAD_COLOR)
    if pixels is None:
        raise RenderError(
            f"background: expected a color such as #2a3b4c or a picture (png, jpg), found {text!r}: "
            "check the path"
        )
    width, height = size
    scale = max(width / pixels.shape[1], height / pixels.shape[0])
    fitted = (max(width, round(pixels.shape[1] * scale)), max(height, round(pixels.shape[0] * scale)))
    pixels = cv2.resize(pixels, fitted, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    left, top = (pixels.shape[1] - width) // 2, (pixels.shape[0] - height) // 2
    middle = pixels[top : top + height, left : left + width, ::-1]
    return np.ascontiguousarray(middle, np.float32) / np.float32(255)


def _color(text: str) -> NDArray[np.float32]:
    try:
        parts = bytes.fromhex(text[1:])
    except ValueError:
        parts = b""
    if len(parts) != 3:
        raise RenderError(f"background: expected a color such as #2a3b4c, found {text!r}")
    return np.frombuffer(parts, np.uint8).astype(np.float32) / np.float32(255)
