"""The output of a process, divided into lines as it comes."""

import asyncio
import os
from collections.abc import Callable
from typing import IO

__all__ = ["LineReader"]

MAX_LINE_BYTES = 1 << 20  # a longer line is shown in pieces
READ_BYTES = 1 << 16


class LineReader:
    """Reads a pipe on the event loop; calls `emit` with every line, without its end."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, stream: IO[bytes], emit: Callable[[str], None]
    ) -> None:
        self.loop = loop
        self.stream = stream
        self.emit = emit
        self.rest = b""
        os.set_blocking(stream.fileno(), False)
        loop.add_reader(stream.fileno(), self.read)

    def read(self) -> bool:
        """Take what is there now; False when that was nothing."""
        try:
            data = os.read(self.stream.fileno(), READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            self.emit(line.decode(errors="replace"))
        if not data:
            self.close()
        elif len(self.rest) > MAX_LINE_BYTES:
            self.flush()
        return bool(data)

    def drain(self) -> None:
        """The process ended: take all it wrote, also a last line without an end."""
        while not self.stream.closed and self.read():
            pass
        self.flush()

    def flush(self) -> None:
        """Give the unfinished line, if there is one."""
        rest, self.rest = self.rest, b""
        if rest:
            self.emit(rest.decode(errors="replace"))

    def close(self) -> None:
        """Stop reading."""
        if not self.stream.closed:
            self.loop.remove_reader(self.stream.fileno())
            self.stream.close()
            self.flush()
