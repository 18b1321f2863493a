"""`splatface run`: the kiosk launch file with ordinary options."""

import argparse

from splatface.cli.launcher import run_file

__all__ = ["add_arguments", "main"]

OPTIONS = {
    "source": "microphone, or a sound file; default: a short greeting in a loop",
    "head": "a shipped head's name or the path of a head folder",
    "encoder": "fsmn (shortest delay), whisper or logmel",
    "fps": "pictures per second, 1 to 120",
    "size": "width x height, such as 512x512",
    "background": "a color such as #2a3b4c, or a picture",
    "port": "TCP port of the page",
    "address": "network address of the page; 0.0.0.0 shows it to other machines",
    "namespace": "of all nodes and topics",
    "device": "microphone by name or index",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    for name, text in OPTIONS.items():
        parser.add_argument(f"--{name}", help=text)


def main(args: argparse.Namespace) -> int:
    """Start the kiosk and stay until Ctrl-C."""
    given = {name: value for name, value in vars(args).items() if value is not None}
    return run_file("kiosk.launch.yaml", given)
