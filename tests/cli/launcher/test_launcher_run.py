"""Whole launches, real processes."""

import os
import re
import signal
import subprocess
import time

import pytest
from conftest import COMMAND, alive, marked_by, read_until, wait_until

pytestmark = pytest.mark.slow

# prints its process id, then sleeps; each variant ends at another signal
SLEEPS = "sh -c 'echo pid=\\$\\$; exec sleep 60'"
IGNORES_INT = "sh -c 'trap : INT; echo pid=\\$\\$; while :; do sleep 0.05; done'"
IGNORES_INT_AND_TERM = "sh -c 'trap : INT TERM; echo pid=\\$\\$; while :; do sleep 0.05; done'"


def yaml(line):
    """A command line as a YAML string."""
    return '"' + str(line).replace("\\", "\\\\").replace('"', '\\"') + '"'


def node(line, more=""):
    """A node whose program and arguments are the words of a command line."""
    program, _, args = str(line).partition(" ")
    return f"  - node: {{exec: {program}, args: {yaml(args)}, output: screen{more}}}\n"


def pids(lines):
    return [int(number) for number in re.findall(r"pid=(\d+)", "".join(lines))]


def test_output_and_end(launch_folder):
    text = "launch:\n" + node("sh -c 'echo out; echo err >&2; printf unfinished'") + node("sh -c 'exit 3'")
    code, out, err = launch_folder.run(text)
    lines = out.splitlines()
    assert code == 0
    assert err == ""
    pid = re.search(r"\[INFO\] \[sh-1\]: process started with pid \[(\d+)\]", out)[1]
    assert {"[sh-1] out", "[sh-1] err", "[sh-1] unfinished"} <= set(lines)
    assert f"[INFO] [sh-1]: process has finished cleanly [pid {pid}]" in lines
    died = r"\[ERROR\] \[sh-2\]: process has died \[pid \d+, exit code 3, cmd 'sh -c exit 3 --ros-args'\]\."
    assert re.search(died, out)


def test_a_node_gets_its_command_line(launch_folder):
    code, out, _ = launch_folder.run("launch:\n  - node: {pkg: pkg, exec: show, name: a, output: screen}\n")
    assert code == 0
    assert re.findall(r"\[show-1\] word=(.*)", out) == ["--ros-args", "-r", "__node:=a"]


def test_python_children_speak_at_once(launch_folder):
    """Their stdout is a pipe: without PYTHONUNBUFFERED the line would come at the end."""
    line = "python3 -c 'import time; print(1 + 1); time.sleep(60)'"
    popen = launch_folder.start("launch:\n" + node(line))
    read_until(popen, "[python3-1] 2", timeout=5)
    popen.send_signal(signal.SIGINT)
    popen.communicate(timeout=10)


@pytest.mark.parametrize(
    ("output", "on_screen", "in_launch_log"),
    [
        ("screen", {"out", "err"}, set()),
        ("log", {"err"}, {"out", "err"}),
        ("both", {"out", "err"}, {"out", "err"}),
    ],
)
def test_where_output_goes(launch_folder, output, on_screen, in_launch_log):
    launch_folder.program("pkg", "say", "#!/bin/sh\necho out\necho err >&2\n")
    _, out, _ = launch_folder.run(f"launch:\n  - node: {{pkg: pkg, exec: say, output: {output}}}\n")
    (folder,) = [path for path in (launch_folder.folder / "log").iterdir() if not path.is_symlink()]
    assert f"All log files can be found below {folder}" in out
    assert (launch_folder.folder / "log" / "latest").resolve() == folder
    log = (folder / "launch.log").read_text()
    assert "process started with pid" in log
    assert set(re.findall(r"^\[say-1\] (\w+)", out, re.MULTILINE)) == on_screen
    assert set(re.findall(r" \[say-1\] (\w+)", log)) == in_launch_log
    assert [path.name for path in folder.iterdir()] == ["launch.log"]


def test_without_a_place_for_log_files_it_runs_all_the_same(launch_folder):
    launch_folder.environment["ROS_LOG_DIR"] = "/proc/nowhere"
    code, out, _ = launch_folder.run("launch:\n" + node("echo hello"))
    assert code == 0
    assert "[echo-1] hello" in out


def test_set_env_reaches_the_process(launch_folder):
    text = "launch:\n  - set_env: {name: A, value: one}\n" + node("sh -c 'echo \\$A'")
    assert "[sh-1] one" in launch_folder.run(text)[1]


def test_respawn_until_the_end(launch_folder):
    began = time.monotonic()
    popen = launch_folder.start("launch:\n" + node("echo again", ", respawn: 'true', respawn_delay: 0.1"))
    for _ in range(3):
        read_until(popen, "[echo-1] again")
    assert time.monotonic() - began > 0.2
    popen.send_signal(signal.SIGINT)
    popen.communicate(timeout=5)
    assert popen.returncode == 0


def test_what_a_dead_process_left_is_ended_before_it_comes_back(launch_folder):
    line = "sh -c 'sleep 60 & echo pid=\\$!'"
    more = ", respawn: 'true', respawn_delay: 0.3"
    popen = launch_folder.start("launch:\n" + node(line, more), "sigterm_timeout:=0.2")
    first, second = pids(read_until(popen, "pid=")) + pids(read_until(popen, "pid="))
    assert first != second
    assert not alive(first)
    popen.send_signal(signal.SIGINT)
    popen.communicate(timeout=10)
    assert not alive(second)


