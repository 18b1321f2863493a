# SPDX-License-Identifier: Apache-2.0
"""`splatface dataset`: show what a data set holds, check it, or import one of the ER-NeRF format."""

import argparse
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from splatface.cli.progress_line import CountProgress

if TYPE_CHECKING:
    from splatface.models.training.dataset.types import Dataset

__all__ = ["add_arguments", "main"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add one subcommand per verb."""
    verbs = parser.add_subparsers(dest="verb", required=True)
    info = verbs.add_parser("info", help="show person, consent, number of frames and audio length")
    info.add_argument("dataset", type=Path, help="folder of a data set")
    info.add_argument("--sheet", type=Path, metavar="PNG", help="write a contact sheet with labels")
    check = verbs.add_parser(
        "check", help="check every file and list problems; exit code 1 if any is an error"
    )
    check.add_argument("dataset", type=Path, help="folder of a data set")
    importing = verbs.add_parser(
        "import", help="import a folder in the format of AD-NeRF, RAD-NeRF, ER-NeRF and GaussianTalker"
    )
    importing.add_argument(
        "folder", type=Path, help="folder with transforms_train.json, gt_imgs, parsing, ..."
    )
    importing.add_argument("--out", type=Path, required=True, help="a new folder, or an interrupted import")
    importing.add_argument(
        "--license", "--licence", required=True, help="license of the video: an SPDX identifier, or words"
    )
    importing.add_argument("--consent", required=True, help="who consented, and to which use")
    importing.add_argument("--name", default="", help="name of the data set (default: the folder's)")
    importing.add_argument("--fps", type=float, default=25.0, help="frames per second of the video (25)")


def main(args: argparse.Namespace) -> int:
    """Run the verb; return the exit code."""
    if args.verb == "info":
        return _info(args.dataset, args.sheet)
    return _check(args.dataset) if args.verb == "check" else _import(args)


def _info(folder: Path, sheet: Path | None) -> int:
    from splatface.models.training.dataset.dataset_io import load_dataset

    dataset = load_dataset(folder)
    print(_describe(dataset))
    if sheet:
        from splatface.models.training.dataset.frame_images import contact_sheet, png_bytes

        sheet.write_bytes(png_bytes(contact_sheet(dataset)))
        print(f"sheet       {sheet}")
    return 0


def _describe(dataset: "Dataset") -> str:
    from splatface.models.messages import SAMPLE_RATE
    from splatface.models.training.dataset.dataset_audio import FEATURE_FOLDER, load_audio
    from splatface.models.training.dataset.dataset_io import load_points
    from splatface.models.training.dataset.types import TEST, TRAIN, VAL, frames_in_split

    frames, camera, start = dataset.frames, dataset.camera, load_points(dataset)
    parts = zip(("train", "val", "test"), (TRAIN, VAL, TEST), strict=True)
    counts = ", ".join(f"{len(frames_in_split(frames, part))} {name}" for name, part in parts)
    encoders = sorted(path.stem for path in (dataset.folder / FEATURE_FOLDER).glob("*.safetensors"))
    lines = [
        f"name        {dataset.name}",
        f"source      {dataset.source}",
        f"license     {dataset.license}",
        f"consent     {dataset.consent}",
        f"frames      {len(frames)} of {camera.width}x{camera.height}: {counts}",
        f"video       {len(dataset.motion.time_ns)} frames at {dataset.fps:g} per second",
        f"audio       {len(load_audio(dataset)) / SAMPLE_RATE:.2f} s",
        f"landmarks   {dataset.landmark_scheme}",
        f"points      {len(start.means) if start else 'none'}",
        f"features    {', '.join(encoders) or 'none yet: computed on first use'}",
    ]
    return "\n".join(lines)


def _check(folder: Path) -> int:
    from splatface.models.training.dataset.dataset_io import load_dataset
    from splatface.models.training.dataset.findings import BAD, inspect_dataset

    found = list(inspect_dataset(load_dataset(folder), _count_progress("checked")))
    for finding in found:
        print(f"{finding.level:5s} {finding.subject:10s} {finding.observation}")
    return 1 if any(finding.level == BAD for finding in found) else 0


def _import(args: argparse.Namespace) -> int:
    from splatface.models.training.dataset.import_ernerf import ImportPlan, import_ernerf
    from splatface.models.training.tracking.track_imported import track_imported

    plan = ImportPlan(
        source=args.folder,
        target=args.out,
        license=args.license,
        consent=args.consent,
        name=args.name,
        fps=args.fps,
    )
    dataset = import_ernerf(
        plan, _count_progress("imported"), partial(track_imported, progress=_count_progress("tracked"))
    )
    print(_describe(dataset))
    print(f"next: splatface train {args.out} --out HEAD")
    return 0


def _count_progress(verb: str) -> CountProgress | None:
    """Return a counter for a terminal; None for a log."""
    return CountProgress(sys.stderr, time.monotonic, verb=verb) if sys.stderr.isatty() else None
