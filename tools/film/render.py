# SPDX-License-Identifier: Apache-2.0
"""Renders a film folder: frames/NNNNNN.npz -> pictures/NNNNNN.png and labels/NNNNNN.png.

Needs bpy and numpy only. Frames whose picture and label exist are left alone, so it may be stopped
and started again at any time.

    python render.py FOLDER [--size 512] [--samples 5] [--threads 2] [--rows 0,1,2] [--share 1/2]
"""

import argparse
import os
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import bpy
from figure import Figure
from film_folder import read_film
from passes import Passes
from pictures import over, read_png, write_png
from studio import Quality, furnish


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, default=512, help="pixels, square (512)")
    parser.add_argument("--samples", type=int, default=5, help="Cycles samples a pixel (5)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", default="", help="only these frames, like 0,5,9")
    parser.add_argument("--share", default="1/1", help="k/n: every n-th missing frame from the k-th on")
    options = parser.parse_args()
    quality = Quality(options.size, options.samples, options.threads)
    film = read_film(options.folder)
    wanted = [int(row) for row in options.rows.split(",") if row] or film.rows()
    first, step = (int(number) for number in options.share.split("/"))
    render_film(film, wanted[first - 1 :: step], quality)


def render_film(film, rows, quality) -> None:
    """Render the rows that are missing, with progress on standard output."""
    todo = [row for row in rows if not all(path.exists() for path in _targets(film, row))]
    print(f"{len(rows)} frames, {len(todo)} to render", flush=True)
    if not todo:
        return
    for name in ("pictures", "labels"):
        (film.folder / name).mkdir(exist_ok=True)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    furnish(film.camera, quality)
    figure = Figure(film)
    with tempfile.TemporaryDirectory(prefix="splatface-film-") as scratch:
        passes = Passes(Path(scratch))
        background = _empty_room(film, figure, passes)
        started = time.monotonic()
        for done, row in enumerate(todo, 1):
            figure.move(film.frame(row))
            with _quiet():
                picture, labels = (read_png(path) for path in passes.render())
            picture_path, labels_path = _targets(film, row)
            write_png(picture_path, over(picture[..., :3], labels[..., 0], background))
            write_png(labels_path, labels[..., 0])
            each = (time.monotonic() - started) / done
            left = each * (len(todo) - done) / 60
            print(f"{row:06d}  {done}/{len(todo)}  {each:.2f} s a frame  {left:.1f} min left", flush=True)


def _empty_room(film, figure, passes):
    """Return the background [H, W, 3] that all frames share, rendered once and kept as background.png."""
    path = film.folder / "background.png"
    if not path.exists():
        figure.hide(True)
        with _quiet():
            picture, _ = passes.render()
        write_png(path, read_png(picture)[..., :3])
        figure.hide(False)
    return read_png(path)[..., :3]


def _targets(film, row):
    return tuple(film.folder / name / f"{row:06d}.png" for name in ("pictures", "labels"))


@contextmanager
def _quiet():
    """Keep Blender's own report of every rendering off standard output."""
    kept = os.dup(1)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


if __name__ == "__main__":
    main()
