"""`splatface actor`: a film of a person who does not exist, as a data set to train a head from."""

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from splatface.models.errors import ActorError

if TYPE_CHECKING:
    from splatface.models.training.synthetic.actor_video import ActorScene, ActorVideoSpec, Progress

__all__ = ["add_arguments", "main"]

_RENDERER = Path(__file__).resolve().parents[2] / "tools" / "film" / "render.py"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("actor", help="mira, theo, ada, or a number: another person for each")
    parser.add_argument("--out", type=Path, required=True, help="a new folder for the data set")
    parser.add_argument("--seconds", type=float, default=45.0, help="length of the film (45)")
    parser.add_argument("--pictures", type=int, default=220, help="to learn from; tests come on top (220)")
    parser.add_argument("--fps", type=float, default=25.0, help="moments a second (25)")
    parser.add_argument("--size", type=int, default=512, help="pixels, square (512)")
    parser.add_argument("--voice", default="", help="like flite/slt; default: the best installed one")
    parser.add_argument("--seed", type=int, default=0, help="another script and other movements for each")
    parser.add_argument(
        "--look",
        choices=LOOKS,
        default="preview",
        help="drawn at once, or by Blender in film quality (preview)",
    )
    film = parser.add_argument_group("film quality")
    film.add_argument(
        "--blender", type=Path, help="a Python with Blender's bpy in it, like bpyenv/bin/python"
    )
    film.add_argument("--samples", type=int, default=5, help="light paths a pixel (5)")
    film.add_argument("--threads", type=int, default=2, help="of Blender (2)")
    film.add_argument("--film", type=Path, help="the folder between the two programs (OUT.film)")
    film.add_argument(
        "--step", choices=STEPS, help="only this step; default: all, each going on where it was stopped"
    )


def main(args: argparse.Namespace) -> int:
    """Make the data set; the same command again goes on where it was stopped."""
    return LOOKS[args.look](args)


def _preview(args: argparse.Namespace) -> int:
    from splatface.models.training.synthetic.actor_video import draw_dataset

    dataset = draw_dataset(_staged(args), args.out, _progress("drawn"))
    print(f"{args.out}: {len(dataset.frames)} pictures of {dataset.name}")
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

    write_render_folder(_staged(args), _folder(args), _progress("prepared"))


def _render(args: argparse.Namespace) -> None:
    """Run the renderer in its own environment: Blender is GPL, splatface imports none of it."""
    command = [args.blender, _RENDERER, _folder(args), "--size", args.size]
    command += ["--samples", args.samples, "--threads", args.threads]
    code = subprocess.run([str(word) for word in command]).returncode
    if code:
        raise ActorError(
            f"blender: expected {_RENDERER.name} to end with 0, found {code}: mend what it says above, then "
            "run the same command again, it goes on"
        )


def _import(args: argparse.Namespace) -> None:
    from splatface.models.training.synthetic.actor_video import build_scene
    from splatface.models.training.synthetic.blender_folder import import_rendered, read_video_spec

    staged = build_scene(read_video_spec(_folder(args)))
    dataset = import_rendered(staged, _folder(args), args.out, _progress("imported"))
    print(f"{args.out}: {len(dataset.frames)} pictures of {dataset.name}")


STEPS = {"prepare": _prepare, "render": _render, "import": _import}
LOOKS = {"preview": _preview, "film": _film}


def _check_blender(args: argparse.Namespace) -> None:
    if args.blender is None:
        raise ActorError(
            "blender: expected --blender, a Python with Blender in it, found none: python -m venv bpyenv && "
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


def _staged(args: argparse.Namespace) -> "ActorScene":
    from splatface.models.training.synthetic.actor_video import build_scene

    print("speaking and acting ...", flush=True)
    return build_scene(_film_of(args))


def _film_of(args: argparse.Namespace) -> "ActorVideoSpec":
    from splatface.models.training.synthetic.actor_video import ActorVideoSpec
    from splatface.models.training.synthetic.performance import ActingConfig

    acting = ActingConfig(seconds=args.seconds, fps=args.fps, seed=args.seed)
    return ActorVideoSpec(
        actor=args.actor, acting=acting, pictures=args.pictures, size_px=args.size, voice=args.voice
    )


def _progress(verb: str) -> "Progress":
    """Tell how far it is: on one line of a terminal, or now and then into a log."""
    began = time.monotonic()
    told = [began]

    def tell(done: int, total: int) -> None:
        now = time.monotonic()
        live = sys.stdout.isatty()
        if done < total and now - told[0] < (0.2 if live else 10.0):
            return
        told[0] = now
        left = (now - began) / done * (total - done)
        line = f"{done}/{total} pictures {verb}, {left / 60:.1f} min left"
        print(f"\r{line}  " if live else line, end="\n" if not live or done == total else "", flush=True)

    return tell
