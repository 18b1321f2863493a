# SPDX-License-Identifier: Apache-2.0
"""`splatface head`, `info` and `inspect`: list heads, export one, show what it is and what it consists of."""

import argparse
import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from splatface.models.errors import TrainingError
from splatface.models.head.head import Head, HeadInfo
from splatface.models.head.head_file import head_folder, load_head, shipped_heads
from splatface.models.head.ply import write_ply

__all__ = ["add_arguments", "add_info_arguments", "add_inspect_arguments", "info", "inspect", "main"]

# report key, label, format
_METRICS = (
    ("psnr", "PSNR", "{:.1f} dB"),
    ("psnr_mouth", "PSNR of the mouth", "{:.1f} dB"),
    ("lmd_px", "lip landmark distance", "{:.2f} px"),
    ("opening_correlation", "mouth opening r", "{:.3f}"),
    ("opening_amplitude", "amplitude", "{:.2f}"),
)
_STATE_FILE = "state.safetensors"


# splatface head


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add one subcommand per verb."""
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("list", help="list the installed heads")
    ply = verbs.add_parser("export-ply", help="write the head at rest as a standard 3DGS .ply")
    ply.add_argument("head", help="a shipped head's name or a folder")
    ply.add_argument("file", type=Path, help="the .ply to write")


def main(args: argparse.Namespace) -> int:
    """Run the verb; return the exit code."""
    if args.verb == "list":
        for name, folder in shipped_heads().items():
            print(f"{name:12s} {folder}")
    else:
        head = load_head(head_folder(args.head))
        write_ply(head.gaussians, args.file)
        print(f"{args.file}: {len(head.gaussians)} Gaussians")
    return 0


# splatface info


def add_info_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the argument of `splatface info`."""
    parser.add_argument("head", help="a shipped head's name or a folder")


def info(args: argparse.Namespace) -> int:
    """Print the description of a head, one property per line."""
    for name, text in _properties(load_head(head_folder(args.head))):
        print(f"{name:12s}{text}")
    return 0


def _properties(head: Head) -> list[tuple[str, str]]:
    info = head.info
    nets = (
        f"{net.encoder} ({net.feature_dim} features, look-ahead {net.lookahead_ms:g} ms)"
        for net in head.nets.values()
    )
    return [
        ("name", info.name),
        ("person", info.person),
        ("consent", info.consent),
        ("license", info.license),
        (
            "gaussians",
            f"{len(head.gaussians)}, {len(head.dynamic)} of them dynamic, {head.basis.shape[2]} coefficients",
        ),
        ("encoders", ", ".join(nets) or "none"),
        ("camera", f"{info.camera.width}x{info.camera.height}, {info.fps:g} frames per second"),
        ("pose", _pose_limits(info)),
        *_reports(info.reports),
    ]


def _pose_limits(info: HeadInfo) -> str:
    """Return the allowed ranges of the head pose as text, degrees."""
    limits = info.pose_limits
    ranges = {"yaw": limits.yaw_rad, "pitch": limits.pitch_rad, "roll": limits.roll_rad}
    return ", ".join(
        f"{name} {math.degrees(low):.0f} to {math.degrees(high):.0f} degrees"
        for name, (low, high) in ranges.items()
    )


def _reports(reports: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the lines on training and evaluation; reports are plain data that may lack any key."""
    lines = []
    training = _section(reports, "training")
    if {"field", "steps", "minutes"} <= training.keys():
        text = f"field {training['field']}, {training['steps']} steps in {training['minutes']} minutes"
        lines.append(("training", text))
    for name in ("by_motion", "by_sound"):
        metrics = _section(_section(reports, "evaluation"), name)
        values = [
            f"{label} {template.format(metrics[key])}"
            for key, label, template in _METRICS
            if isinstance(metrics.get(key), float)
        ]
        if values:
            lines.append((name.replace("_", " "), ", ".join(values)))
    return lines


def _section(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = data.get(name)
    return value if isinstance(value, Mapping) else {}


# splatface inspect


def add_inspect_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `splatface inspect`."""
    parser.add_argument("head", help="a shipped head's name, a head folder, or the run folder of a training")
    parser.add_argument(
        "--dataset", type=Path, help="data set that the run was trained on (run folders only)"
    )
    parser.add_argument("--out", type=Path, help="folder for the images (default: inspect-NAME)")


def inspect(args: argparse.Namespace) -> int:
    """Write images of a head or of a trained field, and print their paths."""
    if (Path(args.head) / _STATE_FILE).is_file():
        files = _inspect_run(Path(args.head), args.dataset, args.out)
    else:
        from splatface.models.training.report.head_inspection import inspect_head

        head = load_head(head_folder(args.head))
        files = inspect_head(head, args.out or Path(f"inspect-{head.info.name.replace(' ', '-')}"))
    for file in files:
        print(file)
    return 0


def _inspect_run(run: Path, dataset_folder: Path | None, out: Path | None) -> list[Path]:
    from safetensors import safe_open

    from splatface.models.training.dataset.dataset_io import load_dataset
    from splatface.models.training.optimization.train_config import config_from_yaml
    from splatface.models.training.optimization.training_run import train
    from splatface.models.training.report.head_inspection import inspect_field

    if dataset_folder is None:
        raise TrainingError(
            f"{run}: expected --dataset beside the run folder, found none: name the training data"
        )
    with safe_open(run / _STATE_FILE, framework="numpy") as file:
        counters = json.loads((file.metadata() or {}).get("counters", "{}"))
    if not counters.get("done"):
        raise TrainingError(f"{run}: expected a finished run, found an unfinished one: continue it first")
    dataset = load_dataset(dataset_folder)
    config = config_from_yaml((run / "config.yaml").read_text(encoding="utf-8"))
    trained = train(dataset, config, run, clock=time.monotonic, report=lambda _: None)
    return inspect_field(trained, out or Path(f"inspect-{run.resolve().name}"))
