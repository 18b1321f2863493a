"""A face that a bench starts for itself, and ends."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from splatface.cli.transport import use_picture_transport
from splatface.models.errors import SplatfaceError

__all__ = ["Face", "own_domain", "own_port", "running_face"]


def own_domain() -> None:
    """A DDS domain of its own: a face that already runs here is neither heard nor disturbed."""
    os.environ["ROS_DOMAIN_ID"] = str(60 + os.getpid() % 40)
    use_picture_transport()


def own_port() -> int:
    """A TCP port for the page."""
    return 20000 + os.getpid() % 20000


class Face:
    """The process of a launch file."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._lines: deque[str] = deque(maxlen=40)
        self._began_s = time.monotonic()
        threading.Thread(target=self._read, name="log", daemon=True).start()

    @property
    def pid(self) -> int:
        """Of the launcher; the nodes run below it."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    @property
    def last_words(self) -> str:
        """The end of its log."""
        return "".join(list(self._lines))

    @property
    def age_s(self) -> float:
        """Since its start, s."""
        return time.monotonic() - self._began_s

    def wait_until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Wait for it to come up.

        Raises:
            SplatfaceError: with its last words, when it ends before or the time is over.
        """
        until_s = time.monotonic() + seconds
        while not ready():
            if not self.alive or time.monotonic() > until_s:
                raise SplatfaceError(f"bench: the face did not come up:\n{self.last_words}")
            time.sleep(0.05)

    def _read(self) -> None:
        for line in self._process.stdout or []:
            self._lines.append(line)


@contextmanager
def running_face(
    file: str, arguments: Mapping[str, object], environment: Mapping[str, str] | None = None
) -> Iterator[Face]:
    """The nodes of a launch file, until the block is left."""
    command = [sys.executable, "-m", "splatface.cli.cli", "launch", file]
    command += [f"{name}:={value}" for name, value in arguments.items()]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    try:
        yield Face(process)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)
