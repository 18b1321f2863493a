"""The face in a window of the screen, through OpenCV."""

import os

import cv2
import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import RenderError

__all__ = ["Window"]


class Window:
    """One window, letterboxed on black."""

    def __init__(self, title: str, fullscreen: bool) -> None:
        if not os.environ.get("DISPLAY") and not os.environ.get("WAYLAND_DISPLAY"):
            raise RenderError(
                "display: expected a screen for the window, found neither DISPLAY nor WAYLAND_DISPLAY: "
                "start it from a desktop session or use show:=page"
            )
        self.title = title
        cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
        if fullscreen:
            cv2.setWindowProperty(title, cv2.WND_PROP_FULLSCREEN, cv2.WINDOW_FULLSCREEN)
        self._shown = False

    def show(self, image: NDArray[np.uint8]) -> bool:
        """Show a picture [H, W, 3] RGB; False once the person has closed the window or pressed Escape."""
        if self._shown and cv2.getWindowProperty(self.title, cv2.WND_PROP_VISIBLE) < 1:
            return False
        cv2.imshow(self.title, image[..., ::-1])
        self._shown = True
        return cv2.waitKey(1) != 27

    def close(self) -> None:
        """Take the window away."""
        cv2.destroyAllWindows()
