"""`splatface dataset`: show what a data set holds, check it, import one of the format the field shares."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from splatface.models.training.dataset.types import Dataset

__all__ = ["add_arguments", "main"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One subcommand for each verb."""
    verbs = parser.add_subparsers(dest="verb", required=True)
    info = verbs.add_parser("info", help="who is shown, how many pictures, how much sound")
    info.add_argument("dataset", type=Path, help="folder of a data set")
    info.add_argument("--sheet", type=Path, metavar="PNG", help="write a contact sheet with labels")
    check = verbs.add_parser(
        "check", help="look at every file and say what is odd; exit code 1 if any is bad"
    )
    check.add_argument("dataset", type=Path, help="folder of a data set")
    imported = verbs.add_parser(
        "import", help="import a folder in the format of AD-NeRF, RAD-NeRF, ER-NeRF and GaussianTalker"
    )
    imported.add_argument(
        "folder", type=Path, help="folder with transforms_train.json, gt_imgs, parsing, ..."
    )
    imported.add_argument("--out", type=Path, required=True, help="a new folder, or an import cut short")
    imported.add_argument(
        "--license", "--licence", required=True, help="of the film: an SPDX name, or in words"
    )
    imported.add_argument("--consent", required=True, help="who agreed to be shown, and to what")
    imported.add_argument("--name", default="", help="default: the folder's")
    imported.add_argument("--fps", type=float, default=25.0, help="of the film, default 25")


def main(args: argparse.Namespace) -> int:
    """Carry out the verb."""
    if args.verb == "info":
        return _info(args.dataset, args.sheet)
    return _check(args.dataset) if args.verb == "check" else _import(args)


def _info(folder: Path, sheet: Path | None) -> int:
    from splatface.models.training.dataset.dataset_io import load_dataset

    dataset = load_dataset(folder)
    print(_described(dataset))
    if sheet:
        from splatface.models.training.dataset.frame_images import contact_sheet, png_bytes

        sheet.write_bytes(png_bytes(contact_sheet(dataset)))
        print(f"sheet       {sheet}")
    return 0


def _described(dataset: "Dataset") -> str:
    from splatface.models.messages import SAMPLE_RATE
    from splatface.models.training.dataset.dataset_audio import FEATURE_FOLDER, load_audio
    from splatface.models.training.dataset.dataset_io import points
    from splatface.models.training.dataset.types import TEST, TRAIN, VAL, rows_of

    frames, camera, start = dataset.frames, dataset.camera, points(dataset)
    parts = zip(("train", "val", "test"), (TRAIN, VAL, TEST), strict=True)
    counts = ", ".join(f"{len(rows_of(frames, part))} {name}" for name, part in parts)
    heard = sorted(path.stem for path in (dataset.folder / FEATURE_FOLDER).glob("*.safetensors"))
    lines = [
        f"name        {dataset.name}",
        f"source      {dataset.source}",
        f"license     {dataset.license}",
        f"consent     {dataset.consent}",
        f"pictures    {len(frames)} of {camera.width}x{camera.height}: {counts}",
        f"film        {len(dataset.motion.time_ns)} moments at {dataset.fps:g} per second",
        f"sound       {len(load_audio(dataset)) / SAMPLE_RATE:.2f} s",
        f"landmarks   {dataset.landmark_scheme}",
        f"points      {len(start.means) if start else 'none'}",
        f"features    {', '.join(heard) or 'none yet: made when first asked for'}",
    ]
    return "\n".join(lines)


def _check(folder: Path) -> int:
    from splatface.models.training.dataset.dataset_io import load_dataset
    from splatface.models.training.dataset.findings import BAD, findings

    seen = list(findings(load_dataset(folder), _progress("checked")))
    for finding in seen:
        print(f"{finding.level:5s} {finding.subject:10s} {finding.found}")
    return 1 if any(finding.level == BAD for finding in seen) else 0


def _import(args: argparse.Namespace) -> int:
    from splatface.models.training.dataset.import_ernerf import ImportPlan, import_transforms

    plan = ImportPlan(
        source=args.folder,
        target=args.out,
        license=args.license,
        consent=args.consent,
        name=args.name,
        fps=args.fps,
    )
    dataset = import_transforms(plan, _progress("imported"))
    print(_described(dataset))
    print(f"next: splatface dataset check {args.out}")
    return 0


def _progress(done_what: str) -> "_Counter | None":
    """Where somebody watches."""
    return _Counter(done_what) if sys.stderr.isatty() else None


class _Counter:
    """One line that counts."""

    def __init__(self, done_what: str) -> None:
        self._done_what = done_what

    def __call__(self, done: int, total: int) -> None:
        """Show the count, and leave the line at the end."""
        end = "\n" if done == total else ""
        print(f"\r{self._done_what} {done}/{total}", end=end, file=sys.stderr, flush=True)
