"""The guardian: a small process that ends all others when the launcher is killed.

It reads its stdin, a pipe whose other end only the launcher holds: `add PID SIGTERM_S SIGKILL_S` for each
process group, `drop PID` when it is empty, `done` at a good end. The end of the pipe without `done` means
that the launcher was killed (kill -9, out of memory): then every group gets SIGINT, later SIGTERM, later
SIGKILL. So do processes that left their group and session but carry the launch's mark in their environment.

The kernel's own means, PR_SET_PDEATHSIG, reaches no grandchildren and leaves a recorder no time to close its
file. This file is run by path with the standard library only: it must start at once and outlive everything.
"""

import contextlib
import os
import signal
import sys
import time

__all__ = ["MARK", "living", "send"]

MARK = "SPLATFACE_LAUNCH"  # environment variable of all processes of a launch


def living(groups: set[int], mark: str = "") -> set[int]:
    """Process ids, zombies left out, in these groups or sessions, or marked `SPLATFACE_LAUNCH=mark`."""
    found = set()
    wanted = f"{MARK}={mark}".encode()
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
                found.add(int(entry))
            elif mark:
                with open(f"/proc/{entry}/environ", "rb") as stream:
                    if wanted in stream.read().split(b"\0"):
                        found.add(int(entry))
    return found


def send(pids: set[int], number: int) -> None:
    """Send a signal to processes; those that ended meanwhile do not matter."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def end_all(groups: set[int], mark: str, sigterm_s: float, sigkill_s: float) -> None:
    """SIGINT, SIGTERM, SIGKILL with the given seconds between, until nothing is left."""
    for number, patience_s in (
        (signal.SIGINT, sigterm_s),
        (signal.SIGTERM, sigkill_s),
        (signal.SIGKILL, 5.0),
    ):
        send(living(groups, mark), number)
        until = time.monotonic() + patience_s
        while time.monotonic() < until:
            left = living(groups, mark)
            if not left:
                return
            if number == signal.SIGKILL:
                send(left, number)  # what was forked between looking and killing
            time.sleep(0.05)


def main() -> int:
    """Follow the launcher's words until it is done or gone."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    mark = sys.argv[1]
    groups: set[int] = set()
    sigterm_s = sigkill_s = 0.0
    for line in sys.stdin:
        word, *rest = line.split()
        if word == "done":
            return 0
        if word == "add":
            groups.add(int(rest[0]))
            sigterm_s, sigkill_s = max(sigterm_s, float(rest[1])), max(sigkill_s, float(rest[2]))
        else:
            groups.discard(int(rest[0]))
    end_all(groups, mark, sigterm_s, sigkill_s)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
