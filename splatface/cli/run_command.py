# SPDX-License-Identifier: Apache-2.0
"""`splatface run`: the kiosk launch file with ordinary options."""

import argparse

from splatface.cli.launcher import run_file

__all__ = ["add_arguments", "main"]

OPTIONS = {
    "source": "microphone, or a sound file; default: a short greeting in a loop",
    "head": "a shipped head's name or the path of a head folder",
    "encoder": "fsmn (lowest latency), whisper or logmel",
    "fps": "frames per second, 1 to 120",
    "size": "width x height in pixels, such as 512x512",
    "background": "a color such as #2a3b4c, or an image file",
    "port": "TCP port of the page",
    "address": "network address of the page; 0.0.0.0 serves it to other machines",
    "namespace": "of all nodes and topics",
    "device": "microphone by name or index",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    for name, text in OPTIONS.items():
        parser.add_argument(f"--{name}", help=text)


def main(args: argparse.Namespace) -> int:
    """Start the kiosk; return when it ends or after Ctrl-C."""
    return run_file(
        "kiosk.launch.yaml", {name: value for name, value in vars(args).items() if value is not None}
    )
