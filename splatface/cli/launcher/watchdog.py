# SPDX-License-Identifier: Apache-2.0
"""The watchdog: a small process that ends all others when the launcher is killed, so that none is orphaned.

It reads lines with the process groups that live, and `done` at a good end, from a pipe that only the launcher
holds. When the pipe ends without `done`, SIGINT, SIGTERM and SIGKILL go to the groups, and to what left them
but carries the launch's mark. The kernel's PR_SET_PDEATHSIG reaches no grandchildren and leaves a recorder no
time to close its file. This file is run by path, with the standard library only.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping

__all__ = ["MARK", "POLL_S", "Watchdog", "find_processes", "kill_orphans", "send_signal"]

MARK = "SPLATFACE_LAUNCH"  # environment variable of all processes of a launch
POLL_S = 0.05


def find_processes(groups: set[int], mark: str = "") -> set[int]:
    """Return ids of running processes in these groups or sessions, or marked `SPLATFACE_LAUNCH=mark`."""
    pids = set()
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):  # it ended meanwhile, or is another user's
            with open(f"/proc/{entry}/stat", "rb") as stream:
                # the name in parentheses may hold anything: fields count from the last ')'
                state, _, group, session = stream.read().rpartition(b")")[2].split()[:4]
            if state in (b"Z", b"X"):
                continue
            if int(group) in groups or int(session) in groups:
                pids.add(int(entry))
            elif mark:
                with open(f"/proc/{entry}/environ", "rb") as stream:
                    if f"{MARK}={mark}".encode() in stream.read().split(b"\0"):
                        pids.add(int(entry))
    return pids


def send_signal(pids: set[int], number: int) -> None:
    """Send a signal to processes; those that ended meanwhile do not matter."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def kill_orphans(groups: set[int], mark: str, timeouts_s: Mapping[signal.Signals, float]) -> None:
    """Send each signal and wait its seconds, until no process of the groups or with the mark is left."""
    for number, timeout_s in timeouts_s.items():
        send_signal(find_processes(groups, mark), number)
        deadline = time.monotonic() + timeout_s
        while (left := find_processes(groups, mark)) and time.monotonic() < deadline:
            if number == signal.SIGKILL:
                send_signal(left, number)  # what was forked between looking and killing
            time.sleep(POLL_S)


class Watchdog:
    """The launcher's side: starts the process, sends it the process groups, replaces it if it is killed."""

    def __init__(self, sigterm_s: float, sigkill_s: float) -> None:
        self.mark = f"{os.getpid()}-{time.time_ns()}"
        self.timeouts_s = {signal.SIGINT: sigterm_s, signal.SIGTERM: sigkill_s, signal.SIGKILL: 2.0}
        self.groups: set[int] = set()
        self.start()

    def start(self) -> None:
        """Start the process, in a session of its own: no signal to our group or terminal reaches it."""
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, self.mark, *map(str, self.timeouts_s.values())],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, MARK: ""},  # not the mark of an outer launch: it must outlive its end
            cwd="/",
            start_new_session=True,
        )
        self.send()

    def add(self, group: int) -> None:
        """Watch a process group."""
        self.groups.add(group)
        self.send()

    def drop(self, group: int) -> None:
        """Forget a process group that is empty: its number may be used again."""
        self.groups.discard(group)
        self.send()

    def send(self) -> None:
        """Send the process groups; if the process was killed, to a new one."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write((" ".join(map(str, self.groups)) + "\n").encode())
        except OSError:
            self.start()

    def check(self) -> None:
        """Replace the process if it was killed; called when any child ended."""
        if self.process.poll() is not None:
            self.start()

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(OSError):
            self.process.communicate(b"done\n", timeout=5)


def main() -> None:
    """Follow the launcher's lines until it is done or gone."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    mark, *timeouts_s = sys.argv[1:]
    lines = deque(sys.stdin, maxlen=1)
    if lines and lines[0] != "done\n":
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
        timeouts = dict(zip(numbers, map(float, timeouts_s), strict=True))
        kill_orphans({int(group) for group in lines[0].split()}, mark, timeouts)


if __name__ == "__main__":
    main()
