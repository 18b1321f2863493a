import os
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from splatface.cli.launcher.actions import Evaluator
from splatface.cli.launcher.watchdog import MARK, find_processes

COMMAND = [sys.executable, "-m", "splatface.cli.main", "launch"]
SHOW = """\
#!/bin/sh
for word in "$@"; do echo "word=$word"; done
"""


class LaunchFolder:
    """A folder with a fake ament prefix, where launch files are written and run."""

    def __init__(self, folder):
        self.folder = folder
        self.prefix = folder / "prefix"
        self.started = []
        self.program("pkg", "show", SHOW)
        (self.prefix / "share" / "pkg").mkdir(parents=True)
        self.environment = {
            **{key: value for key, value in os.environ.items() if key != MARK},
            "AMENT_PREFIX_PATH": str(self.prefix),
            "ROS_LOG_DIR": str(folder / "log"),
        }

    def program(self, package, name, text):
        path = self.prefix / "lib" / package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    def write(self, text, name="test.launch.yaml"):
        path = self.folder / name
        path.write_text(textwrap.dedent(text))
        return path

    def evaluator(self):
        params = self.folder / "params"
        params.mkdir(exist_ok=True)
        return Evaluator(self.environment, params)

    def plan(self, text, **arguments):
        """Evaluate a launch file without running it: the processes in order."""
        return self.evaluator().evaluate_file(self.write(text), arguments)

    def start(self, text, *arguments):
        """Run a launch file in the background."""
        command = [*COMMAND, str(self.write(text)), *arguments]
        popen = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
            cwd=self.folder,
            start_new_session=True,
        )
        self.started.append(popen)
        return popen

    def run(self, text, *arguments, timeout=20):
        """Run a launch file to its end: (exit code, stdout, stderr)."""
        popen = self.start(text, *arguments)
        out, err = popen.communicate(timeout=timeout)
        return popen.returncode, out, err


def args_of(specs):
    """The `args` of each planned node, as one string."""
    return [" ".join(spec.command[1 : spec.command.index("--ros-args")]) for spec in specs]


@pytest.fixture
def launch_folder(tmp_path):
    made = LaunchFolder(tmp_path)
    yield made
    for popen in made.started:
        if popen.poll() is None:
            popen.kill()
        popen.communicate()


def read_until(popen, text, timeout=10):
    """Lines of a running launch up to the one that holds `text`."""
    lines = []
    until = time.monotonic() + timeout
    while time.monotonic() < until:
        line = popen.stdout.readline()
        lines.append(line)
        if text in line:
            return lines
        assert line, f"the launch ended before {text!r}: {lines}"
    raise AssertionError(f"no {text!r} in {lines}")


def wait_until(condition, timeout=5.0):
    """Wait for a condition; return whether it came true in time."""
    until = time.monotonic() + timeout
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.02)
    return False


def marked_by(launcher_pid):
    """Processes that carry the mark of a launch."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                environment = (entry / "environ").read_bytes().split(b"\0")
                state = (entry / "stat").read_bytes().rpartition(b")")[2].split()[0]
            except OSError:
                continue
            if state != b"Z" and any(
                item.startswith(f"{MARK}={launcher_pid}-".encode()) for item in environment
            ):
                found.add(int(entry.name))
    return found


def alive(pid):
    """Return whether a process runs."""
    return pid in find_processes({os.getpgid(pid)}) if Path(f"/proc/{pid}").exists() else False
