# SPDX-License-Identifier: Apache-2.0
"""Write the lines of a launch and of its processes to the screen and to a log file, as launch does."""

import contextlib
import os
import select
import socket
import sys
import threading
import time
from datetime import datetime
from io import FileIO
from pathlib import Path

__all__ = ["OUTPUTS", "Console", "make_log_folder"]

# `output` of a node -> where lines of its stdout and of its stderr go
OUTPUTS = {"screen": ("screen", "screen"), "log": ("log", "log screen"), "both": ("log screen", "log screen")}
MAX_FILE_BYTES = 20_000_000  # then the file becomes launch.log.1: a kiosk runs for months
MAX_LINE_BYTES = 1 << 20  # a longer line is shown in pieces


def make_log_folder(environment: dict[str, str]) -> Path | None:
    """Make a folder for this launch below `~/.ros/log` (or ROS_LOG_DIR, ROS_HOME) and link `latest` to it.

    Returns None where nothing can be written.
    """
    base = environment.get("ROS_LOG_DIR") or str(Path(environment.get("ROS_HOME") or "~/.ros") / "log")
    now = datetime.now().strftime("%Y-%m-%d-%H-%M-%S-%f")
    folder = Path(base).expanduser() / f"{now}-{socket.gethostname()}-{os.getpid()}"
    try:
        folder.mkdir(parents=True)
        latest = folder.parent / "latest"
        if latest.is_symlink() or not latest.exists():
            latest.unlink(missing_ok=True)
            latest.symlink_to(folder)
    except OSError:
        return folder if folder.is_dir() else None
    return folder


class Console:
    """Writes lines at once, from any thread; a closed screen or a full disk does not end the launch."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.lock = threading.Lock()

    def log(self, level: str, logger: str, message: str) -> None:
        """Write a line of the launcher: `[INFO] [renderer-2]: process started with pid [7]`."""
        self.write(f"[{level}] [{logger}]: {message}", "log screen")

    def write(self, line: str, destinations: str) -> None:
        """Write to the screen, whatever its encoding, and to launch.log."""
        with self.lock, contextlib.suppress(OSError, ValueError):
            if "screen" in destinations:
                screen = sys.stdout.fileno()
                data = f"{line}\n".encode(sys.stdout.encoding or "utf-8", "replace")
                while data:
                    select.select([], [screen], [])  # another process may have made it non-blocking
                    data = data[os.write(screen, data) :]
        with self.lock, contextlib.suppress(OSError):
            if "log" in destinations and self.folder is not None:
                path = self.folder / "launch.log"
                with path.open("a", encoding="utf-8", errors="replace") as stream:
                    stream.write(f"{time.time():.7f} {line}\n")
                    full = stream.tell() > MAX_FILE_BYTES
                if full:
                    path.replace(path.with_name("launch.log.1"))

    def forward(self, stream: FileIO, name: str, destinations: str) -> None:
        """Read a pipe of a process to its end and write its lines: `[renderer-2] text`."""
        rest = b""
        while data := stream.read(1 << 16):
            *lines, rest = (rest + data).split(b"\n")
            if len(rest) > MAX_LINE_BYTES:
                lines, rest = [*lines, rest], b""
            for line in lines:
                self.write(f"[{name}] {line.decode(errors='replace')}", destinations)
        if rest:
            self.write(f"[{name}] {rest.decode(errors='replace')}", destinations)
        stream.close()
