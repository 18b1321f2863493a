"""Whole launches, real processes."""

import os
import re
import signal
import subprocess
import time

import pytest
from conftest import COMMAND, alive, marked_by, read_until, wait_until

# says its process id, then sleeps; each variant ends at another signal
SLEEPS = "sh -c 'echo pid=\\$\\$; exec sleep 60'"
DEAF_TO_INT = "sh -c 'trap : INT; echo pid=\\$\\$; while :; do sleep 0.05; done'"
DEAF = "sh -c 'trap : INT TERM; echo pid=\\$\\$; while :; do sleep 0.05; done'"


def yaml(line):
    """A command line as a YAML string."""
    return '"' + str(line).replace("\\", "\\\\").replace('"', '\\"') + '"'


def executable(line, more=""):
    return f"  - executable: {{cmd: {yaml(line)}, output: screen{more}}}\n"


def pids(lines):
    return [int(number) for number in re.findall(r"pid=(\d+)", "".join(lines))]


def test_output_and_end(workshop):
    text = (
        "launch:\n"
        + executable("sh -c 'echo out; echo err >&2; printf unfinished'")
        + executable("sh -c 'exit 3'")
    )
    code, out, err = workshop.run(text)
    lines = out.splitlines()
    assert code == 0
    assert err == ""
    pid = re.search(r"\[INFO\] \[sh-1\]: process started with pid \[(\d+)\]", out)[1]
    assert {"[sh-1] out", "[sh-1] err", "[sh-1] unfinished"} <= set(lines)
    assert f"[INFO] [sh-1]: process has finished cleanly [pid {pid}]" in lines
    died = r"\[ERROR\] \[sh-2\]: process has died \[pid \d+, exit code 3, cmd 'sh -c exit 3'\]\."
    assert re.search(died, out)


def test_a_node_gets_its_command_line(workshop):
    code, out, _ = workshop.run("launch:\n  - node: {pkg: pkg, exec: show, name: a, output: screen}\n")
    assert code == 0
    assert re.findall(r"\[show-1\] word=(.*)", out) == ["--ros-args", "-r", "__node:=a"]


def test_python_children_speak_at_once(workshop):
    """Their stdout is a pipe: without PYTHONUNBUFFERED the line would come at the end."""
    line = "python3 -c 'import time; print(1 + 1); time.sleep(60)'"
    popen = workshop.start("launch:\n" + executable(line))
    read_until(popen, "[python3-1] 2", timeout=5)
    popen.send_signal(signal.SIGINT)
    popen.communicate(timeout=10)


@pytest.mark.parametrize(
    ("output", "on_screen", "in_launch_log", "own_files"),
    [
        ("screen", {"out", "err"}, set(), set()),
        ("log", {"err"}, {"out", "err"}, set()),
        ("both", {"out", "err"}, {"out", "err"}, set()),
        ("own_log", set(), set(), {"say-1.log", "say-1-stdout.log", "say-1-stderr.log"}),
        ("full", {"out", "err"}, {"out", "err"}, {"say-1.log", "say-1-stdout.log", "say-1-stderr.log"}),
    ],
)
def test_where_output_goes(workshop, output, on_screen, in_launch_log, own_files):
    workshop.program("pkg", "say", "#!/bin/sh\necho out\necho err >&2\n")
    _, out, _ = workshop.run(f"launch:\n  - node: {{pkg: pkg, exec: say, output: {output}}}\n")
    (folder,) = [path for path in (workshop.folder / "log").iterdir() if not path.is_symlink()]
    assert f"All log files can be found below {folder}" in out
    assert (workshop.folder / "log" / "latest").resolve() == folder
    log = (folder / "launch.log").read_text()
    assert "process started with pid" in log
    assert set(re.findall(r"^\[say-1\] (\w+)", out, re.MULTILINE)) == on_screen
    assert set(re.findall(r" \[say-1\] (\w+)", log)) == in_launch_log
    assert {path.name for path in folder.iterdir()} - {"launch.log"} == own_files


def test_without_a_place_for_log_files_it_runs_all_the_same(workshop):
    workshop.environment["ROS_LOG_DIR"] = "/proc/nowhere"
    code, out, _ = workshop.run("launch:\n" + executable("echo hello"))
    assert code == 0
    assert "[echo-1] hello" in out


