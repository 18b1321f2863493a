"""One process of the launch: started, its output carried on, started again, ended by stronger signals."""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from splatface.cli.launcher.console import Console
from splatface.cli.launcher.guardian import MARK, living, send
from splatface.cli.launcher.lines import LineReader
from splatface.cli.launcher.plan import ProcessSpec
from splatface.cli.launcher.watch import Watch

__all__ = ["House", "Process"]

SETTLE_S = 0.05  # between two looks whether grandchildren still live
# From the end of a process to SIGTERM for what it left: the background jobs of a shell are deaf to SIGINT.
LEFTOVERS_S = 1.0
GIVE_UP_S = 2.0  # after SIGKILL; only what is stuck in the kernel is left then


@dataclass(frozen=True, slots=True)
class House:
    """What all processes of a launch share."""

    loop: asyncio.AbstractEventLoop
    console: Console
    watch: Watch
    changed: Callable[["Process"], None]  # a process ended, or is gone for good
    restart: Callable[["Process"], None]  # it is time to start a process again


class Process:
    """Runs one ProcessSpec in a session of its own, so that everything it starts can be ended with it."""

    def __init__(self, spec: ProcessSpec, house: House) -> None:
        self.spec = spec
        self.house = house
        self.popen: subprocess.Popen[bytes] | None = None  # while the process itself lives
        self.group = 0  # its process group and session; 0 before the start
        self.readers: list[LineReader] = []
        self.returncode: int | None = None
        self.respawns = 0
        self.stopping = False
        self.gone = False  # nothing of it lives and it will not come back
        self.timers: list[asyncio.TimerHandle] = []

    @property
    def pending(self) -> bool:
        """Whether it lives or will come back."""
        return self.popen is not None or (bool(self.timers) and not self.stopping)

    def log(self, level: str, message: str) -> None:
        """Say something about this process."""
        self.house.console.log(level, self.spec.name, message)

    def start(self) -> None:
        """Start it. Raises LaunchError with file and line when there is no such program."""
        self.timers.clear()
        spec, house = self.spec, self.house
        try:
            popen = subprocess.Popen(
                " ".join(spec.command) if spec.shell else spec.command,
                shell=spec.shell,
                stdin=subprocess.PIPE,  # as under launch: open, never written
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=spec.cwd,
                env={**spec.environment, MARK: house.watch.mark},
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise spec.mark.error(f"{spec.name}: cannot start {spec.command[0]!r}: {error}") from None
        self.popen, self.group = popen, popen.pid
        house.watch.add(popen.pid, spec.sigterm_timeout_s, spec.sigkill_timeout_s)
        self.log("INFO", f"process started with pid [{popen.pid}]")
        assert popen.stdout is not None
        assert popen.stderr is not None
        # the readers of a former life stay: what it left behind may still speak
        for source, stream in (("stdout", popen.stdout), ("stderr", popen.stderr)):
            self.readers.append(LineReader(house.loop, stream, partial(self.output, source)))

    def output(self, source: str, line: str) -> None:
        """One line of the process."""
        self.house.console.output(self.spec.name, source, line, self.spec.output)

    def poll(self) -> None:
        """Notice whether it ended; called whenever a child of the launcher did."""
        if self.popen is None or self.popen.poll() is None:
            return
        popen, self.popen = self.popen, None
        self.returncode = popen.returncode
        for reader in self.readers:
            reader.drain()
        self.readers = [reader for reader in self.readers if not reader.stream.closed]
        if popen.stdin is not None:
            popen.stdin.close()
        if popen.returncode == 0:
            self.log("INFO", f"process has finished cleanly [pid {popen.pid}]")
        else:
            command = " ".join(word for word in self.spec.command if word.strip())
            self.log(
                "ERROR", f"process has died [pid {popen.pid}, exit code {popen.returncode}, cmd '{command}']."
            )
        if self.stopping:
            self.settle()
            return
        if self.comes_back():
            self.respawns += 1
            # they would hold the ports and devices that it needs when it comes back
            self.end_leftovers(signal.SIGKILL)
            self.house.watch.drop(self.group)
            self.timers = [self.house.loop.call_later(self.spec.respawn_delay_s, self.house.restart, self)]
        self.house.changed(self)

    def comes_back(self) -> bool:
        """Whether it is to be started again."""
        spec = self.spec
        left = spec.respawn_max_retries < 0 or self.respawns < spec.respawn_max_retries
        return spec.respawn and left and not spec.required

    def end_leftovers(self, number: signal.Signals) -> None:
        """Signal what the process left behind."""
        left = living({self.group})
        if left:
            self.log(
                "INFO", f"sending signal '{number.name}' to {len(left)} processes left by {self.spec.name}"
            )
        send(left, number)

    def stop(self) -> None:
        """Begin the end: SIGINT, later SIGTERM, later SIGKILL, for the process and all that it started."""
        if self.stopping:
            return
        self.stopping = True
        self.cancel_timers()
        if self.popen is None and not (self.group and living({self.group})):
            self.settle()
            return
        spec = self.spec
        self.log("INFO", f"sending signal 'SIGINT' to process[{spec.name}]")
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.group, signal.SIGINT)
        kill_s = spec.sigterm_timeout_s + spec.sigkill_timeout_s
        later = self.house.loop.call_later
        self.timers = [
            later(spec.sigterm_timeout_s, self.escalate, signal.SIGTERM, spec.sigterm_timeout_s, "SIGINT"),
            later(kill_s, self.escalate, signal.SIGKILL, spec.sigkill_timeout_s, "SIGTERM"),
            later(kill_s + GIVE_UP_S, self.give_up),
        ]
        if self.popen is None:
            self.settle()

    def escalate(self, number: signal.Signals, waited_s: float, after: str) -> None:
        """Send the next stronger signal."""
        name = self.spec.name
        self.log(
            "ERROR",
            f"process[{name}] failed to terminate '{waited_s:g}' seconds after receiving '{after}', "
            f"escalating to '{number.name}'",
        )
        self.log("INFO", f"sending signal '{number.name}' to process[{name}]")
        send(living({self.group}), number)

    def give_up(self) -> None:
        """Not even SIGKILL ended it: the launcher must not hang too."""
        self.log("ERROR", f"process[{self.spec.name}] does not end, it is stuck in the kernel")
        self.leave()

    def settle(self) -> None:
        """The process itself ended: gone, or patience for what it left."""
        if not (self.group and living({self.group})):
            self.leave()
            return
        self.cancel_timers()
        spec, later = self.spec, self.house.loop.call_later
        term_s = min(LEFTOVERS_S, spec.sigterm_timeout_s)
        kill_s = term_s + spec.sigkill_timeout_s
        self.timers = [
            later(SETTLE_S, self.look_again),
            later(term_s, self.end_leftovers, signal.SIGTERM),
            later(kill_s, self.end_leftovers, signal.SIGKILL),
            later(kill_s + GIVE_UP_S, self.give_up),
        ]

    def look_again(self) -> None:
        """Gone as soon as nothing it left lives."""
        if living({self.group}):
            self.timers[0] = self.house.loop.call_later(SETTLE_S, self.look_again)
        else:
            self.leave()

    def leave(self) -> None:
        """The end of this process."""
        self.cancel_timers()
        for reader in self.readers:
            reader.close()
        self.house.watch.drop(self.group)
        self.gone = True
        self.house.changed(self)

    def cancel_timers(self) -> None:
        """Forget what was planned."""
        for timer in self.timers:
            timer.cancel()
        self.timers = []
