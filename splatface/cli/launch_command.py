# SPDX-License-Identifier: Apache-2.0
"""`splatface launch`: a ROS 2 YAML launch file, without ROS's own launcher."""

import argparse

from splatface.cli.launcher import read_arguments, run_file, show_arguments

__all__ = ["add_arguments", "main"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("file", help="a path, or the name of a file that splatface ships")
    parser.add_argument(
        "arguments", nargs="*", metavar="name:=value", help="launch arguments, the last one counts"
    )
    parser.add_argument(
        "-s",
        "--show-args",
        "--show-arguments",
        action="store_true",
        help="list the file's arguments and stop",
    )


def main(args: argparse.Namespace) -> int:
    """Run the file until its processes end or Ctrl-C, or list its arguments."""
    if args.show_args:
        print(show_arguments(args.file))
        return 0
    return run_file(args.file, read_arguments(args.arguments))
