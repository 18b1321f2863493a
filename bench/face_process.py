"""Run a launch file in a child process and measure its nodes: CPU time, memory, threads and open files."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from splatface.cli.replay_command import set_image_transport
from splatface.models.errors import SplatfaceError

__all__ = [
    "Cost",
    "Face",
    "Holding",
    "costs_below",
    "holdings_below",
    "nodes_below",
    "own_domain",
    "own_port",
    "running_face",
]


@dataclass(frozen=True)
class Cost:
    """CPU time and peak memory of one process."""

    cpu_s: float
    peak_mb: float


@dataclass(frozen=True)
class Holding:
    """What one process holds now."""

    memory_mb: float
    threads: int
    files: int


def _children() -> dict[int, list[int]]:
    tree: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue  # it ended meanwhile
        tree.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    return tree


def _name(pid: int) -> str:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    nodes = [word.removeprefix("__node:=") for word in words if word.startswith("__node:=")]
    return nodes[-1] if nodes else ""


def _cost(pid: int) -> Cost:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    ticks = int(fields[11]) + int(fields[12])
    peak = next(
        line.split()[1] for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmHWM" in line
    )
    return Cost(cpu_s=ticks / os.sysconf("SC_CLK_TCK"), peak_mb=int(peak) / 1024)


def _holding(pid: int) -> Holding:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = {line.split(":")[0]: line.split()[1] for line in lines if ":" in line and len(line.split()) > 1}
    files = len(os.listdir(f"/proc/{pid}/fd"))
    return Holding(round(int(fields["VmRSS"]) / 1024, 1), int(fields["Threads"]), files)


def nodes_below(pid: int) -> dict[str, int]:
    """Process of every ROS node that runs below process `pid`, by node name."""
    tree, found, waiting = _children(), {}, [pid]
    while waiting:
        one = waiting.pop()
        waiting += tree.get(one, [])
        try:
            name = _name(one)
        except OSError:
            continue
        if name:
            found[name] = one
    return found


def costs_below(pid: int) -> dict[str, Cost]:
    """Cost of every ROS node that runs below process `pid`, by node name."""
    found = {}
    for name, one in nodes_below(pid).items():
        try:
            found[name] = _cost(one)
        except (OSError, StopIteration):
            continue
    return found


def holdings_below(pid: int) -> dict[str, Holding]:
    """What every ROS node that runs below process `pid` holds now, by node name."""
    found = {}
    for name, one in nodes_below(pid).items():
        try:
            found[name] = _holding(one)
        except (OSError, KeyError):
            continue
    return found


def own_domain() -> None:
    """A DDS domain of its own: a face that already runs here is neither heard nor disturbed."""
    os.environ["ROS_DOMAIN_ID"] = str(60 + os.getpid() % 40)
    set_image_transport()


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
    command = [sys.executable, "-m", "splatface.cli.main", "launch", file]
    command += [f"{name}:={value}" for name, value in arguments.items()]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    try:
        yield Face(process)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)
