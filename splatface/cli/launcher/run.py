# SPDX-License-Identifier: Apache-2.0
"""Run a launch: start its processes, start them again, and end them in order."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from pathlib import Path

from splatface.cli.launcher.actions import Evaluator, ProcessSpec
from splatface.cli.launcher.console import OUTPUTS, Console, make_log_folder
from splatface.cli.launcher.packages import find_launch_file
from splatface.cli.launcher.parse import LocatedError
from splatface.cli.launcher.watchdog import MARK, POLL_S, Watchdog, find_processes, kill_orphans, send_signal

__all__ = ["LaunchContext", "Process", "run_file"]

LEFTOVERS_S = 1.0  # from the end of a process to SIGTERM for what it left: a shell's jobs ignore SIGINT
DRAIN_S = 0.2  # for the last output of a process whose pipe another process holds open
FLUSH_S = 2.0  # for the last output of all at the end of the launch


def run_file(path_or_name: str | Path, arguments: dict[str, str]) -> int:
    """Run a launch file until its processes end, a required one ends, or a signal comes.

    `path_or_name` is a path or the name of a file that splatface ships. Must be called in the main thread.
    Returns 0 after a clean end or a signal; the exit code of a process with `on_exit: shutdown` that failed
    (128 + N when signal N ended it). Raises LaunchError with one clear line; no process is left then either.
    """
    environment = dict(os.environ)
    path = find_launch_file(str(path_or_name), environment)
    params_folder = Path(tempfile.mkdtemp(prefix="splatface_launch_"))
    try:
        evaluator = Evaluator(environment, params_folder)
        specs = evaluator.evaluate_file(path, arguments)
        watchdog = Watchdog(evaluator.timeout_s("sigterm_timeout"), evaluator.timeout_s("sigkill_timeout"))
        return asyncio.run(LaunchContext(Console(make_log_folder(environment)), watchdog).run(specs))
    finally:
        shutil.rmtree(params_folder, ignore_errors=True)


class LaunchContext:
    """One running launch: its processes and what they share."""

    def __init__(self, console: Console, watchdog: Watchdog) -> None:
        self.console = console
        self.watchdog = watchdog
        self.processes: list[Process] = []
        self.exit_code = 0

    async def run(self, specs: list[ProcessSpec]) -> int:
        """Start all processes and wait for the end; returns the exit code."""
        loop = asyncio.get_running_loop()
        self.shutdown = loop.create_future()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            loop.add_signal_handler(number, self.on_signal, number)
        loop.add_signal_handler(signal.SIGCHLD, self.on_child)
        if self.console.folder is not None:
            self.console.log("INFO", "launch", f"All log files can be found below {self.console.folder}")
        tasks = []
        try:
            for spec in specs:
                self.processes.append(Process(spec, self))
                tasks.append(loop.create_task(self.processes[-1].supervise()))
            await asyncio.gather(*tasks)
        finally:  # after an error too: no process may be left running unattended
            self.begin_shutdown()
            await asyncio.gather(*tasks, return_exceptions=True)
            kill_orphans(set(), self.watchdog.mark, {signal.SIGTERM: 2.0, signal.SIGKILL: 2.0})
            for reader in [reader for process in self.processes for reader in process.readers]:
                reader.join(FLUSH_S)
            self.watchdog.close()
        return self.exit_code

    def begin_shutdown(self) -> None:
        """Let every process end."""
        if not self.shutdown.done():
            self.shutdown.set_result(None)

    def on_signal(self, number: signal.Signals) -> None:
        """End in order; a second signal changes nothing."""
        name = (
            "user interrupted with ctrl-c (SIGINT)" if number == signal.SIGINT else f"received {number.name}"
        )
        again = " again, ignoring..." if self.shutdown.done() else ""
        self.console.log("WARNING", "launch", name + again)
        self.begin_shutdown()

    def on_child(self) -> None:
        """Notice which children ended."""
        self.watchdog.check()
        for process in self.processes:
            process.on_exit()


class Process:
    """Runs one ProcessSpec in a session of its own, so that everything it starts can be ended with it."""

    def __init__(self, spec: ProcessSpec, context: LaunchContext) -> None:
        self.spec = spec
        self.context = context
        self.is_final = False  # ended, and will not be started again
        self.start()

    def log(self, level: str, message: str) -> None:
        """Write a line about this process."""
        self.context.console.log(level, self.spec.name, message)

    def start(self) -> None:
        """Start the process. Raises LaunchError with file and line when there is no such program."""
        spec, forward = self.spec, self.context.console.forward
        try:
            self.popen = subprocess.Popen(
                spec.command,
                bufsize=0,
                stdin=subprocess.PIPE,  # as under launch: open, never written
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**spec.environment, MARK: self.context.watchdog.mark},
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise LocatedError(spec.mark, f"{spec.name}: cannot start {spec.command[0]!r}: {error}") from None
        self.group = self.popen.pid  # its process group and session
        self.exited = asyncio.get_running_loop().create_future()
        self.context.watchdog.add(self.group)
        self.log("INFO", f"process started with pid [{self.group}]")
        self.readers = []
        for stream, where in zip((self.popen.stdout, self.popen.stderr), OUTPUTS[spec.output], strict=True):
            reader = threading.Thread(target=forward, args=(stream, spec.name, where), daemon=True)
            reader.start()
            self.readers.append(reader)

    def on_exit(self) -> None:
        """Write the last output and the exit code; called when any child of the launcher ended."""
        if self.exited.done() or self.popen.poll() is None:
            return
        for reader in self.readers:
            reader.join(DRAIN_S)
        pid, code = self.popen.pid, self.popen.returncode
        if code == 0:
            self.log("INFO", f"process has finished cleanly [pid {pid}]")
        else:
            command = " ".join(word for word in self.spec.command if word.strip())
            self.log("ERROR", f"process has died [pid {pid}, exit code {code}, cmd '{command}'].")
        self.exited.set_result(code)

    async def supervise(self) -> None:
        """Wait for the end of the process or of the launch; start it again where the file says so."""
        context, shutdown = self.context, self.context.shutdown
        while not shutdown.done():
            await asyncio.wait([self.exited, shutdown], return_when=asyncio.FIRST_COMPLETED)
            if shutdown.done():
                break
            if self.spec.respawn and not self.spec.required:
                # what it left would hold the ports and devices that it needs when it comes back
                self.signal_all(signal.SIGKILL)
                context.watchdog.drop(self.group)
                await asyncio.wait([shutdown], timeout=self.spec.respawn_delay_s)
                if not shutdown.done():
                    self.start()
                continue
            self.is_final = True
            if self.spec.required:
                message = f"process[{self.spec.name}] was required: shutting down launched system"
                context.console.log("INFO", "launch", message)
                code = self.exited.result()
                context.exit_code = code if code >= 0 else 128 - code
            if self.spec.required or all(process.is_final for process in context.processes):
                context.begin_shutdown()
            await asyncio.wait([shutdown])
        await self.terminate()
        context.watchdog.drop(self.group)

    async def terminate(self) -> None:
        """Send SIGINT, later SIGTERM, later SIGKILL to the process and to what it started."""
        spec, loop, failure = self.spec, asyncio.get_running_loop(), ""
        for number, timeout_s in self.context.watchdog.timeouts_s.items():
            if failure and not self.exited.done():
                self.log("ERROR", f"process[{spec.name}] {failure}, escalating to '{number.name}'")
            failure = f"failed to terminate '{timeout_s:g}' seconds after receiving '{number.name}'"
            self.signal_all(number)
            deadline = loop.time() + timeout_s
            await asyncio.wait([self.exited], timeout=timeout_s)
            if number == signal.SIGINT:
                deadline = min(deadline, loop.time() + LEFTOVERS_S)
            while not self.exited.done() or find_processes({self.group}):
                if loop.time() > deadline:
                    break
                await asyncio.sleep(POLL_S)
            else:
                return
        self.log("ERROR", f"process[{spec.name}] does not end, it is stuck in the kernel")

    def signal_all(self, number: signal.Signals) -> None:
        """Signal the process and what it started, or what it left."""
        left, name = find_processes({self.group}), self.spec.name
        target = f"{len(left)} processes left by {name}" if self.exited.done() else f"process[{name}]"
        if not left:
            return
        self.log("INFO", f"sending signal '{number.name}' to {target}")
        if number == signal.SIGINT:  # as a terminal does: not to groups that a program made on purpose
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.group, number)
        else:
            send_signal(left, number)
