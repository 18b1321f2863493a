"""No orphan is left, even when the launcher is killed without a chance to speak."""

import os
import signal
import subprocess
import sys

from conftest import alive, marked_by, read_until, wait_until

TIMES = ", sigterm_timeout: 0.3, sigkill_timeout: 0.3"
TEXT = """\
launch:
  - executable: {cmd: "sh -c 'echo ready; exec sleep 60'", output: screen%s}
  - executable: {cmd: "sh -c 'sleep 60 & setsid sleep 60 & echo ready; wait'", output: screen%s}
  - executable: {cmd: "sh -c 'trap : INT TERM; echo ready; while :; do sleep 0.05; done'", output: screen%s}
"""


def guardians_of(launcher_pid):
    """The process ids of a launch's guardians: one, but for the moment in which a killed one is replaced."""
    found = subprocess.run(
        ["pgrep", "-P", str(launcher_pid), "-f", "guardian.py"], capture_output=True, text=True
    )
    return {int(pid) for pid in found.stdout.split()}


def start(workshop):
    popen = workshop.start(TEXT.replace("%s", TIMES))
    for _ in range(3):
        read_until(popen, "] ready")
    assert wait_until(lambda: len(marked_by(popen.pid)) >= 5)
    return popen


def test_kill_9_leaves_nothing(workshop):
    popen = start(workshop)
    (guardian,) = guardians_of(popen.pid)
    popen.kill()
    popen.wait()
    assert wait_until(lambda: not marked_by(popen.pid), timeout=4)
    assert wait_until(lambda: not alive(guardian))


def test_after_kill_9_there_is_time_to_finish(workshop):
    """A recorder must close its file: SIGINT comes first."""
    done = workshop.folder / "done"
    script = f"""\
        #!/bin/sh
        trap "sleep 0.2; echo yes > {done}; exit" INT
        echo ready
        while :; do sleep 0.05; done
    """
    workshop.program("pkg", "record", script)
    popen = workshop.start("launch:\n  - node: {pkg: pkg, exec: record, output: screen}\n")
    read_until(popen, "] ready")
    popen.kill()
    popen.wait()
    assert wait_until(done.exists)
    assert wait_until(lambda: not marked_by(popen.pid))


def test_a_killed_guardian_is_replaced(workshop):
    popen = start(workshop)
    (first,) = guardians_of(popen.pid)
    os.kill(first, signal.SIGKILL)
    assert wait_until(lambda: not alive(first) and guardians_of(popen.pid) - {first})
    popen.kill()
    popen.wait()
    assert wait_until(lambda: not marked_by(popen.pid), timeout=4)


def test_a_launch_within_a_launch(workshop):
    inner = workshop.write("launch:\n  - executable: {cmd: sleep 60}\n", "inner.launch.yaml")
    line = f"{sys.executable} -m splatface.cli.launcher {inner}"
    popen = workshop.start(f"launch:\n  - executable: {{cmd: '{line}', output: screen}}\n")
    read_until(popen, "[sleep-1]: process started")
    (nested,) = marked_by(popen.pid)
    assert wait_until(lambda: len(marked_by(nested)) == 1)  # its mark is there once it has become `sleep`
    popen.kill()
    popen.wait()
    assert wait_until(lambda: not marked_by(nested) and not marked_by(popen.pid))


def test_the_guardian_goes_home_after_a_good_end(workshop):
    popen = start(workshop)
    (guardian,) = guardians_of(popen.pid)
    popen.send_signal(signal.SIGINT)
    popen.communicate(timeout=8)
    assert popen.returncode == 0
    assert not alive(guardian)
