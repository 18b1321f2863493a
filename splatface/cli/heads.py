"""`splatface head`: list heads or export one."""

import argparse
from pathlib import Path

from splatface.models.head.head_file import head_folder, load_head, shipped_heads
from splatface.models.head.ply import write_ply

__all__ = ["add_arguments", "main"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add one subcommand per verb."""
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("list", help="the heads that are installed")
    ply = verbs.add_parser("export-ply", help="write the head at rest as a usual 3DGS .ply")
    ply.add_argument("head", help="a shipped head's name or a folder")
    ply.add_argument("file", type=Path, help="the .ply to write")


def main(args: argparse.Namespace) -> int:
    """Run the verb; return the exit code."""
    if args.verb == "list":
        for name, folder in shipped_heads().items():
            print(f"{name:12s} {folder}")
    else:
        head = load_head(head_folder(args.head))
        write_ply(head.gaussians, args.file)
        print(f"{args.file}: {len(head.gaussians)} Gaussians")
    return 0
