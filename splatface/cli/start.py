"""`splatface launch`: any ROS 2 YAML launch file, without ROS's own launcher."""

import argparse

from splatface.cli import launcher

__all__ = ["add_arguments", "main"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("file", help="a path, or the name of a file that splatface ships")
    parser.add_argument("arguments", nargs="*", metavar="name:=value", help="launch arguments")
    parser.add_argument("-s", "--show-args", action="store_true", help="list the file's arguments and stop")


def main(args: argparse.Namespace) -> int:
    """Run the file until its processes end or Ctrl-C."""
    return launcher.main([args.file, *args.arguments, *(["--show-args"] if args.show_args else [])])
