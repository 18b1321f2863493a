"""The face in a window of the screen, through OpenCV."""

import os

import cv2
import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import RenderError

__all__ = ["Window", "letterboxed"]


def letterboxed(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """The whole picture [H, W, 3] as large as it fits, in the middle of a black canvas [height, width, 3]."""
    if width < 1 or height < 1:  # the window has no size before its first picture
        return image
    scale = min(width / image.shape[1], height / image.shape[0])
    inner = (max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1))
    canvas = np.zeros((height, width, 3), np.uint8)
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    canvas[top : top + inner[1], left : left + inner[0]] = cv2.resize(image, inner)
    return canvas


class Window:
    """One window, letterboxed on black."""

    def __init__(self, title: str, fullscreen: bool) -> None:
        if not os.environ.get("DISPLAY") and not os.environ.get("WAYLAND_DISPLAY"):
            raise RenderError(
                "display: expected a screen for the window, found neither DISPLAY nor WAYLAND_DISPLAY: "
                "start it from a desktop session or use show:=page"
            )
        self.title = title
        cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_FREERATIO)
        if fullscreen:
            cv2.setWindowProperty(title, cv2.WND_PROP_FULLSCREEN, cv2.WINDOW_FULLSCREEN)
        self._shown = False

    def show(self, image: NDArray[np.uint8]) -> bool:
        """Show a picture [H, W, 3] RGB; False once the person has closed the window or pressed Escape."""
        if self._shown and cv2.getWindowProperty(self.title, cv2.WND_PROP_VISIBLE) < 1:
            return False
        _, _, width, height = cv2.getWindowImageRect(self.title)
        cv2.imshow(self.title, letterboxed(image, width, height)[..., ::-1])
        self._shown = True
        return cv2.waitKey(1) != 27

    def close(self) -> None:
        """Take the window away."""
        cv2.destroyAllWindows()
