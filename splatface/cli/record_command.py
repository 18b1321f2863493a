# SPDX-License-Identifier: Apache-2.0
"""`splatface record`: record the topics of a running face into a rosbag2 folder."""

import argparse
from pathlib import Path

from splatface.cli.launcher import run_file
from splatface.models.recording.bag_writer import repair

__all__ = ["add_arguments", "main"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("path", help="a new folder for the recording")
    parser.add_argument("--namespace", default="face", help="of the running face")
    parser.add_argument("--pictures", action="store_true", help="record the images, too (20 MB per second)")
    parser.add_argument("--repair", action="store_true", help="complete a recording that a crash truncated")


def main(args: argparse.Namespace) -> int:
    """Record until Ctrl-C, or repair a recording."""
    if args.repair:
        print(f"{args.path}: kept {repair(Path(args.path))} messages")
        return 0
    arguments = {
        "path": args.path,
        "namespace": args.namespace,
        "pictures": "true" if args.pictures else "false",
    }
    return run_file("record.launch.yaml", arguments)