def test_shell_and_environment_and_cwd(workshop):
    text = f"""
        launch:
          - set_env: {{name: A, value: one}}
          - executable:
              cmd: echo \\\\$A \\\\$B; pwd
              shell: true
              cwd: {workshop.folder}
              output: screen
              env: [{{name: B, value: two}}]
    """
    text = text.replace("\\\\", "\\")
    _, out, _ = workshop.run(text)
    assert "[echo-1] one two" in out
    assert f"[echo-1] {workshop.folder}" in out


def test_respawn_until_enough(workshop):
    more = ", respawn: 'true', respawn_delay: 0.1, respawn_max_retries: 2"
    began = time.monotonic()
    code, out, _ = workshop.run("launch:\n" + executable("echo again", more))
    assert code == 0
    assert out.count("[echo-1] again") == 3
    assert time.monotonic() - began > 0.2


def test_respawn_stops_at_the_end(workshop):
    popen = workshop.start("launch:\n" + executable("echo again", ", respawn: 'true', respawn_delay: 0.05"))
    for _ in range(3):
        read_until(popen, "[echo-1] again")
    popen.send_signal(signal.SIGINT)
    popen.communicate(timeout=5)
    assert popen.returncode == 0


def test_what_a_dead_process_left_is_ended_before_it_comes_back(workshop):
    line = "sh -c 'sleep 60 & echo pid=\\$!'"
    more = ", respawn: 'true', respawn_delay: 0.3, respawn_max_retries: 1, sigterm_timeout: 0.2"
    popen = workshop.start("launch:\n" + executable(line, more))
    first, second = pids(read_until(popen, "pid=")) + pids(read_until(popen, "pid="))
    popen.communicate(timeout=10)
    assert first != second
    assert not alive(first)
    assert not alive(second)


def test_timer_and_idle_end(workshop):
    text = (
        "launch:\n  - timer: {period: 0.4, children: [{log: {message: later}}]}\n  - log: {message: sooner}\n"
    )
    began = time.monotonic()
    code, out, _ = workshop.run(text)
    assert code == 0
    assert out.index("[INFO] [launch.user]: sooner") < out.index("[INFO] [launch.user]: later")
    assert time.monotonic() - began > 0.4


def test_shutdown_from_a_timer_ends_everything(workshop):
    text = "launch:\n" + executable(SLEEPS)
    text += "  - timer: {period: 0.3, children: [{shutdown: {reason: 'enough'}}]}\n"
    text += "  - timer: {period: 60.0, children: []}\n"
    code, out, _ = workshop.run(text)
    assert code == 0
    assert "shutting down: enough" in out
    assert "sending signal 'SIGINT' to process[sh-1]" in out
    assert not any(alive(pid) for pid in pids([out]))


def test_a_mistake_in_a_timer_ends_the_launch(workshop):
    text = "launch:\n" + executable(SLEEPS)
    text += "  - timer:\n      period: 0.2\n      children:\n        - log: {message: '$(var nope)'}\n"
    code, out, err = workshop.run(text)
    assert code == 1
    assert err.count("\n") == 1
    assert ":6: log: launch configuration 'nope' does not exist" in err
    assert not any(alive(pid) for pid in pids([out]))


@pytest.mark.parametrize(
    ("line", "expected"), [("sh -c 'exit 7'", 7), ("sh -c 'kill -9 \\$\\$'", 137), ("true", 0)]
)
def test_the_exit_code_of_a_required_process(workshop, line, expected):
    text = "launch:\n" + executable(SLEEPS) + executable(line, ", on_exit: shutdown")
    code, out, err = workshop.run(text)
    assert code == expected
    assert re.search(
        r"\[INFO\] \[launch\]: process\[\w+-2\] was required: shutting down launched system", out
    )
    assert err == ""
    assert not any(alive(pid) for pid in pids([out]))


