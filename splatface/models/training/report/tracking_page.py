"""What tracking made of a film, for the report: findings, the tracking film, stills of it."""

from base64 import b64encode
from pathlib import Path
from typing import Final

import numpy as np

from splatface.models.messages import NS_PER_S
from splatface.models.training.dataset.types import Dataset
from splatface.models.training.report.page import picture, row_of, table
from splatface.models.training.report.tracking_film import TRACKING_FILM, TrackingView
from splatface.models.training.tracking.fitted import FITTED
from splatface.models.training.tracking.track import read_findings

__all__ = ["TRACKING_LEGEND", "tracking_section"]

TRACKING_LEGEND: Final = (
    "Left: landmarks as they were found (dots), the face fitted to them (green), the head's axes, the gaze "
    "(yellow). Right: what each pixel was taken for. Below: loudness, opening of the mouth, lids, turn "
    "of the head. When sound and lips do not fit, or the green lines leave the face, the head cannot be good."
)
_STILLS = 6
_LARGEST = 64 << 20  # bytes of a film that is put into the page
_SPANS = 8


def tracking_section(dataset: Dataset) -> str:
    """HTML of a tracked film; nothing for other data sets.

    Raises:
        TrackingError: when what tracking kept is damaged.
        DatasetError: when a picture is.
    """
    findings = read_findings(dataset.folder)
    if not (dataset.folder / FITTED).is_file():
        return ""
    view = TrackingView(dataset, findings)
    rows = np.unique(np.linspace(0, len(dataset.frames) - 1, _STILLS).astype(int))
    times_s = (dataset.frames.time_ns[rows] / NS_PER_S).tolist()
    stills = [picture(np.vstack(view.panels(time_s)), f"{time_s:.1f} s") for time_s in times_s]
    lines = [
        [finding.subject, finding.found, finding.done, _when(finding.spans_s), finding.level]
        for finding in findings
    ]
    odd = table(["", "found", "what was done", "when", ""], lines) if lines else "<p>Nothing odd.</p>"
    return odd + _player(dataset.folder / TRACKING_FILM) + row_of(stills, _STILLS)


def _player(path: Path) -> str:
    if not path.is_file() or path.stat().st_size > _LARGEST:
        return ""
    source = f"data:video/mp4;base64,{b64encode(path.read_bytes()).decode()}"
    return f'<div class="film"><video src="{source}" controls playsinline></video></div>'


def _when(spans_s: tuple[tuple[float, float], ...]) -> str:
    shown = ", ".join(f"{begin:.1f}–{end:.1f} s" for begin, end in spans_s[:_SPANS])
    return shown + (f" and {len(spans_s) - _SPANS} more" if len(spans_s) > _SPANS else "")
