"""`splatface info`: who a head shows, who agreed to it, and how good it is."""

import argparse
import math
from collections.abc import Mapping
from typing import Any

from splatface.models.head.head import Head, HeadInfo
from splatface.models.head.head_file import head_folder, load_head

__all__ = ["add_arguments", "main"]

# name in the report, what it is called here, how it is written
_FIGURES = (
    ("psnr", "PSNR", "{:.1f} dB"),
    ("psnr_mouth", "of the mouth", "{:.1f} dB"),
    ("lmd_px", "lips off by", "{:.2f} px"),
    ("opening_correlation", "opening r", "{:.3f}"),
    ("opening_amplitude", "as wide", "{:.2f}"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which head."""
    parser.add_argument("head", help="a shipped head's name or a folder")


def main(args: argparse.Namespace) -> int:
    """Print it, a line each."""
    for name, text in _lines(load_head(head_folder(args.head))):
        print(f"{name:12s}{text}")
    return 0


def _lines(head: Head) -> list[tuple[str, str]]:
    info = head.info
    nets = (
        f"{net.encoder} ({net.feature_dim} numbers, {net.lookahead_ms:g} ms ahead)"
        for net in head.nets.values()
    )
    return [
        ("name", info.name),
        ("person", info.person),
        ("consent", info.consent),
        ("license", info.license),
        (
            "gaussians",
            f"{len(head.gaussians)}, of which {len(head.dynamic)} move in {head.basis.shape[2]} ways",
        ),
        ("encoders", ", ".join(nets) or "none"),
        ("camera", f"{info.camera.width}x{info.camera.height}, {info.fps:g} pictures a second"),
        ("turns", _pose_limits(info)),
        *_reports(info.reports),
    ]


def _pose_limits(info: HeadInfo) -> str:
    """The poses that the head may take, degrees."""
    limits = info.pose_limits
    ranges = {"yaw": limits.yaw_rad, "pitch": limits.pitch_rad, "roll": limits.roll_rad}
    return ", ".join(
        f"{name} {math.degrees(low):.0f} to {math.degrees(high):.0f} degrees"
        for name, (low, high) in ranges.items()
    )


def _reports(reports: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What training and measuring told; reports are plain data of anybody's making."""
    lines = []
    training = _inner(reports, "training")
    if {"field", "steps", "minutes"} <= training.keys():
        text = f"field {training['field']}, {training['steps']} steps in {training['minutes']} minutes"
        lines.append(("training", text))
    for name in ("by_motion", "by_sound"):
        figures = _inner(_inner(reports, "evaluation"), name)
        told = [
            f"{called} {form.format(figures[key])}"
            for key, called, form in _FIGURES
            if isinstance(figures.get(key), float)
        ]
        if told:
            lines.append((name.replace("_", " "), ", ".join(told)))
    return lines


def _inner(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = data.get(name)
    return found if isinstance(found, Mapping) else {}
