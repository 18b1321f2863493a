"""`splatface head`: list heads, build or export one."""

import argparse
from pathlib import Path

from splatface.models.head.file import load_head, save_head
from splatface.models.head.ply import write_ply
from splatface.models.head.shipped import head_folder, shipped_heads

__all__ = ["add_arguments", "main"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One subcommand for each verb."""
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("list", help="the heads that are installed")
    ply = verbs.add_parser("export-ply", help="write the head at rest as a usual 3DGS .ply")
    ply.add_argument("head", help="a shipped head's name or a folder")
    ply.add_argument("file", type=Path, help="the .ply to write")
    build = verbs.add_parser("procedural", help="build a procedural head, another person for each seed")
    build.add_argument("folder", type=Path, help="a new folder for the head")
    build.add_argument("--seed", type=int, default=0, help="which person")


def main(args: argparse.Namespace) -> int:
    """Carry out the verb."""
    if args.verb == "list":
        for name, folder in shipped_heads().items():
            print(f"{name:12s} {folder}")
    elif args.verb == "export-ply":
        head = load_head(head_folder(args.head))
        write_ply(head.gaussians, args.file)
        print(f"{args.file}: {len(head.gaussians)} Gaussians")
    else:
        _build(args.folder, args.seed)
    return 0


def _build(folder: Path, seed: int) -> None:
    from dataclasses import replace

    from splatface.models.audio2motion.weights import load_net, shipped_encoders
    from splatface.models.messages import HeadControl
    from splatface.models.render.render import renderer
    from splatface.models.talking_head import TalkingHead
    from splatface.models.training.synthetic.procedural import procedural_head

    head = replace(procedural_head(seed), nets={name: load_net(name) for name in shipped_encoders()})
    talker = TalkingHead(head, renderer("cpu", threads=1), size=(512, 512), watermark=True)
    save_head(head, folder, talker.render([], HeadControl(), 0))
    print(f"{folder}: {len(head.gaussians)} Gaussians, preview in {folder / 'preview.png'}")