@pytest.mark.parametrize(
    ("line", "expected"), [("sh -c 'exit 7'", 7), ("sh -c 'kill -9 \\$\\$'", 137), ("sh -c 'exit 0'", 0)]
)
def test_the_exit_code_of_a_required_process(launch_folder, line, expected):
    text = "launch:\n" + node(SLEEPS) + node(line, ", on_exit: shutdown")
    code, out, err = launch_folder.run(text)
    assert code == expected
    assert re.search(
        r"\[INFO\] \[launch\]: process\[\w+-2\] was required: shutting down launched system", out
    )
    assert err == ""
    assert not any(alive(pid) for pid in pids([out]))


def test_a_required_process_that_ends_because_of_the_end_does_not_count(launch_folder):
    popen = launch_folder.start("launch:\n" + node("sh -c 'echo up; exec sleep 60'", ", on_exit: shutdown"))
    read_until(popen, "up")
    popen.send_signal(signal.SIGINT)
    popen.communicate(timeout=5)
    assert popen.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_every_polite_signal_ends_everything(launch_folder, number):
    popen = launch_folder.start(
        "launch:\n" + node(SLEEPS) + node("sh -c 'sleep 60 & echo pid=\\$!; wait'"),
        "sigterm_timeout:=0.5",
    )
    found = pids(read_until(popen, "pid=") + read_until(popen, "pid="))
    popen.send_signal(number)
    out, err = popen.communicate(timeout=5)
    assert popen.returncode == 0
    assert err == ""
    assert number.name in out
    assert not any(alive(pid) for pid in found)
    assert not marked_by(popen.pid)


def test_escalation_to_sigterm_and_a_second_ctrl_c(launch_folder):
    popen = launch_folder.start("launch:\n" + node(IGNORES_INT), "sigterm_timeout:=0.4")
    (pid,) = pids(read_until(popen, "pid="))
    popen.send_signal(signal.SIGINT)
    read_until(popen, "sending signal 'SIGINT'")
    popen.send_signal(signal.SIGINT)
    out, err = popen.communicate(timeout=5)
    assert popen.returncode == 0
    assert err == ""
    assert "user interrupted with ctrl-c (SIGINT) again, ignoring..." in out
    failed = (
        "process[sh-1] failed to terminate '0.4' seconds after receiving 'SIGINT', escalating to 'SIGTERM'"
    )
    assert failed in out
    assert "SIGKILL" not in out
    assert not alive(pid)


def test_escalation_to_sigkill(launch_folder):
    text = "launch:\n" + node(IGNORES_INT_AND_TERM)
    popen = launch_folder.start(text, "sigterm_timeout:=0.2", "sigkill_timeout:=0.3")
    (pid,) = pids(read_until(popen, "pid="))
    began = time.monotonic()
    popen.send_signal(signal.SIGINT)
    out, _ = popen.communicate(timeout=5)
    assert 0.5 <= time.monotonic() - began < 2
    assert "escalating to 'SIGTERM'" in out
    assert "escalating to 'SIGKILL'" in out
    assert "exit code -9" in out
    assert not alive(pid)


def test_a_grandchild_that_ignores_signals_is_killed(launch_folder):
    script = """\
        #!/bin/sh
        sh -c "trap : INT TERM; while :; do sleep 0.05; done" &
        echo pid=$!
        exec sleep 60
    """
    path = launch_folder.program("pkg", "leave", script)
    popen = launch_folder.start("launch:\n" + node(path), "sigterm_timeout:=0.2", "sigkill_timeout:=0.2")
    (pid,) = pids(read_until(popen, "pid="))
    popen.send_signal(signal.SIGTERM)
    popen.communicate(timeout=5)
    assert popen.returncode == 0
    assert not alive(pid)


def test_a_daemon_in_a_session_of_its_own_is_ended_too(launch_folder):
    line = "sh -c 'setsid sleep 60 & echo pid=\\$!; wait'"
    popen = launch_folder.start("launch:\n" + node(line))
    read_until(popen, "pid=")
    assert wait_until(lambda: len(marked_by(popen.pid)) == 2)
    popen.send_signal(signal.SIGINT)
    popen.communicate(timeout=8)
    assert popen.returncode == 0
    assert not marked_by(popen.pid)


def test_a_program_that_does_not_exist(launch_folder):
    text = "launch:\n" + node(SLEEPS) + node("/no/such/program")
    code, out, err = launch_folder.run(text)
    assert code == 1
    assert err.count("\n") == 1
    assert "test.launch.yaml:3: program-2: cannot start '/no/such/program'" in err
    assert not any(alive(pid) for pid in pids([out]))


def test_output_that_is_long_or_no_text(launch_folder):
    script = """\
        #!/usr/bin/env python3
        import sys
        sys.stdout.buffer.write(b"x" * 3000000 + b"\\xff\\nend")
    """
    launch_folder.program("pkg", "write", script)
    code, out, _ = launch_folder.run("launch:\n  - node: {pkg: pkg, exec: write, output: screen}\n")
    assert code == 0
    assert out.count("x") >= 3_000_000
    assert "�" in out
    assert "[write-1] end" in out


def test_the_reader_of_the_screen_may_go(launch_folder):
    path = launch_folder.write("launch:\n" + node("sh -c 'for i in 1 2 3; do echo line; sleep 0.2; done'"))
    command = " ".join([*COMMAND, str(path)]) + " | head -1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], env=launch_folder.environment, timeout=10, check=False
    )
    assert done.returncode == 0


def test_temporary_parameter_files_are_removed(launch_folder, tmp_path):
    launch_folder.environment["TMPDIR"] = str(tmp_path / "tmp")
    os.mkdir(tmp_path / "tmp")
    text = "launch:\n  - node: {pkg: pkg, exec: show, output: screen, param: [{name: a, value: 1}]}\n"
    _, out, _ = launch_folder.run(text)
    assert str(tmp_path / "tmp") in out
    assert list((tmp_path / "tmp").iterdir()) == []
