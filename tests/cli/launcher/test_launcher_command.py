import re
import subprocess

import pytest
from conftest import COMMAND

from splatface.cli import launcher
from splatface.cli.launcher.declared import read_arguments
from splatface.cli.launcher.packages import find_launch_file
from splatface.models.errors import LaunchError


def call(workshop, *arguments):
    return subprocess.run(
        [*COMMAND, *arguments],
        env=workshop.environment,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def test_help_has_an_example(workshop):
    done = call(workshop, "--help")
    assert done.returncode == 0
    assert "example: splatface launch kiosk.launch.yaml source:=hello.wav" in done.stdout


def test_arguments_are_listed_with_their_defaults(workshop):
    path = workshop.write(
        """
        launch:
          - arg: {name: source, default: "$(env HOME 'no where')/x.wav", description: what is heard}
          - arg: {name: mode, choice: [{value: a}, {value: b}]}
          - group:
              if: '$(var mode)'
              children:
                - arg: {name: deep, default: ''}
        """
    )
    done = call(workshop, str(path), "--show-args")
    assert done.returncode == 0
    assert (
        "'source':\n        what is heard\n        (default: '$(env HOME 'no where')/x.wav')" in done.stdout
    )
    assert "'mode':\n        no description given\n        one of: a, b" in done.stdout
    assert "'deep':*" in done.stdout
    assert "only used if" in done.stdout


def test_an_error_is_one_line(workshop):
    path = workshop.write("launch:\n  - nod: {}\n")
    done = call(workshop, str(path))
    assert done.returncode == 1
    assert done.stdout == ""
    assert re.fullmatch(r"splatface launch: .*test.launch.yaml:2: unknown tag 'nod': .*\n", done.stderr)


def test_arguments_reach_the_file(workshop):
    path = workshop.write("launch:\n  - arg: {name: a}\n  - log: {message: 'got $(var a)'}\n")
    done = call(workshop, str(path), "a:=1", "a:=x:=y")
    assert done.returncode == 0
    assert "[INFO] [launch.user]: got x:=y" in done.stdout


@pytest.mark.parametrize("word", ["a", "a=1", ":=1"])
def test_malformed_arguments(word):
    with pytest.raises(LaunchError, match="malformed launch argument"):
        read_arguments([word])


def test_a_name_alone_is_looked_up_where_splatface_is_installed(workshop):
    shipped = workshop.prefix / "share" / "splatface" / "launch"
    shipped.mkdir(parents=True)
    (shipped / "some.launch.yaml").write_text("launch: []\n")
    assert find_launch_file("some.launch.yaml", workshop.environment) == shipped / "some.launch.yaml"
    with pytest.raises(
        LaunchError, match=r"no launch file 'smoe.launch.yaml': give a path, or one of .*some"
    ):
        find_launch_file("smoe.launch.yaml", workshop.environment)


def test_the_public_face():
    assert launcher.__all__ == ["main", "run_file"]
    with pytest.raises(LaunchError, match="no launch file"):
        launcher.run_file("/no/such.launch.yaml", {})
