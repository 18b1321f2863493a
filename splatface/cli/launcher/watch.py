"""The launcher's end of the guardian: starts it, tells it what runs, starts another if it is killed."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

from splatface.cli.launcher.guardian import MARK

__all__ = ["Watch"]


class Watch:
    """What the guardian must know, and the guardian."""

    def __init__(self) -> None:
        self.mark = f"{os.getpid()}-{time.time_ns()}"
        self.groups: dict[int, str] = {}
        self.guardian = self.start()

    def start(self) -> "subprocess.Popen[str]":
        """Start the guardian, in a session of its own: no signal to our group or terminal reaches it."""
        environment = {key: value for key, value in os.environ.items() if key != MARK}
        command = [sys.executable, "-I", "-S", str(Path(__file__).with_name("guardian.py")), self.mark]
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,  # of an outer launch's mark it is free: it must outlive what the outer one ends
            cwd="/",
            start_new_session=True,
            text=True,
        )

    def add(self, group: int, sigterm_s: float, sigkill_s: float) -> None:
        """A process group began."""
        self.groups[group] = f"add {group} {sigterm_s} {sigkill_s}"
        self.tell(self.groups[group])

    def drop(self, group: int) -> None:
        """A process group is empty: its number may go to somebody else."""
        if self.groups.pop(group, None):
            self.tell(f"drop {group}")

    def tell(self, *lines: str) -> None:
        """Say something to the guardian; if it was killed, to a new one, from the beginning."""
        assert self.guardian.stdin is not None
        try:
            self.guardian.stdin.write("".join(f"{line}\n" for line in lines))
            self.guardian.stdin.flush()
        except OSError:
            self.renew()

    def renew(self) -> None:
        """Start another guardian if this one ended."""
        with contextlib.suppress(OSError):
            self.guardian.communicate(timeout=1)
        self.guardian = self.start()
        self.tell(*self.groups.values())

    def check(self) -> None:
        """Called when any child ended."""
        if self.guardian.poll() is not None:
            self.renew()

    def close(self) -> None:
        """Send the guardian home."""
        with contextlib.suppress(OSError):
            self.guardian.communicate("done\n", timeout=5)
