"""The part of the report that tells how poses were refined."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from splatface.models.training.report.page import table
from splatface.models.training.report.plots import Axes, Curve, chart

__all__ = ["REFINED_LEGEND", "refined_section"]

REFINED_LEGEND = (
    "Poses, and from the second round on what mouth and brows do, as the pictures want them, the Gaussians "
    "standing still; those of pictures never trained on are fitted in the same way, their colors are not "
    "learned from. PSNR: of held-out pictures with the same Gaussians, before and after each round's poses, "
    "and with its motion; the last round is for held-out pictures alone. Jitter: what three pictures in a "
    "row do not have in common, with tracked and with refined poses."
)
_NAMES = {
    "step": "step", "psnr_before_db": "PSNR before, dB", "psnr_after_db": "after, dB",
    "psnr_motion_db": "with motion, dB", "mouth_changed": "motion, rms",
    "turned_deg": "turned, °", "shifted_mm": "shifted, mm", "moved_px": "moved, px rms",
    "jitter_before_px": "jitter tracked, px",
    "jitter_after_px": "refined, px", "focal_share": "focal length, share",
}  # fmt: skip


def refined_section(poses: Mapping[str, Any] | None) -> str:
    """Table and curves (HTML) of poses.json; nothing where there is none or it says nothing."""
    rounds = poses.get("rounds") if poses else None
    curves = poses.get("curves") if poses else None
    if not isinstance(rounds, list) or not rounds or not isinstance(curves, dict):
        return ""
    rows = [[_told(line.get(name)) for name in _NAMES] for line in rounds]
    charts = [_chart(curves, unit, title) for unit, title in (("°", "head turned"), ("mm", "head shifted"))]
    return table([*_NAMES.values()], rows) + f'<div class="charts">{"".join(charts)}</div>'


def _told(value: float | None) -> str:
    """Four digits, a step's number whole, and a dash for what a round did not measure."""
    if value is None:
        return "–"
    return f"{value:.0f}" if value >= 1000 else f"{value:.4g}"


def _chart(curves: Mapping[str, Sequence[float]], unit: str, title: str) -> str:
    times = np.array(curves.get("time_s", []), np.float64)
    lines = [
        Curve(name, times, np.array(values, np.float64))
        for name, values in curves.items()
        if name.endswith(f", {unit}") and len(values) == len(times)
    ]
    return chart(lines, Axes(title=f"{title} from where it was tracked, {unit}", x_name="film time, s"))
