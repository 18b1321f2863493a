"""The launch itself: carries out the plan, waits, ends everything in order."""

import asyncio
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

from splatface.cli.launcher.console import Console, log_folder
from splatface.cli.launcher.evaluate import Evaluator
from splatface.cli.launcher.guardian import living, send
from splatface.cli.launcher.packages import find_launch_file
from splatface.cli.launcher.plan import Item, LogMessage, ProcessSpec, Shutdown, Timer
from splatface.cli.launcher.processes import House, Process
from splatface.cli.launcher.watch import Watch
from splatface.models.errors import LaunchError

__all__ = ["run_file"]

STRAYS_S = 2.0  # from SIGTERM to SIGKILL for what left the session of its process


def run_file(path_or_name: str | Path, arguments: dict[str, str]) -> int:
    """Run a launch file until its processes end, a required one ends, or a signal comes.

    `path_or_name` is a path or the name of a file that splatface ships. SIGINT, SIGTERM, SIGHUP and SIGQUIT
    end the launch in order. Must be called in the main thread.

    Returns 0 after a clean end or a signal; the exit code of a process with `on_exit: shutdown` that failed
    (128 + N when signal N ended it). Raises LaunchError with one clear line; no process is left then either.
    """
    environment = dict(os.environ)
    path = find_launch_file(str(path_or_name), environment)
    params_folder = Path(tempfile.mkdtemp(prefix="splatface_launch_"))
    try:
        evaluator = Evaluator(environment, params_folder)
        plan = evaluator.evaluate_file(path, arguments)
        console = Console(log_folder(environment))
        return Launch(evaluator, console).run(plan)
    finally:
        shutil.rmtree(params_folder, ignore_errors=True)


class Launch:
    """One running launch."""

    def __init__(self, evaluator: Evaluator, console: Console) -> None:
        self.evaluator = evaluator
        self.console = console
        self.loop = asyncio.new_event_loop()
        self.watch = Watch()
        self.house = House(self.loop, console, self.watch, self.changed, self.restart)
        self.processes: list[Process] = []
        self.timers: set[asyncio.TimerHandle] = set()
        self.ending = False
        self.exit_code = 0
        self.error: Exception | None = None

    def run(self, plan: list[Item]) -> int:
        """Carry out the plan and everything it leads to."""
        if self.console.folder is not None:
            self.console.log("INFO", "launch", f"All log files can be found below {self.console.folder}")
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            self.loop.add_signal_handler(number, self.on_signal, number)
        self.loop.add_signal_handler(signal.SIGCHLD, self.on_child)
        self.loop.set_exception_handler(self.on_exception)
        try:
            self.loop.call_soon(self.carry_out, plan)
            self.loop.run_forever()
            end_strays(self.watch.mark)
            self.watch.close()
        finally:
            self.loop.close()
        if self.error is not None:
            raise self.error
        return self.exit_code

    def carry_out(self, plan: list[Item]) -> None:
        """Start, plan and say what stands in the plan, in order."""
        for item in plan:
            if self.ending:
                break
            match item:
                case ProcessSpec():
                    self.processes.append(Process(item, self.house))
                    self.restart(self.processes[-1])
                case LogMessage():
                    self.console.log(item.level, item.logger, item.message)
                case Timer():
                    self.set_timer(item)
                case Shutdown():
                    self.console.log("INFO", "launch", f"shutting down: {item.reason}")
                    self.end()
        self.end_when_idle()

    def set_timer(self, timer: Timer) -> None:
        """Wait without holding anything up."""

        def fire() -> None:
            self.timers.discard(handle)
            try:
                plan = self.evaluator.evaluate_timer(timer)
            except LaunchError as error:
                self.fail(error)
            else:
                self.carry_out(plan)

        handle = self.loop.call_later(timer.period_s, fire)
        self.timers.add(handle)

    def restart(self, process: Process) -> None:
        """Start a process, for the first time or again."""
        try:
            process.start()
        except LaunchError as error:
            process.timers.clear()
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """End because of a mistake in the launch file that showed itself late, or of our own."""
        self.error = self.error or error
        self.end()

    def on_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A callback failed: no process may be left running unattended."""
        self.fail(context.get("exception") or RuntimeError(context["message"]))

    def on_child(self) -> None:
        """Some child ended."""
        for process in self.processes:
            process.poll()
        self.watch.check()

    def on_signal(self, number: signal.Signals) -> None:
        """End in order; a second signal changes nothing."""
        name = signal.Signals(number).name
        message = "user interrupted with ctrl-c (SIGINT)" if number == signal.SIGINT else f"received {name}"
        self.console.log("WARNING", "launch", message + (" again, ignoring..." if self.ending else ""))
        self.end()

    def changed(self, process: Process) -> None:
        """A process ended or is gone."""
        if not self.ending and process.spec.required and process.popen is None:
            name, code = process.spec.name, process.returncode or 0
            message = f"process[{name}] was required: shutting down launched system"
            self.console.log("INFO", "launch", message)
            self.exit_code = code if code >= 0 else 128 - code
            self.end()
        self.end_when_idle()

    def end_when_idle(self) -> None:
        """Nothing runs and nothing will: the end; everything gone: out of the loop."""
        if self.ending:
            if all(process.gone for process in self.processes):
                self.loop.stop()
        elif not self.timers and not any(process.pending for process in self.processes):
            self.end()

    def end(self) -> None:
        """Begin the orderly end, once."""
        if self.ending:
            return
        self.ending = True
        for handle in self.timers:
            handle.cancel()
        for process in self.processes:
            process.stop()
        self.end_when_idle()


def end_strays(mark: str) -> None:
    """End what left its session but carries the mark of this launch."""
    until = time.monotonic() + STRAYS_S
    send(living(set(), mark), signal.SIGTERM)
    while left := living(set(), mark):
        if time.monotonic() > until:
            send(left, signal.SIGKILL)
        if time.monotonic() > until + STRAYS_S:
            return
        time.sleep(0.05)
