# SPDX-License-Identifier: Apache-2.0
"""`splatface train`: train a head from a video or a data set; the same command continues a run."""

import argparse
import importlib.util
import json
import math
import re
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from splatface.cli.track_command import (
    add_provenance_arguments,
    limit_blas_threads,
    read_provenance,
    track_video,
)
from splatface.cli.training_progress import FractionBar, TrainingBar
from splatface.models.errors import TrainingError

__all__ = ["add_arguments", "head_name", "main", "make_config"]

if TYPE_CHECKING:
    from splatface.models.head.head import Head
    from splatface.models.training.dataset.types import Dataset
    from splatface.models.training.evaluation.evaluate import Evaluation
    from splatface.models.training.optimization.train_config import TrainConfig


_FIELDS = ("basis", "attention", "attention_light", "audio_plane")
_FREE_BYTES = 500 * 2**20  # checkpoints, validation images, the head, the report
_RUN_FILES = ("config.yaml", "log.jsonl")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("source", type=Path, help="video of a person, or folder of a data set")
    parser.add_argument("--out", type=Path, required=True, metavar="HEAD", help="folder for the head")
    parser.add_argument("--field", choices=_FIELDS, default="basis", help="deformation field")
    parser.add_argument("--minutes", type=float, help="time limit of training, wall clock")
    parser.add_argument("--run", type=Path, help="folder for checkpoints, log and report (default: HEAD-run)")
    parser.add_argument("--threads", type=int, help="processor cores (default: 2)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--seed", type=int, help="of the random generators (default: 0)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any setting of config.yaml, such as densify.max_gaussians=30000; may be repeated",
    )
    parser.add_argument(
        "--fresh", action="store_true", help="delete an earlier run in the folder and start again"
    )
    parser.add_argument("--tune", type=int, default=400, help="frames of fine-tuning after baking")
    add_provenance_arguments(parser)
    parser.add_argument("--no-evaluation", action="store_true", help="skip the evaluation")


def main(args: argparse.Namespace) -> int:
    """Train, bake, export, evaluate and report; return 130 after Ctrl-C."""
    limit_blas_threads()
    _check_torch()
    run = args.run or args.out.with_name(f"{args.out.name}-run")
    _check_folders(args.out, run)
    try:
        dataset = _load_or_track(args)
    except KeyboardInterrupt:
        print("\nstopped: continue with the same command", file=sys.stderr)
        return 130
    config, notes = make_config(args, dataset)
    for note in notes:
        _print_now(note)
    if args.fresh:
        _delete_run(run)
    _check_same_config(run, config)
    try:
        _train(dataset, config, run, args)
    except KeyboardInterrupt:
        print(
            f"\nstopped; {run} keeps all but the last minute: continue with the same command", file=sys.stderr
        )
        return 130
    return 0


def _check_torch() -> None:
    if importlib.util.find_spec("torch") is None:
        raise TrainingError("expected torch, found none: pip install splatface[train]")


def _load_or_track(args: argparse.Namespace) -> "Dataset":
    """Load the data set of a folder; make one from a video first, in OUT-dataset."""
    from splatface.models.training.dataset.dataset_io import load_dataset

    path: Path = args.source
    if path.is_file():
        from splatface.models.training.tracking.track_video import TrackOptions

        folder = args.out.with_name(f"{args.out.name}-dataset")
        options = TrackOptions(provenance=read_provenance(args, sys.stdin, sys.stderr))
        return track_video(path, folder, options)
    dataset = load_dataset(path)
    for name in ("consent", "license"):
        if not getattr(dataset, name).strip():
            raise TrainingError(
                f"{path}: expected a line `{name}` in dataset.yaml, found none: "
                "training needs the consent of the person shown: ask, and write it down"
            )
    return dataset


