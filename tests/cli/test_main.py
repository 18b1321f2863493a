import re
import subprocess
import sys

import pytest

from splatface.cli.main import COMMANDS, main, parser_for


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command):
    text = parser_for(command).format_help()
    assert f"example: splatface {command}" in " ".join(text.split())


def test_an_unknown_command_lists_the_known(capsys):
    assert main(["sing"]) == 2
    assert "no command 'sing': choose from run, launch" in capsys.readouterr().err


def test_help_lists_all_commands(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(command in text for command in ("run", "doctor", "bench"))


def test_a_head_that_is_not_there_is_one_line(capsys):
    assert main(["info", "/no/such/head"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("splatface info: head: expected a folder with a head.yaml")
    assert len(error.splitlines()) == 1


def test_info_shows_person_consent_and_metrics(capsys):
    assert main(["info", "mira"]) == 0
    output = capsys.readouterr().out
    assert re.search(r"^person +nobody", output, re.M)
    assert re.search(r"^consent +nobody", output, re.M)
    assert re.search(r"^by motion +PSNR \d\d\.\d dB", output, re.M)
    assert re.search(r"^pose +yaw -\d+ to \d+", output, re.M)


def test_the_module_runs_as_a_program():
    command = [sys.executable, "-m", "splatface.cli.main", "bench", "graph", "--help"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0
    assert "--encoder" in result.stdout
