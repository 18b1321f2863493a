# SPDX-License-Identifier: Apache-2.0
"""Web server of the page: serves it and streams images and audio to it, over one port.

A message to the page is text (JSON settings) or binary, little endian: one byte kind (1 image, 2 audio),
float64 media time in ms, then for an image a JPEG, for audio uint32 rate, uint32 utterance, float32 samples.
"""

import asyncio
import concurrent.futures
import contextlib
import json
import struct
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from splatface.models.errors import SplatfaceError
from splatface.models.messages import AudioChunk

__all__ = ["PageError", "PageServer"]

PAGE = Path(__file__).parent / "page" / "index.html"
IMAGE_MESSAGE, AUDIO_MESSAGE = 1, 2
# A viewer on a slow connection gets no further images while more than this is unsent.
MAX_UNSENT_BYTES = 1 << 20


class PageError(SplatfaceError):
    """The page cannot be served."""


class PageServer:
    """A web server in its own thread; every method may be called from the node's thread."""

    def __init__(self, address: str, port: int, settings: dict[str, object]) -> None:
        self.skipped = 0
        self._settings = json.dumps(settings)
        self._viewers: set[ServerConnection] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="page", daemon=True)
        self._thread.start()
        try:
            self._server = self._run(self._open(address, port))
        except OSError as error:
            self._stop_loop()
            raise PageError(
                f"display: expected port {port} of {address} to be free, found: {error.strerror or error}: "
                f"stop what uses it or choose another one with port:={port + 1 if port else 8600}"
            ) from None
        host = "localhost" if address in ("0.0.0.0", "127.0.0.1", "::") else address
        self.url = f"http://{host}:{self._server.sockets[0].getsockname()[1]}/"

    @property
    def viewers(self) -> int:
        """Number of open pages."""
        return len(self._viewers)

    def send_settings(self, settings: dict[str, object]) -> None:
        """Send new settings to all pages, present and future."""
        self._settings = json.dumps(settings)
        self._loop.call_soon_threadsafe(self._send, self._settings, False)

    def send_image(self, image: NDArray[np.uint8], time_ns: int, quality: int) -> None:
        """Send an image [H, W, 3] RGB; without a viewer nothing is encoded."""
        if not self._viewers:
            return
        _, jpeg = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        header = struct.pack("<Bd", IMAGE_MESSAGE, time_ns / 1e6)
        self._loop.call_soon_threadsafe(self._send, header + jpeg.tobytes(), True)

    def send_audio(self, chunk: AudioChunk) -> None:
        """Send a chunk of audio."""
        if not self._viewers:
            return
        header = struct.pack("<BdII", AUDIO_MESSAGE, chunk.start_ns / 1e6, chunk.sample_rate, chunk.utterance)
        self._loop.call_soon_threadsafe(self._send, header + chunk.samples.tobytes(), False)

    def close(self) -> None:
        """Close all connections and free the port."""
        self._server.close()
        # A viewer on a dead connection does not answer: the port is free all the same.
        with contextlib.suppress(concurrent.futures.TimeoutError):
            self._run(self._server.wait_closed())
        self._stop_loop()

    def _stop_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=2.0)

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=5.0)

    async def _open(self, address: str, port: int) -> Any:
        # No compression: JPEG does not shrink, and deflating it costs more than rendering.
        return await serve(
            self._stream, address, port, process_request=self._respond, compression=None, close_timeout=1
        )

    def _respond(self, connection: ServerConnection, request: Request) -> Response | None:
        if request.path.split("?")[0] == "/stream":
            return None
        if request.path.split("?")[0] not in ("/", "/index.html"):
            return connection.respond(404, "not here: the face is at /\n")
        body = PAGE.read_bytes()
        headers = Headers(
            {
                "Content-Type": "text/html; charset=utf-8",
                "Content-Length": str(len(body)),
                "Cache-Control": "no-store",
                "Connection": "close",
            }
        )
        return Response(200, "OK", headers, body)

    async def _stream(self, viewer: ServerConnection) -> None:
        await viewer.send(self._settings)
        self._viewers.add(viewer)
        try:
            await viewer.wait_closed()
        finally:
            self._viewers.discard(viewer)

    def _send(self, message: str | bytes, may_skip: bool) -> None:
        for viewer in list(self._viewers):
            unsent_bytes = viewer.transport.get_write_buffer_size()
            if unsent_bytes > (MAX_UNSENT_BYTES if may_skip else 8 * MAX_UNSENT_BYTES):
                self.skipped += 1
                continue
            task = self._loop.create_task(_deliver(viewer, message))
            _TASKS.add(task)
            task.add_done_callback(_TASKS.discard)


# The loop keeps only weak references to tasks.
_TASKS: set["asyncio.Task[None]"] = set()


async def _deliver(viewer: ServerConnection, message: str | bytes) -> None:
    with contextlib.suppress(ConnectionClosed):
        await viewer.send(message)
