"""The command: `splatface launch FILE [name:=value ...]`."""

import argparse
import os
import sys

from splatface.cli.launcher.declared import Argument, arguments_of, read_arguments
from splatface.cli.launcher.launch import run_file
from splatface.cli.launcher.packages import find_launch_file
from splatface.cli.launcher.parse import parse_file
from splatface.models.errors import LaunchError

__all__ = ["main", "show_arguments"]


def main(argv: list[str] | None = None) -> int:
    """Run or describe a launch file; returns the exit code. A LaunchError is one line on stderr and 1."""
    parser = argparse.ArgumentParser(
        prog="splatface launch",
        description="Run a ROS 2 YAML launch file, without ROS's own launcher. Ctrl-C ends it.",
        epilog="example: splatface launch kiosk.launch.yaml source:=hello.wav",
    )
    parser.add_argument("file", help="a path, or the name of a file that splatface ships")
    parser.add_argument(
        "arguments", nargs="*", metavar="name:=value", help="launch arguments, the last one counts"
    )
    parser.add_argument(
        "-s",
        "--show-args",
        "--show-arguments",
        action="store_true",
        help="list the arguments of the file and stop",
    )
    options = parser.parse_args(argv)
    try:
        if options.show_args:
            print(show_arguments(options.file))
            return 0
        return run_file(options.file, read_arguments(options.arguments))
    except LaunchError as error:
        print(f"splatface launch: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # before the first process started
        return 130


def show_arguments(path_or_name: str) -> str:
    """The arguments of a launch file with defaults and choices, as text. Raises LaunchError."""
    path = find_launch_file(path_or_name, dict(os.environ))
    arguments = list(arguments_of(parse_file(path)))
    lines = ["Arguments (pass arguments as '<name>:=<value>'):"]
    for argument in arguments:
        lines += ["", f"    '{argument.name}':{'*' if argument.conditional else ''}", *_described(argument)]
    if not arguments:
        lines += ["", "  No arguments."]
    if any(argument.conditional for argument in arguments):
        lines += ["", "* argument(s) which are only used if specific conditions occur"]
    return "\n".join(lines)


def _described(argument: Argument) -> list[str]:
    lines = [f"        {argument.description}"]
    if argument.choices:
        lines.append(f"        one of: {', '.join(argument.choices)}")
    if argument.default is not None:
        lines.append(f"        (default: '{argument.default}')")
    return lines
