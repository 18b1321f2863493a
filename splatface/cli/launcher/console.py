"""Where lines go: the screen, and files below `~/.ros/log` (or ROS_LOG_DIR, ROS_HOME), as under launch."""

import contextlib
import os
import select
import socket
import sys
import time
from datetime import datetime
from pathlib import Path

__all__ = ["DESTINATIONS", "Console", "log_folder"]

# `output` of a process -> where its stdout and its stderr go
DESTINATIONS: dict[str, dict[str, frozenset[str]]] = {
    "screen": {"stdout": frozenset({"screen"}), "stderr": frozenset({"screen"})},
    "log": {"stdout": frozenset({"log"}), "stderr": frozenset({"log", "screen"})},
    "both": {"stdout": frozenset({"log", "screen"}), "stderr": frozenset({"log", "screen"})},
    "own_log": {"stdout": frozenset({"own_log"}), "stderr": frozenset({"own_log"})},
    "full": {
        "stdout": frozenset({"log", "screen", "own_log"}),
        "stderr": frozenset({"log", "screen", "own_log"}),
    },
}
MAX_FILE_BYTES = 20_000_000  # then the file becomes NAME.1: a kiosk runs for months


def log_folder(environment: dict[str, str]) -> Path | None:
    """A new folder for this launch, `latest` linked to it; None where nothing can be written."""
    base = environment.get("ROS_LOG_DIR") or str(Path(environment.get("ROS_HOME") or "~/.ros") / "log")
    now = datetime.now().strftime("%Y-%m-%d-%H-%M-%S-%f")
    folder = Path(os.path.expanduser(base)) / f"{now}-{socket.gethostname()}-{os.getpid()}"
    try:
        folder.mkdir(parents=True)
        latest = folder.parent / "latest"
        if latest.is_symlink() or not latest.exists():
            latest.unlink(missing_ok=True)
            latest.symlink_to(folder)
    except OSError:
        return folder if folder.is_dir() else None
    return folder


def _write_all(descriptor: int, data: memoryview) -> None:
    """Write everything, also where another process has made our terminal or pipe non-blocking."""
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            select.select([], [descriptor], [], 1.0)


class Console:
    """Writes lines at once; a screen that went away or a full disk stops no face."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def log(self, level: str, logger: str, message: str) -> None:
        """A line of the launcher: `[INFO] [renderer-2]: process started with pid [7]`."""
        line = f"[{level}] [{logger}]: {message}"
        self.screen(line)
        self.file("launch.log", f"{time.time():.7f} {line}")

    def output(self, name: str, source: str, line: str, output: str) -> None:
        """A line of a process: `[renderer-2] text`. `source` is stdout or stderr."""
        destinations = DESTINATIONS[output][source]
        text = f"[{name}] {line}"
        if "screen" in destinations:
            self.screen(text)
        if "log" in destinations:
            self.file("launch.log", f"{time.time():.7f} {text}")
        if "own_log" in destinations:
            self.file(f"{name}-{source}.log", text)
            self.file(f"{name}.log", text)

    def screen(self, line: str) -> None:
        """Write to stdout, whatever its encoding."""
        data = f"{line}\n".encode(sys.stdout.encoding or "utf-8", "replace")
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            _write_all(sys.stdout.fileno(), memoryview(data))

    def file(self, name: str, line: str) -> None:
        """Append to a log file."""
        if self.folder is None:
            return
        path = self.folder / name
        with contextlib.suppress(OSError):
            with path.open("a", encoding="utf-8", errors="replace") as stream:
                stream.write(line + "\n")
                full = stream.tell() > MAX_FILE_BYTES
            if full:
                path.replace(path.with_name(f"{name}.1"))