def _check_folders(out: Path, run: Path) -> None:
    """Refuse output folders that would fail only after half an hour of training."""
    if out.exists() and not (out.is_dir() and ((out / "head.yaml").is_file() or not any(out.iterdir()))):
        raise TrainingError(
            f"{out}: expected a new folder, an empty one or a head, found other files: choose another --out"
        )
    for folder in (out, run):
        existing = next(p for p in (folder, *folder.absolute().parents) if p.exists())
        free = shutil.disk_usage(existing).free
        if free < _FREE_BYTES:
            raise TrainingError(
                f"{folder}: expected {_FREE_BYTES >> 20} MiB free, found {free >> 20}: "
                "free space or choose another folder"
            )


def _delete_run(run: Path) -> None:
    if not run.exists():
        return
    if not any((run / name).is_file() for name in _RUN_FILES):
        raise TrainingError(
            f"{run}: expected the folder of a run, found something else: choose another --run"
        )
    shutil.rmtree(run)


def make_config(args: argparse.Namespace, dataset: "Dataset") -> tuple["TrainConfig", tuple[str, ...]]:
    """Return the preset of the field, adapted to the data set, with the command line's settings (--set last).

    The second value is a list of texts: what the data set changed.
    """
    from splatface.models.training.optimization.dataset_statistics import adapt_config_to_dataset
    from splatface.models.training.optimization.train_config import (
        config_from_yaml,
        config_to_yaml,
        current_setting_name,
        preset,
    )

    fitted = adapt_config_to_dataset(dataset, preset(args.field))
    values: dict[str, Any] = yaml.safe_load(config_to_yaml(fitted.config))
    options = {
        "stages.minutes": args.minutes,
        "threads": args.threads,
        "device": args.device,
        "seed": args.seed,
    }
    for key, value in options.items():
        if value is not None:
            _set_value(values, key, value)
    for setting in args.set:
        key, equals, text = setting.partition("=")
        if not equals:
            raise TrainingError(
                f"--set: expected KEY=VALUE, found {setting!r}: try densify.max_gaussians=30000"
            )
        try:
            _set_value(values, current_setting_name(key), yaml.safe_load(text))
        except yaml.YAMLError as error:
            raise TrainingError(f"--set {key}: expected a value, found {text!r}: quote it") from error
    return config_from_yaml(yaml.safe_dump(values)), fitted.notes


def _set_value(values: dict[str, Any], key: str, value: Any) -> None:
    *path, name = key.split(".")
    for step in path:
        inner = values.get(step)
        if not isinstance(inner, dict):
            known = ", ".join(k for k, v in values.items() if isinstance(v, dict))
            raise TrainingError(f"--set {key}: expected one of {known or 'no more dots'}, found {step!r}")
        values = inner
    if name not in values:
        raise TrainingError(
            f"--set {key}: expected one of {', '.join(values)}, found {name!r}: choose one of them"
        )
    values[name] = value


def _check_same_config(run: Path, config: "TrainConfig") -> None:
    """Refuse to continue a run with other settings than its own."""
    from splatface.models.training.optimization.train_config import config_from_yaml, config_to_yaml

    file = run / "config.yaml"
    if not file.is_file():
        return
    stored = config_from_yaml(file.read_text(encoding="utf-8"))
    if stored == config:
        return
    now, before = (_flatten(yaml.safe_load(config_to_yaml(c))) for c in (config, stored))
    other = [f"{key}={before.get(key)}" for key in {**before, **now} if before.get(key) != now.get(key)]
    raise TrainingError(
        f"{run}: expected a run of these settings, found one started with {', '.join(other)}: "
        "give the same settings to continue, --fresh to delete it, or another --run"
    )


