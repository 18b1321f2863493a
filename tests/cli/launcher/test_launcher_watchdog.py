"""No orphan is left, even when the launcher is killed without a chance to react."""

import os
import signal
import subprocess

from conftest import COMMAND, alive, marked_by, read_until, wait_until

TIMEOUTS = ("sigterm_timeout:=0.3", "sigkill_timeout:=0.3")
TEXT = """\
launch:
  - node: {exec: sh, args: "-c 'echo ready; exec sleep 60'", output: screen}
  - node: {exec: sh, args: "-c 'sleep 60 & setsid sleep 60 & echo ready; wait'", output: screen}
  - node: {exec: sh, args: "-c 'trap : INT TERM; echo ready; while :; do sleep 0.05; done'", output: screen}
"""


def watchdogs_of(launcher_pid):
    """The process ids of a launch's watchdogs: one, but for the moment in which a killed one is replaced."""
    found = subprocess.run(
        ["pgrep", "-P", str(launcher_pid), "-f", "watchdog.py"], capture_output=True, text=True
    )
    return {int(pid) for pid in found.stdout.split()}


def start(launch_folder):
    popen = launch_folder.start(TEXT, *TIMEOUTS)
    for _ in range(3):
        read_until(popen, "] ready")
    assert wait_until(lambda: len(marked_by(popen.pid)) >= 5)
    return popen


def test_kill_9_leaves_nothing(launch_folder):
    popen = start(launch_folder)
    (watchdog,) = watchdogs_of(popen.pid)
    popen.kill()
    popen.wait()
    assert wait_until(lambda: not marked_by(popen.pid), timeout=4)
    assert wait_until(lambda: not alive(watchdog))


def test_after_kill_9_there_is_time_to_finish(launch_folder):
    """A recorder must close its file: SIGINT comes first."""
    done = launch_folder.folder / "done"
    script = f"""\
        #!/bin/sh
        trap "sleep 0.2; echo yes > {done}; exit" INT
        echo ready
        while :; do sleep 0.05; done
    """
    launch_folder.program("pkg", "record", script)
    popen = launch_folder.start("launch:\n  - node: {pkg: pkg, exec: record, output: screen}\n")
    read_until(popen, "] ready")
    popen.kill()
    popen.wait()
    assert wait_until(done.exists)
    assert wait_until(lambda: not marked_by(popen.pid))


def test_a_killed_watchdog_is_replaced(launch_folder):
    popen = start(launch_folder)
    (first,) = watchdogs_of(popen.pid)
    os.kill(first, signal.SIGKILL)
    assert wait_until(lambda: not alive(first) and watchdogs_of(popen.pid) - {first})
    popen.kill()
    popen.wait()
    assert wait_until(lambda: not marked_by(popen.pid), timeout=4)


def test_a_launch_within_a_launch(launch_folder):
    text = """launch: [node: {exec: sh, args: '-c "exec %s"', output: screen}]\n"""
    inner = launch_folder.write(text % "sleep 60", "inner.launch.yaml")
    popen = launch_folder.start(text % f"{' '.join(COMMAND)} {inner}")
    read_until(popen, "[sh-1]: process started")
    read_until(popen, "[sh-1]: process started")
    (nested,) = marked_by(popen.pid)
    assert wait_until(lambda: len(marked_by(nested)) == 1)  # its mark is there once it has become `sleep`
    popen.kill()
    popen.wait()
    assert wait_until(lambda: not marked_by(nested) and not marked_by(popen.pid))


def test_the_watchdog_ends_after_a_good_end(launch_folder):
    popen = start(launch_folder)
    (watchdog,) = watchdogs_of(popen.pid)
    popen.send_signal(signal.SIGINT)
    popen.communicate(timeout=8)
    assert popen.returncode == 0
    assert not alive(watchdog)
