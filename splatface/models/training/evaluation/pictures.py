"""What to look at beside the figures: true and drawn pictures side by side, the mouth's opening over time."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from splatface.models.errors import MetricError
from splatface.models.training.dataset.frame_images import picture
from splatface.models.training.evaluation.evaluate import Evaluation, mouth_openings
from splatface.models.typing import UInt8Array

__all__ = ["opening_plot", "side_by_side"]

_COLUMNS, _SIDE_PX, _TITLE_PX = 6, 256, 22
_COLORS = {"truth": "black", "by motion": "tab:blue", "by sound": "tab:orange"}
_GAIN = 3  # differences are small: three times as bright


def side_by_side(evaluation: Evaluation) -> UInt8Array:
    """The true pictures of up to six moments, below them those by motion, by sound, and the differences.

    Rows of what could not be drawn are left out. RGB, each picture 256 px wide.
    """
    truth = evaluation.truth
    places = sorted(truth.sampled)
    chosen = [
        places[k] for k in np.round(np.linspace(0, len(places) - 1, min(_COLUMNS, len(places)))).astype(int)
    ]
    true = [picture(truth.dataset, int(truth.rows[at])) for at in chosen]
    rows = [("truth", true)]
    for name, group in (("by motion", evaluation.by_motion), ("by sound", evaluation.by_sound)):
        if group.shown is not None:
            drawn = [group.shown[at] for at in chosen]
            rows += [(name, drawn), (f"{name}: difference x {_GAIN}", list(map(_difference, true, drawn)))]
    return np.vstack([_strip(name, pictures) for name, pictures in rows])


def opening_plot(evaluation: Evaluation, file: Path) -> bool:
    """Write the mouth's opening over time, true and drawn, as a picture; False when no face was found.

    Raises:
        MetricError: when matplotlib is not installed.
    """
    truth = evaluation.truth
    if truth.landmarks is None:
        return False
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MetricError(
            f"plot: expected matplotlib, found {error}: pip install 'splatface[train]'"
        ) from error
    time_s = truth.dataset.frames.time_ns[truth.rows] / 1e9
    figure: Any = Figure(figsize=(12, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.fill_between(time_s, 0, 1, where=truth.silent, color="0.92", transform=axes.get_xaxis_transform())
    groups = {"by motion": evaluation.by_motion, "by sound": evaluation.by_sound}
    for name, opening in mouth_openings(evaluation).items():
        r = groups[name].figures["opening_correlation"] if name in groups else None
        said = "" if r is None else f", r = {r:.3f}"
        axes.plot(time_s, opening, color=_COLORS[name], lw=1.2 if name in groups else 2, label=name + said)
    axes.set(xlabel="film time, s (gray: silence)", ylabel="inner lips / face height", xlim=time_s[[0, -1]])
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False)
    figure.savefig(file, dpi=100)
    return True


def _difference(true: UInt8Array, drawn: UInt8Array) -> UInt8Array:
    apart = np.abs(true.astype(np.int32) - drawn) * _GAIN
    shown: UInt8Array = np.minimum(apart, 255).astype(np.uint8)
    return shown


def _strip(name: str, pictures: list[UInt8Array]) -> UInt8Array:
    height, width = pictures[0].shape[:2]
    size = (_SIDE_PX, max(1, round(_SIDE_PX * height / width)))
    scaled = [cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in pictures]
    title = np.zeros((_TITLE_PX, _SIDE_PX * len(pictures), 3), np.uint8)
    cv2.putText(
        title, name, (6, _TITLE_PX - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1, cv2.LINE_AA
    )
    return np.vstack([title, np.hstack(scaled).astype(np.uint8)])