def _flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by their dotted names."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _train(dataset: "Dataset", config: "TrainConfig", run: Path, args: argparse.Namespace) -> None:
    from splatface.models.training.optimization.finalize import FinalizeConfig, bake_finetune_export
    from splatface.models.training.optimization.head_export import calibrated_nets, write_head
    from splatface.models.training.optimization.training_run import load_run_artifacts, train
    from splatface.models.training.report.head_inspection import inspect_field, inspect_head
    from splatface.models.training.report.training_report import write_report

    print(f"{dataset.name}: {len(dataset.frames)} frames; run in {run}", flush=True)
    training_bar = TrainingBar(sys.stdout, clock=time.monotonic)
    trained = train(dataset, config, run, clock=time.monotonic, report=training_bar)
    training_bar.end()
    dataset = trained.dataset
    finalize_config = FinalizeConfig(name=head_name(args.out), tune_steps=args.tune)
    finetuning_bar = FractionBar(sys.stdout, "fine-tuning")
    head = bake_finetune_export(trained, finalize_config, _print_now, progress=finetuning_bar)
    finetuning_bar.end()
    _print_now("audio-to-mouth: calibrating the shared networks to this person")
    nets, calibration = calibrated_nets(dataset)
    head = _with_report(replace(head, nets=nets), "hearing", calibration)
    if not args.no_evaluation:
        head = _evaluate(head, dataset, run, config.threads)
    _print_now(f"inspection: images in {run / 'inside'}")
    inspect_head(head, run / "inside")
    inspect_field(trained, run / "inside")
    write_head(head, args.out)
    write_report(head, dataset, load_run_artifacts(run), run / "report.html")
    size_mb = sum(file.stat().st_size for file in args.out.iterdir()) / 1e6
    print(f"head    {args.out} ({size_mb:.1f} MB)\nreport  {run / 'report.html'}")
    print(f"next    splatface run --head {args.out}")


def _evaluate(head: "Head", dataset: "Dataset", run: Path, threads: int) -> "Head":
    from splatface.models.training.evaluation.evaluate import EvaluationConfig, evaluate, evaluation_json

    _print_now("evaluation: on the held-out part of the video")
    evaluation = evaluate(head, dataset, EvaluationConfig(threads=threads), clock=time.perf_counter)
    report = evaluation_json(evaluation)
    (run / "evaluation.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    (run / "openings.json").write_text(json.dumps(_mouth_openings(evaluation)) + "\n", encoding="utf-8")
    metrics = {
        group: {name: value for name, value in report[group].items() if isinstance(value, (int, float))}
        for group in ("by_motion", "by_sound")
    }
    for group, values in metrics.items():
        texts = [f"{name} {values[name]:.4g}" for name in ("psnr", "psnr_mouth", "ssim") if name in values]
        texts = texts or [report[group]["not_available"]["psnr"]]
        print(f"{group.replace('_', ' '):10s} {', '.join(texts)}")
    return _with_report(head, "evaluation", metrics)


def _mouth_openings(evaluation: "Evaluation") -> dict[str, list[float | None]]:
    """Return the mouth opening from landmarks, ground truth and rendered; None where no face was detected."""
    from splatface.models.training.evaluation.mouth_metrics import mouth_opening

    truth = evaluation.truth
    series = {
        "time_s": truth.dataset.frames.time_ns[truth.frame_indices] / 1e9,
        "truth": None if truth.landmarks is None else mouth_opening(truth.landmarks),
        "by motion": evaluation.by_motion.opening,
        "by sound": evaluation.by_sound.opening,
    }
    return {
        name: [round(value, 5) if math.isfinite(value) else None for value in values.tolist()]
        for name, values in series.items()
        if values is not None
    }


def _with_report(head: "Head", name: str, report: dict[str, Any]) -> "Head":
    """Return the head with one more report."""
    return replace(head, info=replace(head.info, reports={**head.info.reports, name: report}))


def head_name(out: Path) -> str:
    """Return a valid head name made from the name of the folder."""
    name = re.sub(r"[^\w .-]", "-", out.resolve().name).lstrip(" .-")
    return name[:64] or "head"


def _print_now(text: str) -> None:
    print(text, flush=True)
