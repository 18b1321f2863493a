"""`splatface head`: list heads, show what stands in one, build or export one."""

import argparse
import json
from pathlib import Path

from splatface.models.head.file import load_head, save_head
from splatface.models.head.head import Head
from splatface.models.head.ply import write_ply
from splatface.models.head.shipped import head_folder, shipped_heads

__all__ = ["add_arguments", "main"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One subcommand for each verb."""
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("list", help="the heads that are installed")
    info = verbs.add_parser("info", help="who is shown, who consented, what it was trained for")
    info.add_argument("head", help="a shipped head's name or a folder")
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
    elif args.verb == "info":
        print(_info(load_head(head_folder(args.head))))
    elif args.verb == "export-ply":
        head = load_head(head_folder(args.head))
        write_ply(head.gaussians, args.file)
        print(f"{args.file}: {len(head.gaussians)} Gaussians")
    else:
        _build(args.folder, args.seed)
    return 0


def _info(head: Head) -> str:
    info = head.info
    lines = [
        f"name        {info.name}",
        f"licence     {info.licence}",
        f"consent     {info.consent}",
        f"gaussians   {len(head.gaussians)}, of which {len(head.dynamic)} move in {head.basis.shape[2]} ways",
        f"encoders    {', '.join(f'{n.encoder} ({n.feature_dim}-d)' for n in head.nets.values()) or 'none'}",
        f"camera      {info.camera.width}x{info.camera.height}, trained at {info.fps:g} pictures per second",
        f"moves with  {', '.join(info.coefficient_names)}",
    ]
    if info.reports:
        lines.append(f"reports     {json.dumps(dict(info.reports))}")
    return "\n".join(lines)


def _build(folder: Path, seed: int) -> None:
    from dataclasses import replace

    from splatface.models.head.procedural import procedural_head
    from splatface.models.hearing import load_net, shipped_encoders
    from splatface.models.render.render import renderer
    from splatface.models.talker import Talker
    from splatface.models.values import HeadControl

    head = replace(procedural_head(seed), nets={name: load_net(name) for name in shipped_encoders()})
    talker = Talker(head, renderer("cpu", threads=1), size=(512, 512), watermark=True)
    save_head(head, folder, talker.picture([], HeadControl(), 0))
    print(f"{folder}: {len(head.gaussians)} Gaussians, preview in {folder / 'preview.png'}")