def test_a_required_process_that_ends_because_of_the_end_does_not_count(workshop):
    popen = workshop.start("launch:\n" + executable("sh -c 'echo up; exec sleep 60'", ", on_exit: shutdown"))
    read_until(popen, "up")
    popen.send_signal(signal.SIGINT)
    popen.communicate(timeout=5)
    assert popen.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_every_polite_signal_ends_everything(workshop, number):
    popen = workshop.start(
        "launch:\n"
        + executable(SLEEPS)
        + executable("sh -c 'sleep 60 & echo pid=\\$!; wait'", ", sigterm_timeout: 0.5")
    )
    found = pids(read_until(popen, "pid=") + read_until(popen, "pid="))
    popen.send_signal(number)
    out, err = popen.communicate(timeout=5)
    assert popen.returncode == 0
    assert err == ""
    assert number.name in out
    assert not any(alive(pid) for pid in found)
    assert not marked_by(popen.pid)


def test_escalation_to_sigterm_and_a_second_ctrl_c(workshop):
    text = "launch:\n" + executable(DEAF_TO_INT, ", sigterm_timeout: 0.4")
    popen = workshop.start(text)
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


def test_escalation_to_sigkill(workshop):
    text = "launch:\n" + executable(DEAF, ", sigterm_timeout: 0.2, sigkill_timeout: 0.3")
    popen = workshop.start(text)
    (pid,) = pids(read_until(popen, "pid="))
    began = time.monotonic()
    popen.send_signal(signal.SIGINT)
    out, _ = popen.communicate(timeout=5)
    assert 0.5 <= time.monotonic() - began < 2
    assert "escalating to 'SIGTERM'" in out
    assert "escalating to 'SIGKILL'" in out
    assert "exit code -9" in out
    assert not alive(pid)


def test_a_deaf_grandchild_is_killed(workshop):
    script = """\
        #!/bin/sh
        sh -c "trap : INT TERM; while :; do sleep 0.05; done" &
        echo pid=$!
        exec sleep 60
    """
    path = workshop.program("pkg", "leave", script)
    popen = workshop.start("launch:\n" + executable(path, ", sigterm_timeout: 0.2, sigkill_timeout: 0.2"))
    (pid,) = pids(read_until(popen, "pid="))
    popen.send_signal(signal.SIGTERM)
    popen.communicate(timeout=5)
    assert popen.returncode == 0
    assert not alive(pid)


def test_a_daemon_in_a_session_of_its_own_is_ended_too(workshop):
    line = "sh -c 'setsid sleep 60 & echo pid=\\$!; wait'"
    popen = workshop.start("launch:\n" + executable(line))
    read_until(popen, "pid=")
    assert wait_until(lambda: len(marked_by(popen.pid)) == 2)
    popen.send_signal(signal.SIGINT)
    popen.communicate(timeout=8)
    assert popen.returncode == 0
    assert not marked_by(popen.pid)


def test_a_program_that_does_not_exist(workshop):
    text = "launch:\n" + executable(SLEEPS) + executable("/no/such/program")
    code, out, err = workshop.run(text)
    assert code == 1
    assert err.count("\n") == 1
    assert "test.launch.yaml:3: program-2: cannot start '/no/such/program'" in err
    assert not any(alive(pid) for pid in pids([out]))


def test_output_that_is_long_or_no_text(workshop):
    script = """\
        #!/usr/bin/env python3
        import sys
        sys.stdout.buffer.write(b"x" * 3000000 + b"\\xff\\nend")
    """
    workshop.program("pkg", "write", script)
    code, out, _ = workshop.run("launch:\n  - node: {pkg: pkg, exec: write, output: screen}\n")
    assert code == 0
    assert out.count("x") >= 3_000_000
    assert "�" in out
    assert "[write-1] end" in out


def test_the_reader_of_the_screen_may_go(workshop):
    path = workshop.write("launch:\n" + executable("sh -c 'for i in 1 2 3; do echo line; sleep 0.2; done'"))
    command = " ".join([*COMMAND, str(path)]) + " | head -1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], env=workshop.environment, timeout=10, check=False
    )
    assert done.returncode == 0


def test_temporary_parameter_files_are_removed(workshop, tmp_path):
    workshop.environment["TMPDIR"] = str(tmp_path / "tmp")
    os.mkdir(tmp_path / "tmp")
    text = "launch:\n  - node: {pkg: pkg, exec: show, output: screen, param: [{name: a, value: 1}]}\n"
    _, out, _ = workshop.run(text)
    assert str(tmp_path / "tmp") in out
    assert list((tmp_path / "tmp").iterdir()) == []
