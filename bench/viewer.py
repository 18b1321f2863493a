"""A viewer of the page: takes in every picture with the moment it came, small and gray."""

import struct
import threading
import time
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Seen", "Viewer"]

_PICTURE = 1
_SMALL = {1: cv2.IMREAD_GRAYSCALE, 2: cv2.IMREAD_REDUCED_GRAYSCALE_2, 4: cv2.IMREAD_REDUCED_GRAYSCALE_4}
_SMALL[8] = cv2.IMREAD_REDUCED_GRAYSCALE_8


@dataclass(frozen=True, slots=True)
class Seen:
    """Pictures in the order in which they came."""

    stamps_ns: NDArray[np.int64]  # [P] the moment of sound they belong to
    arrivals_ns: NDArray[np.int64]  # [P] when they came
    small: NDArray[np.uint8]  # [P, h, w] gray

    def since(self, time_ns: int) -> "Seen":
        """Those that came after a moment."""
        first = int(np.searchsorted(self.arrivals_ns, time_ns, side="right"))
        return Seen(self.stamps_ns[first:], self.arrivals_ns[first:], self.small[first:])


class Viewer(threading.Thread):
    """Looks at the page until it is closed; waits for the page, and for it to come back.

    Args:
        port: the page's.
        shrink: by how much smaller the pictures are kept: 1, 2, 4 or 8.
    """

    def __init__(self, port: int, shrink: int = 8) -> None:
        super().__init__(name="viewer", daemon=True)
        self._port, self._decoder = port, _SMALL[shrink]
        self._ending = threading.Event()
        self._pictures: list[tuple[int, int, NDArray[np.uint8]]] = []
        self.start()

    @property
    def count(self) -> int:
        """Pictures seen."""
        return len(self._pictures)

    def run(self) -> None:
        """Take in what the page is sent."""
        from websockets.exceptions import WebSocketException
        from websockets.sync.client import connect

        address = f"ws://127.0.0.1:{self._port}/stream"
        while not self._ending.is_set():
            try:
                with connect(address, max_size=None, compression=None) as socket:
                    while not self._ending.is_set():
                        self._take(socket.recv(timeout=1.0), time.time_ns())
            except (OSError, TimeoutError, WebSocketException):
                self._ending.wait(0.2)

    def _take(self, message: str | bytes, now_ns: int) -> None:
        if isinstance(message, str) or message[0] != _PICTURE:
            return
        stamp_ns = round(struct.unpack_from("<d", message, 1)[0] * 1e6)
        jpeg = np.frombuffer(message, np.uint8)[9:]
        small = cv2.imdecode(jpeg, self._decoder)
        if small is not None:  # no whole picture
            self._pictures.append((stamp_ns, now_ns, small.astype(np.uint8)))

    def so_far(self) -> Seen:
        """All pictures until now."""
        pictures = list(self._pictures)
        if not pictures:
            return Seen(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 1, 1), np.uint8))
        stamps, arrivals, small = zip(*pictures, strict=True)
        return Seen(np.array(stamps, np.int64), np.array(arrivals, np.int64), np.stack(small))

    def forget(self) -> None:
        """Begin anew."""
        self._pictures = []

    def close(self) -> None:
        """End."""
        self._ending.set()
        self.join(5.0)
