import re
import subprocess

import pytest
from conftest import COMMAND

from splatface.cli import launcher
from splatface.cli.launcher.arguments import read_arguments
from splatface.cli.launcher.packages import find_launch_file
from splatface.models.errors import LaunchError


def call(launch_folder, *arguments):
    return subprocess.run(
        [*COMMAND, *arguments],
        env=launch_folder.environment,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def test_help_has_an_example(launch_folder):
    done = call(launch_folder, "--help")
    assert done.returncode == 0
    assert "example: splatface launch kiosk.launch.yaml source:=hello.wav" in done.stdout


@pytest.mark.parametrize("option", ["-s", "--show-args", "--show-arguments"])
def test_arguments_are_listed_with_their_defaults(launch_folder, option):
    path = launch_folder.write(
        """
        launch:
          - arg: {name: source, default: "$(env HOME 'no where')/x.wav", description: sound to play}
          - arg: {name: mode}
          - group:
              if: '$(var mode)'
              children:
                - arg: {name: deep, default: ''}
        """
    )
    done = call(launch_folder, str(path), option)
    assert done.returncode == 0
    assert (
        "'source':\n        sound to play\n        (default: '$(env HOME 'no where')/x.wav')" in done.stdout
    )
    assert "'mode':\n        no description given\n" in done.stdout
    assert "'deep':*" in done.stdout
    assert "only used if" in done.stdout


def test_an_error_is_one_line(launch_folder):
    path = launch_folder.write("launch:\n  - nod: {}\n")
    done = call(launch_folder, str(path))
    assert done.returncode == 1
    assert done.stdout == ""
    assert re.fullmatch(r"splatface launch: .*test.launch.yaml:2: unknown tag 'nod': .*\n", done.stderr)


def test_arguments_reach_the_file(launch_folder):
    path = launch_folder.write(
        "launch:\n  - arg: {name: a}\n  - node: {exec: echo, args: 'got $(var a)', output: screen}\n"
    )
    done = call(launch_folder, str(path), "a:=1", "a:=x:=y")
    assert done.returncode == 0
    assert "[echo-1] got x:=y --ros-args" in done.stdout


@pytest.mark.parametrize("word", ["a", "a=1", ":=1"])
def test_malformed_arguments(word):
    with pytest.raises(LaunchError, match="malformed launch argument"):
        read_arguments([word])


def test_a_name_alone_is_looked_up_where_splatface_is_installed(launch_folder):
    shipped = launch_folder.prefix / "share" / "splatface" / "launch"
    shipped.mkdir(parents=True)
    (shipped / "some.launch.yaml").write_text("launch: []\n")
    assert find_launch_file("some.launch.yaml", launch_folder.environment) == shipped / "some.launch.yaml"
    with pytest.raises(
        LaunchError, match=r"no launch file 'smoe.launch.yaml': give a path, or one of .*some"
    ):
        find_launch_file("smoe.launch.yaml", launch_folder.environment)


def test_the_public_functions():
    assert launcher.__all__ == ["read_arguments", "run_file", "show_arguments"]
    with pytest.raises(LaunchError, match="no launch file"):
        launcher.run_file("/no/such.launch.yaml", {})
