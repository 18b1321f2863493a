# SPDX-License-Identifier: Apache-2.0
"""`splatface track`: make a data set from a video of a person; the same command continues it."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from splatface.cli.progress_line import StageProgress
from splatface.models.errors import TrackingError, VideoError

if TYPE_CHECKING:
    from splatface.models.training.dataset.findings import Finding
    from splatface.models.training.dataset.types import Dataset
    from splatface.models.training.tracking.track_video import Provenance, TrackOptions

__all__ = [
    "add_arguments",
    "add_provenance_arguments",
    "findings_table",
    "limit_blas_threads",
    "main",
    "read_provenance",
    "track_video",
]

_QUESTIONS = {
    "person": "Person in the video? ",
    "consent": "Who consented, and to which use (for example: Alice Doe, talking head on our web page)? ",
    "license": "License of the video (an SPDX identifier, or words such as: all rights reserved)? ",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("video", type=Path, help="video of one person from the front, 5 s or longer")
    parser.add_argument("--out", type=Path, required=True, metavar="DATASET", help="folder for the data set")
    add_provenance_arguments(parser)
    parser.add_argument("--size", type=int, default=512, metavar="PX", help="width and height of the frames")
    parser.add_argument("--pictures", type=int, default=3000, help="maximum number of frames that are kept")
    parser.add_argument("--work", type=Path, help="folder for intermediate files (default: DATASET-work)")


def add_provenance_arguments(parser: argparse.ArgumentParser) -> None:
    """Add person, consent and license, which are asked for on a terminal when they are left out."""
    parser.add_argument("--person", help="person in the video")
    parser.add_argument("--consent", help="who consented, and to which use")
    parser.add_argument("--license", "--licence", help="license of the video: an SPDX identifier, or words")


def main(args: argparse.Namespace) -> int:
    """Track and print the table of findings; return 130 after Ctrl-C."""
    limit_blas_threads()
    from splatface.models.training.tracking.track_video import TrackOptions

    if not 64 <= args.size <= 2048 or args.pictures < 100:
        raise TrackingError(
            f"expected --size 64..2048 and --pictures 100 or more, found {args.size} and {args.pictures}"
        )
    options = TrackOptions(
        provenance=read_provenance(args, sys.stdin, sys.stderr),
        side_px=args.size,
        max_frames=args.pictures,
        cache_folder=args.work,
    )
    try:
        dataset = track_video(args.video, args.out, options)
    except KeyboardInterrupt:
        print("\nstopped: continue with the same command", file=sys.stderr)
        return 130
    print(f"data set  {args.out}: {len(dataset.frames)} frames of {len(dataset.motion.time_ns)} tracked")
    print(f"view      {args.out}/tracking.mp4, or: splatface dataset info {args.out} --sheet sheet.png")
    print(f"next      splatface train {args.out} --out HEAD")
    return 0


def limit_blas_threads() -> None:
    """Limit BLAS to one thread, before numpy is loaded: the matrix products are many and small."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def track_video(video: Path, out: Path, options: "TrackOptions") -> "Dataset":
    """Track with a progress line, print the table of findings, and write the tracking video."""
    from splatface.models.training.dataset.findings import read_findings
    from splatface.models.training.tracking.track_video import track

    progress_line = StageProgress(sys.stdout, clock=time.monotonic)
    try:
        dataset = track(video, out, options, clock=time.monotonic, report=progress_line)
        findings = read_findings(out)
        problem = _write_tracking_video(dataset, findings, progress_line)
    finally:
        progress_line.end()
    print(findings_table(findings) + problem, flush=True)
    return dataset


def _write_tracking_video(
    dataset: "Dataset", findings: Sequence["Finding"], progress_line: StageProgress
) -> str:
    """Write the tracking video unless it exists; return a line with the reason if that fails."""
    from splatface.models.training.report.tracking_video import TRACKING_FILM, write_tracking_film
    from splatface.models.training.tracking.stage_cache import TrackingProgress

    if (dataset.folder / TRACKING_FILM).is_file():
        return ""
    start_s = time.monotonic()

    def report(fraction: float) -> None:
        seconds = time.monotonic() - start_s
        left_s = seconds * (1 - fraction) / max(fraction, 1e-3)
        progress_line(TrackingProgress("tracking video", fraction, seconds, left_s))

    try:
        write_tracking_film(dataset, findings, report)
    except (VideoError, TrackingError) as error:
        return f"\nno tracking video: {error}"
    return ""


def read_provenance(args: argparse.Namespace, answers: TextIO, questions: TextIO) -> "Provenance":
    """Return person, consent and license from the options; ask for missing ones on a terminal.

    Raises:
        TrackingError: one of them is missing.
    """
    from splatface.models.training.tracking.track_video import Provenance

    values = {name: (getattr(args, name) or "").strip() for name in _QUESTIONS}
    for name, question in _QUESTIONS.items():
        if not values[name] and answers.isatty():
            questions.write(question)
            questions.flush()
            values[name] = answers.readline().strip()
        if not values[name]:
            raise TrackingError(
                f"--{name}: expected an answer, found none: training needs the consent of the person "
                "shown: give --person, --consent and --license"
            )
    return Provenance(name=values["person"], license=values["license"], consent=values["consent"])


def findings_table(findings: Sequence["Finding"]) -> str:
    """Return one line per finding: level, subject, problem, what was done, when."""
    if not findings:
        return "findings  none"
    rows = [(f.level, f.subject, f"{f.observation}: {f.action}{_format_spans(f.spans_s)}") for f in findings]
    widths = [max(len(row[i]) for row in rows) for i in range(2)]
    return "\n".join(f"{level:{widths[0]}s}  {subject:{widths[1]}s}  {text}" for level, subject, text in rows)


def _format_spans(spans_s: Sequence[tuple[float, float]]) -> str:
    if not spans_s:
        return ""
    first = ", ".join(f"{begin:.1f}-{end:.1f}" for begin, end in spans_s[:6])
    return f" (at {first}{f' and {len(spans_s) - 6} more' if len(spans_s) > 6 else ''} s)"
