# SPDX-License-Identifier: Apache-2.0
"""Face in a child process, for benchmarks, and the resources of its nodes from /proc."""

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
    "LaunchedFace",
    "ProcessCost",
    "ResourceUsage",
    "choose_port",
    "launch_face",
    "machine_name",
    "process_costs",
    "resource_usage",
    "set_own_ros_domain",
]


@contextmanager
def launch_face(
    file: str, arguments: Mapping[str, object], environment: Mapping[str, str] | None = None
) -> Iterator["LaunchedFace"]:
    """Run a launch file until the block ends."""
    command = [sys.executable, "-m", "splatface.cli.main", "launch", file]
    command += [f"{name}:={value}" for name, value in arguments.items()]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    try:
        yield LaunchedFace(process)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)


class LaunchedFace:
    """Process of a launch file."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._lines: deque[str] = deque(maxlen=40)
        self._start_s = time.monotonic()
        threading.Thread(target=self._read, name="log", daemon=True).start()

    @property
    def pid(self) -> int:
        """Process of the launcher, the parent of the nodes."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """True until the process ends."""
        return self._process.poll() is None

    @property
    def log_end(self) -> str:
        """The last lines of the log."""
        return "".join(list(self._lines))

    @property
    def age_s(self) -> float:
        """Time since the start, s."""
        return time.monotonic() - self._start_s

    def wait_until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Wait until `ready` returns True.

        Raises:
            SplatfaceError: with the end of the log, if the process ends before or the time is over.
        """
        end_s = time.monotonic() + seconds
        while not ready():
            if not self.is_running or time.monotonic() > end_s:
                raise SplatfaceError(f"bench: the face did not start:\n{self.log_end}")
            time.sleep(0.05)

    def _read(self) -> None:
        for line in self._process.stdout or []:
            self._lines.append(line)


def set_own_ros_domain() -> None:
    """Use a DDS domain of its own, so that another face on this machine neither disturbs nor is disturbed."""
    os.environ["ROS_DOMAIN_ID"] = str(60 + os.getpid() % 40)
    set_image_transport()


def choose_port() -> int:
    """Return a TCP port for the page."""
    return 20000 + os.getpid() % 20000


def machine_name() -> str:
    """Return processor and number of cores of this machine."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line for line in lines if line.startswith("model name")]
    name = models[0].split(":", 1)[1].strip() if models else "unknown processor"
    return f"{name}, {len(os.sched_getaffinity(0))} cores"


@dataclass(frozen=True)
class ProcessCost:
    """CPU time and peak memory of a process since its start."""

    cpu_s: float
    peak_mb: float


@dataclass(frozen=True)
class ResourceUsage:
    """Resources that a process holds now."""

    memory_mb: float
    threads: int
    files: int


def process_costs(pid: int) -> dict[str, ProcessCost]:
    """Return the cost of every ROS node below process `pid`, by node name."""
    costs = {}
    for name, node_pid in _node_pids(pid).items():
        try:
            costs[name] = _process_cost(node_pid)
        except (OSError, StopIteration):
            continue
    return costs


def resource_usage(pid: int) -> dict[str, ResourceUsage]:
    """Return the resources of every ROS node below process `pid`, by node name."""
    usage = {}
    for name, node_pid in _node_pids(pid).items():
        try:
            usage[name] = _resource_usage(node_pid)
        except (OSError, KeyError):
            continue
    return usage


def _node_pids(pid: int) -> dict[str, int]:
    children, found, pending = _children_by_pid(), {}, [pid]
    while pending:
        current = pending.pop()
        pending += children.get(current, [])
        try:
            name = _node_name(current)
        except OSError:
            continue
        if name:
            found[name] = current
    return found


def _children_by_pid() -> dict[int, list[int]]:
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue  # it ended meanwhile
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    return children


def _node_name(pid: int) -> str:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    names = [word.removeprefix("__node:=") for word in words if word.startswith("__node:=")]
    return names[-1] if names else ""


def _process_cost(pid: int) -> ProcessCost:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    ticks = int(fields[11]) + int(fields[12])
    peak_kb = next(
        line.split()[1] for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmHWM" in line
    )
    return ProcessCost(cpu_s=ticks / os.sysconf("SC_CLK_TCK"), peak_mb=int(peak_kb) / 1024)


def _resource_usage(pid: int) -> ResourceUsage:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = {line.split(":")[0]: line.split()[1] for line in lines if ":" in line and len(line.split()) > 1}
    files = len(os.listdir(f"/proc/{pid}/fd"))
    return ResourceUsage(round(int(fields["VmRSS"]) / 1024, 1), int(fields["Threads"]), files)
