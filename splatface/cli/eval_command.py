# SPDX-License-Identifier: Apache-2.0
"""`splatface eval`: measure a head on the held-out part of a data set."""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

from splatface.models.errors import MetricError

__all__ = ["add_arguments", "main"]

_SPLITS = ("test", "val", "train")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "paths", nargs="+", metavar="HEAD DATASET", help="a head, then the folder of a data set"
    )
    parser.add_argument(
        "--compare", action="store_true", help="several heads, then a data set: print one Markdown table"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for JSON, table, images and plots")
    parser.add_argument("--split", choices=_SPLITS, default="test", help="part of the data set")
    parser.add_argument(
        "--encoder", default="", help="encoder of the audio-to-mouth network (default: the head's first)"
    )
    parser.add_argument("--threads", type=int, default=1, help="cores of the renderer")
    parser.add_argument(
        "--supersample", type=int, choices=(1, 2), default=1, help="as the parameter of the renderer node"
    )
    parser.add_argument(
        "--pictures", type=int, default=0, help="only the first N frames of the part (0: all)"
    )
    parser.add_argument(
        "--samples", type=int, default=32, help="frames for the perceptual and identity metrics"
    )
    parser.add_argument("--lpips", type=Path, metavar="FILE", help="LPIPS (AlexNet) weights, a state_dict")
    parser.add_argument("--fid", type=Path, metavar="FILE", help="inception-2015-12-05.pt, for FID")
    parser.add_argument("--syncnet", type=Path, metavar="FILE", help="syncnet_v2.model, for LSE-C and LSE-D")


def main(args: argparse.Namespace) -> int:
    """Evaluate each head and print; return the exit code."""
    *heads, dataset = args.paths
    if not heads or (len(heads) > 1 and not args.compare):
        raise MetricError(
            f"eval: expected HEAD DATASET, found {' '.join(args.paths)}: "
            "give one head and one data set, or --compare HEAD HEAD ... DATASET"
        )
    results = [_evaluate(head, dataset, args, alone=not args.compare) for head in heads]
    if args.compare:
        _print_comparison(results, args)
    else:
        _print_result(results[0], args)
    return 0


def _evaluate(name: str, folder: str, args: argparse.Namespace, *, alone: bool) -> dict[str, Any]:
    from splatface.models.head.head_file import head_folder, load_head
    from splatface.models.training.dataset.dataset_io import load_dataset
    from splatface.models.training.evaluation.evaluate import EvaluationConfig, evaluate, evaluation_json
    from splatface.models.training.evaluation.evaluate_frames import UserWeights

    config = EvaluationConfig(
        split=args.split,
        encoder=args.encoder,
        threads=args.threads,
        supersample=args.supersample,
        samples=args.samples,
        most=args.pictures,
        supplied=UserWeights(lpips=args.lpips, fid=args.fid, syncnet=args.syncnet),
    )
    head = load_head(head_folder(name))
    evaluation = evaluate(head, load_dataset(folder), config, clock=time.perf_counter)
    if args.out:
        _write_images(evaluation, args.out if alone else args.out / Path(name).resolve().name)
    return {"machine": _machine(), "folder": Path(name).resolve().name, **evaluation_json(evaluation)}


def _print_result(result: dict[str, Any], args: argparse.Namespace) -> None:
    from splatface.models.training.evaluation.evaluation_report import format_table

    text, data = format_table(result), json.dumps(result, indent=None if args.json else 2)
    if args.out:
        _write_text(args.out, "evaluation.json", data)
        _write_text(args.out, "evaluation.txt", text)
    print(data if args.json else text)


def _print_comparison(results: list[dict[str, Any]], args: argparse.Namespace) -> None:
    from splatface.models.training.evaluation.evaluation_report import format_comparison

    text, data = format_comparison(results), json.dumps(results)
    if args.out:
        _write_text(args.out, "comparison.json", data)
        _write_text(args.out, "comparison.md", text)
    print(data if args.json else text)


def _write_images(evaluation: Any, folder: Path) -> None:
    import cv2

    from splatface.models.training.evaluation.evaluation_report import opening_plot, side_by_side

    _make_folder(folder)
    cv2.imwrite(str(folder / "side_by_side.png"), side_by_side(evaluation)[..., ::-1])
    opening_plot(evaluation, folder / "opening.png")


def _write_text(folder: Path, name: str, text: str) -> None:
    _make_folder(folder)
    (folder / name).write_text(text + "\n")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MetricError(
            f"{folder}: expected a folder to write to, found {error.strerror}: choose another --out"
        ) from error


def _machine() -> str:
    models = [
        line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")
    ]
    name = models[0].split(":", 1)[1].strip() if models else "unknown processor"
    return f"{name}, {len(os.sched_getaffinity(0))} cores"
