"""`splatface track`: from a film of a person to a data set. Stopped, it goes on with the same command."""

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from splatface.models.errors import FilmError, TrackingError

if TYPE_CHECKING:
    from splatface.models.training.dataset.types import Dataset
    from splatface.models.training.tracking.assemble import Provenance
    from splatface.models.training.tracking.checks import Finding
    from splatface.models.training.tracking.stages import Progress
    from splatface.models.training.tracking.track import TrackOptions

__all__ = [
    "TrackingLine",
    "add_arguments",
    "add_owner_arguments",
    "limit_blas_threads",
    "main",
    "owner_of",
    "table_of",
    "track_film",
]

_BAR = 24
_QUIET_S = 15.0  # between lines where nobody watches
_QUESTIONS = {
    "person": "Who is shown? ",
    "consent": "Who agreed to be shown, and to what (for example: Alice Doe, talking head on our web page)? ",
    "license": "License of the film (an SPDX name, or in words such as: all rights reserved)? ",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("video", type=Path, help="film of one person from the front, 5 s or more")
    parser.add_argument("--out", type=Path, required=True, metavar="DATASET", help="folder for the data set")
    add_owner_arguments(parser)
    parser.add_argument("--size", type=int, default=512, metavar="PX", help="side of the pictures")
    parser.add_argument("--pictures", type=int, default=3000, help="most pictures that are kept")
    parser.add_argument("--work", type=Path, help="folder for what lies between (default: DATASET-work)")


def add_owner_arguments(parser: argparse.ArgumentParser) -> None:
    """Who is shown and who allows what; asked for on a terminal when left out."""
    parser.add_argument("--person", help="who is shown")
    parser.add_argument("--consent", help="who agreed to be shown, and to what")
    parser.add_argument("--license", "--licence", help="of the film: an SPDX name, or in words")


def main(args: argparse.Namespace) -> int:
    """Track, show the table of findings; 130 when stopped by Ctrl-C."""
    limit_blas_threads()
    from splatface.models.training.tracking.track import TrackOptions

    if not 64 <= args.size <= 2048 or args.pictures < 100:
        raise TrackingError(
            f"expected --size 64..2048 and --pictures 100 or more, found {args.size} and {args.pictures}"
        )
    options = TrackOptions(
        owner=owner_of(args, sys.stdin, sys.stderr),
        side_px=args.size,
        most_pictures=args.pictures,
        work=args.work,
    )
    try:
        dataset = track_film(args.video, args.out, options)
    except KeyboardInterrupt:
        print("\nstopped: go on with the same command", file=sys.stderr)
        return 130
    print(f"data set  {args.out}: {len(dataset.frames)} pictures, {len(dataset.motion.time_ns)} moments")
    print(f"look      {args.out}/tracking.mp4, or: splatface dataset info {args.out} --sheet sheet.png")
    print(f"go on     splatface train {args.out} --out HEAD")
    return 0


def limit_blas_threads() -> None:
    """One thread for numpy's products, which are many and small; it looks when it is loaded."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def track_film(video: Path, out: Path, options: "TrackOptions") -> "Dataset":
    """Track with a line of progress, show the table of findings, write the tracking film."""
    from splatface.models.training.tracking.track import read_findings, track

    line = TrackingLine(sys.stdout, clock=time.monotonic)
    try:
        dataset = track(video, out, options, clock=time.monotonic, report=line)
        findings = read_findings(out)
        complaint = _film(dataset, findings, line)
    finally:
        line.end()
    print(table_of(findings) + complaint, flush=True)
    return dataset


def _film(dataset: "Dataset", findings: Sequence["Finding"], line: "TrackingLine") -> str:
    """Write the tracking film where it is not there yet; why not, when it cannot be."""
    from splatface.models.training.report.tracking_video import TRACKING_FILM, write_tracking_film
    from splatface.models.training.tracking.stages import Progress

    if (dataset.folder / TRACKING_FILM).is_file():
        return ""
    begun = time.monotonic()

    def told(share: float) -> None:
        seconds = time.monotonic() - begun
        line(Progress("tracking film", share, seconds, seconds * (1 - share) / max(share, 1e-3)))

    try:
        write_tracking_film(dataset, findings, told)
    except (FilmError, TrackingError) as error:
        return f"\nno tracking film: {error}"
    return ""


def owner_of(args: argparse.Namespace, answers: TextIO, questions: TextIO) -> "Provenance":
    """What the options say; what they leave open is asked, if somebody is there to answer.

    Raises:
        TrackingError: when something stays open.
    """
    from splatface.models.training.tracking.assemble import Provenance

    said = {name: (getattr(args, name) or "").strip() for name in _QUESTIONS}
    for name, question in _QUESTIONS.items():
        if not said[name] and answers.isatty():
            questions.write(question)
            questions.flush()
            said[name] = answers.readline().strip()
        if not said[name]:
            raise TrackingError(
                f"--{name}: expected an answer, found none: a head is only made of who agreed; give "
                "--person, --consent and --license"
            )
    return Provenance(name=said["person"], license=said["license"], consent=said["consent"])


def table_of(findings: Sequence["Finding"]) -> str:
    """What was odd, when, and what was done, one line each."""
    if not findings:
        return "findings  none: a good film"
    rows = [(f.level, f.subject, f"{f.found}: {f.done}{_when(f.spans_s)}") for f in findings]
    widths = [max(len(row[i]) for row in rows) for i in range(2)]
    return "\n".join(f"{level:{widths[0]}s}  {subject:{widths[1]}s}  {text}" for level, subject, text in rows)


def _when(spans_s: Sequence[tuple[float, float]]) -> str:
    if not spans_s:
        return ""
    shown = ", ".join(f"{begin:.1f}-{end:.1f}" for begin, end in spans_s[:6])
    return f" (at {shown}{f' and {len(spans_s) - 6} more' if len(spans_s) > 6 else ''} s)"


class TrackingLine:
    """Shows each progress it is called with: a line that is renewed, or one now and then in a log."""

    def __init__(self, stream: TextIO, *, clock: Callable[[], float]) -> None:
        self._stream, self._clock = stream, clock
        self._renews = stream.isatty()
        self._shown_s = -_QUIET_S
        self._stage = ""

    def __call__(self, progress: "Progress") -> None:
        """Show it."""
        full = round(_BAR * progress.share)
        left = (
            "" if progress.seconds_left != progress.seconds_left else f"  {progress.seconds_left:.0f} s left"
        )
        text = f"{'█' * full}{'░' * (_BAR - full)} {progress.share:4.0%} {progress.stage}{left}"
        now = self._clock()
        if self._renews:
            self._stream.write(f"\r\x1b[K{text}")
        elif progress.stage != self._stage or now - self._shown_s >= _QUIET_S:
            self._stream.write(text + "\n")
            self._shown_s, self._stage = now, progress.stage
        self._stream.flush()

    def end(self) -> None:
        """Leave the last line standing."""
        if self._renews:
            self._stream.write("\n")
            self._stream.flush()
