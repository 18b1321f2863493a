# SPDX-License-Identifier: Apache-2.0
"""`splatface actor`: make a data set of a synthetic person who speaks, to train a head from."""

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from splatface.cli.progress_line import CountProgress
from splatface.models.errors import ActorError

if TYPE_CHECKING:
    from splatface.models.training.synthetic.actor_video import ActorScene, ActorVideoSpec

__all__ = ["add_arguments", "main"]

_RENDERER = Path(__file__).resolve().parents[2] / "tools" / "film" / "render.py"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("actor", help="mira, theo, ada, or a number: a different person for each number")
    parser.add_argument("--out", type=Path, required=True, help="a new folder for the data set")
    parser.add_argument("--seconds", type=float, default=45.0, help="length of the video (45)")
    parser.add_argument(
        "--pictures", type=int, default=220, help="training frames; test frames come on top (220)"
    )
    parser.add_argument("--fps", type=float, default=25.0, help="frames per second (25)")
    parser.add_argument("--size", type=int, default=512, help="width and height in pixels (512)")
    parser.add_argument("--voice", default="", help="such as flite/slt; default: the best installed one")
    parser.add_argument("--seed", type=int, default=0, help="changes the sentences and the movements (0)")
    parser.add_argument(
        "--look",
        choices=LOOKS,
        default="preview",
        help="preview: drawn by splatface; film: rendered by Blender (preview)",
    )
    film = parser.add_argument_group("rendering with Blender")
    film.add_argument(
        "--blender", type=Path, help="a Python that has Blender's bpy installed, such as bpyenv/bin/python"
    )
    film.add_argument("--samples", type=int, default=5, help="light paths per pixel (5)")
    film.add_argument("--threads", type=int, default=2, help="threads of Blender (2)")
    film.add_argument("--film", type=Path, help="folder of intermediate files (OUT.film)")
    film.add_argument(
        "--step", choices=STEPS, help="run only this step; default: all, each continues where it stopped"
    )


def main(args: argparse.Namespace) -> int:
    """Make the data set; the same command again continues where it stopped."""
    return LOOKS[args.look](args)


def _preview(args: argparse.Namespace) -> int:
    from splatface.models.training.synthetic.actor_video import draw_dataset

    dataset = draw_dataset(_build_scene(args), args.out, _frame_progress("drawn"))
    print(f"{args.out}: {len(dataset.frames)} frames of {dataset.name}")
    return 0


def _film(args: argparse.Namespace) -> int:
    chosen = [args.step] if args.step else list(STEPS)
    if "render" in chosen:
        _check_blender(args)
    for step in chosen:
        STEPS[step](args)
    return 0


def _prepare(args: argparse.Namespace) -> None:
    from splatface.models.training.synthetic.blender_folder import write_render_folder

    write_render_folder(_build_scene(args), _folder(args), _frame_progress("prepared"))


def _render(args: argparse.Namespace) -> None:
    """Run the renderer in its own environment: Blender is GPL, splatface imports none of it."""
    command = [args.blender, _RENDERER, _folder(args), "--size", args.size]
    command += ["--samples", args.samples, "--threads", args.threads]
    code = subprocess.run([str(word) for word in command]).returncode
    if code:
        raise ActorError(
            f"blender: expected {_RENDERER.name} to exit with 0, found {code}: fix what it "
            "reports above, then continue with the same command"
        )


def _import(args: argparse.Namespace) -> None:
    from splatface.models.training.synthetic.actor_video import build_scene
    from splatface.models.training.synthetic.blender_folder import import_rendered, read_video_spec

    scene = build_scene(read_video_spec(_folder(args)))
    dataset = import_rendered(scene, _folder(args), args.out, _frame_progress("imported"))
    print(f"{args.out}: {len(dataset.frames)} frames of {dataset.name}")


STEPS = {"prepare": _prepare, "render": _render, "import": _import}
LOOKS = {"preview": _preview, "film": _film}


def _check_blender(args: argparse.Namespace) -> None:
    if args.blender is None:
        raise ActorError(
            "blender: expected --blender, a Python with bpy installed, found none: python -m venv bpyenv && "
            "bpyenv/bin/pip install bpy, or use --look preview"
        )
    if not _RENDERER.exists():
        raise ActorError(f"{_RENDERER}: expected the film tool, found none: run from a checkout of splatface")
    try:
        found = subprocess.run([str(args.blender), "-c", "import bpy"], capture_output=True, text=True)
        reason = found.stderr.strip().splitlines()[-1:] if found.returncode else []
    except OSError as error:
        found, reason = None, [str(error)]
    if found is None or found.returncode:
        raise ActorError(
            f"{args.blender}: expected a Python that imports bpy, found {' '.join(reason) or 'none'}: "
            "bpyenv/bin/pip install bpy"
        )


def _folder(args: argparse.Namespace) -> Path:
    return args.film or args.out.with_name(args.out.name + ".film")


def _build_scene(args: argparse.Namespace) -> "ActorScene":
    from splatface.models.training.synthetic.actor_video import build_scene

    print("synthesizing speech and movements ...", flush=True)
    return build_scene(_video_spec(args))


def _video_spec(args: argparse.Namespace) -> "ActorVideoSpec":
    from splatface.models.training.synthetic.actor_video import ActorVideoSpec
    from splatface.models.training.synthetic.performance import ActingConfig

    acting = ActingConfig(seconds=args.seconds, fps=args.fps, seed=args.seed)
    return ActorVideoSpec(
        actor=args.actor, acting=acting, pictures=args.pictures, size_px=args.size, voice=args.voice
    )


def _frame_progress(verb: str) -> CountProgress:
    return CountProgress(sys.stdout, time.monotonic, verb=verb, noun="frames")
