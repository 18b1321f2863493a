"""`splatface inspect`: pictures of what is inside a head."""

import argparse
from pathlib import Path

from splatface.models.head.file import load_head
from splatface.models.head.shipped import head_folder

__all__ = ["add_arguments", "main"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("head", help="a shipped head's name, a head folder, or a run folder of training")
    parser.add_argument("--out", type=Path, help="folder for the pictures (default: inspect-NAME)")


def main(args: argparse.Namespace) -> int:
    """Write the pictures and say where they are."""
    from splatface.models.training.inspect import inspect_head

    head = load_head(head_folder(args.head))
    folder = args.out or Path(f"inspect-{head.info.name.replace(' ', '-')}")
    for file in inspect_head(head, folder):
        print(file)
    return 0
