"""What the processes below one have cost so far, from /proc."""

import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Cost", "Holding", "costs_below", "holdings_below", "nodes_below"]


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
