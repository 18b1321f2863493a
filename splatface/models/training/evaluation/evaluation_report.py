# SPDX-License-Identifier: Apache-2.0
"""Evaluation results to read: tables, side-by-side images, the plot of the mouth opening."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from splatface.models.errors import MetricError
from splatface.models.training.dataset.frame_images import read_image
from splatface.models.training.evaluation.evaluate import Evaluation, mouth_openings
from splatface.models.training.evaluation.evaluate_frames import METRICS
from splatface.models.training.evaluation.image_metrics import REGIONS
from splatface.models.typing import UInt8Array

__all__ = ["format_comparison", "format_table", "opening_plot", "side_by_side"]

Figures = Mapping[str, Any]  # what `evaluation_json` gives

# name -> (what it says, how it is printed)
_FORMATS = {
    "psnr": ("PSNR, dB (more is better)", ".2f"),
    **{f"psnr_{name}": (f"  {name}", ".2f") for name in REGIONS},
    "ssim": ("SSIM, 0..1 (more)", ".4f"),
    **{f"ssim_{name}": (f"  {name}", ".4f") for name in REGIONS},
    "st_lpips": ("ST-LPIPS (less)", ".4f"),
    "lpips": ("LPIPS (less)", ".4f"),
    "fid": ("FID (less)", ".2f"),
    "lmd_px": ("lip landmarks, px of 512 (less)", ".2f"),
    "opening_correlation": ("mouth opening: correlation (1)", ".3f"),
    "opening_amplitude": ("  amplitude, drawn / true (1)", ".2f"),
    "opening_lag_ms": ("  lag, ms (0; positive = late)", "+.0f"),
    "rest_error": ("  error at rest, of a full opening (0)", ".3f"),
    "sync_confidence": ("SyncNet confidence, LSE-C (more)", ".2f"),
    "sync_distance": ("  distance, LSE-D (less)", ".2f"),
    "identity_similarity": ("identity similarity, 0..1 (more)", ".3f"),
    "identity_distance": ("  distance (same person < 0.6)", ".3f"),
    "jitter_px": ("jitter, px of 512 (less)", ".3f"),
    "head_jitter_px": ("  head", ".3f"),
    "lip_jitter_px": ("  lips", ".3f"),
    "fps": ("live pictures per second", ".0f"),
}
_COMPARED = (
    "psnr",
    "psnr_mouth",
    "ssim",
    "st_lpips",
    "lmd_px",
    "opening_correlation",
    "opening_amplitude",
    "opening_lag_ms",
    "identity_similarity",
    "jitter_px",
    "rest_error",
    "fps",
)


def format_table(result: Figures) -> str:
    """Format one head on one data set as text."""
    motion, sound = result["by_motion"], result["by_sound"]
    size = "x".join(map(str, result["size"]))
    minutes = result["training_minutes"]
    lines = [
        f"{result['head']} on {result['dataset']} ({result['split']}): {result['pictures']} pictures, {size}",
        f"{result['gaussians']} Gaussians, trained for "
        f"{'an unknown time' if minutes is None else f'{minutes:.1f} minutes'}; "
        f"sound through {result['encoder'] or 'nothing'}; {result.get('machine', 'unknown machine')}",
        "",
        f"{'':40s}{'by motion':>12s}{'by sound':>12s}",
        *(
            f"{_FORMATS[n][0]:40s}{_format_metric(n, motion[n]):>12s}{_format_metric(n, sound[n]):>12s}"
            for n in METRICS
        ),
        *_neck_gap_lines(result),
        *_motion_lines(sound),
        *_reason_lines(motion, sound),
    ]
    return "\n".join(lines)


def format_comparison(results: Sequence[Figures]) -> str:
    """Format several heads on one data set as a Markdown table: two rows each, by motion and by sound."""
    columns = ["head", "driven by", *_COMPARED, "training minutes"]
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    for result in results:
        minutes, named = result["training_minutes"], result.get("folder", result["head"])
        trained = "-" if minutes is None else f"{minutes:.1f}"
        for group in ("by_motion", "by_sound"):
            cells = [_format_metric(name, result[group][name]) for name in _COMPARED]
            lines.append("| " + " | ".join([named, group[3:], *cells, trained]) + " |")
    return "\n".join(lines)


def _neck_gap_lines(result: Figures) -> list[str]:
    gap = result.get("seam")
    if not gap:
        return []
    where = f" (yaw {gap['yaw_deg']}, pitch {gap['pitch_deg']})" if gap["gap_px"] else ""
    return ["", f"neck, turned by 20 and nodded by 15 degrees: {gap['gap_px']} px of gaps at most{where}"]


def _motion_lines(sound: Figures) -> list[str]:
    correlations = sound.get("mode_correlations")
    if not correlations:
        return []
    motion = sound["motion"]
    sampled_images = ", ".join(f"{name} {_format_number(fit, '.2f')}" for name, fit in correlations.items())
    mean, lag = (
        _format_number(motion["mean_correlation"], ".2f"),
        _format_number(motion["open_lag_ms"], "+.0f"),
    )
    return [
        "",
        f"heard against tracked motion, {motion['moments']} moments: r {sampled_images}; mean {mean}; "
        f"opening late by {lag} ms, amplitude {_format_number(motion['open_amplitude'], '.2f')}",
    ]


def _reason_lines(motion: Figures, sound: Figures) -> list[str]:
    by_reason: dict[str, list[str]] = {}
    for driven, group in (("by motion", motion), ("by sound", sound)):
        missing = group["not_available"]
        nothing = len(missing) == len(METRICS)
        for name, reason in missing.items():
            names = by_reason.setdefault(reason, [])
            label = driven if nothing else name
            if label not in names:
                names.append(label)
    lines = [f"not available: {', '.join(names)}: {reason}" for reason, names in by_reason.items()]
    return ["", *lines] if lines else []


def _format_metric(name: str, value: float | None) -> str:
    return _format_number(value, _FORMATS[name][1])


def _format_number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


_COLUMNS, _SIDE_PX, _TITLE_PX = 6, 256, 22
_COLORS = {"truth": "black", "by motion": "tab:blue", "by sound": "tab:orange"}
_GAIN = 3  # differences are small: three times as bright


def side_by_side(evaluation: Evaluation) -> UInt8Array:
    """Stack true images of up to six frames, those by motion, by sound, and the differences.

    Rows of what could not be rendered are left out. RGB, each image 256 px wide.
    """
    truth = evaluation.truth
    positions = sorted(truth.sampled)
    sampled = [
        positions[k]
        for k in np.round(np.linspace(0, len(positions) - 1, min(_COLUMNS, len(positions)))).astype(int)
    ]
    true = [read_image(truth.dataset, int(truth.frame_indices[at])) for at in sampled]
    strips = [("truth", true)]
    for name, group in (("by motion", evaluation.by_motion), ("by sound", evaluation.by_sound)):
        if group.sampled_images is not None:
            rendered = [group.sampled_images[at] for at in sampled]
            strips += [
                (name, rendered),
                (f"{name}: difference x {_GAIN}", list(map(_amplified_difference, true, rendered))),
            ]
    return np.vstack([_strip(name, pictures) for name, pictures in strips])


def opening_plot(evaluation: Evaluation, file: Path) -> bool:
    """Write the mouth opening over time, true and rendered, as an image; False when no face was detected.

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
    time_s = truth.dataset.frames.time_ns[truth.frame_indices] / 1e9
    figure: Any = Figure(figsize=(12, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.fill_between(time_s, 0, 1, where=truth.silent, color="0.92", transform=axes.get_xaxis_transform())
    groups = {"by motion": evaluation.by_motion, "by sound": evaluation.by_sound}
    for name, opening in mouth_openings(evaluation).items():
        r = groups[name].figures["opening_correlation"] if name in groups else None
        label = "" if r is None else f", r = {r:.3f}"
        axes.plot(time_s, opening, color=_COLORS[name], lw=1.2 if name in groups else 2, label=name + label)
    axes.set(xlabel="film time, s (gray: silence)", ylabel="inner lips / face height", xlim=time_s[[0, -1]])
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False)
    figure.savefig(file, dpi=100)
    return True


def _amplified_difference(true: UInt8Array, rendered: UInt8Array) -> UInt8Array:
    difference = np.abs(true.astype(np.int32) - rendered) * _GAIN
    sampled_images: UInt8Array = np.minimum(difference, 255).astype(np.uint8)
    return sampled_images


def _strip(name: str, pictures: list[UInt8Array]) -> UInt8Array:
    height, width = pictures[0].shape[:2]
    size = (_SIDE_PX, max(1, round(_SIDE_PX * height / width)))
    scaled = [cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in pictures]
    title = np.zeros((_TITLE_PX, _SIDE_PX * len(pictures), 3), np.uint8)
    cv2.putText(
        title, name, (6, _TITLE_PX - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1, cv2.LINE_AA
    )
    return np.vstack([title, np.hstack(scaled).astype(np.uint8)])
