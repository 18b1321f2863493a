"""`splatface train`: from a film or a data set to a head that talks. Stopped, the same command goes on."""

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

from splatface.cli.track import add_owner_arguments, limit_blas_threads, owner_of, track_film
from splatface.cli.train_settings import check_same, config_of
from splatface.cli.training_line import TrainingLine
from splatface.models.errors import TrainingError

if TYPE_CHECKING:
    from splatface.models.head.head import Head
    from splatface.models.training.dataset.types import Dataset
    from splatface.models.training.evaluation.evaluate import Evaluation
    from splatface.models.training.optimization.train_config import TrainConfig

__all__ = ["add_arguments", "main"]

_FIELDS = ("basis", "attention", "audio_plane")
_FREE_BYTES = 500 * 2**20  # states, validation pictures, the head, the report
_RUN_FILES = ("config.yaml", "log.jsonl")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("source", type=Path, help="film of a person, or folder of a data set")
    parser.add_argument("--out", type=Path, required=True, metavar="HEAD", help="folder for the head")
    parser.add_argument("--field", choices=_FIELDS, default="basis", help="how movement is learned")
    parser.add_argument("--minutes", type=float, help="budget of training, wall clock")
    parser.add_argument("--run", type=Path, help="folder for states, log and report (default: HEAD-run)")
    parser.add_argument("--threads", type=int, help="processor cores (default: 2)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--seed", type=int, help="of everything random (default: 0)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any setting of config.yaml, such as densify.most=30000; may be repeated",
    )
    parser.add_argument("--fresh", action="store_true", help="forget a run that was begun in the folder")
    parser.add_argument("--tune", type=int, default=400, help="pictures that polish the baked head")
    add_owner_arguments(parser)
    parser.add_argument("--no-evaluation", action="store_true", help="leave the measuring out")


def main(args: argparse.Namespace) -> int:
    """Train, bake, export, measure, report; 130 when stopped by Ctrl-C."""
    limit_blas_threads()
    _check_torch()
    run = args.run or args.out.with_name(f"{args.out.name}-run")
    _check_places(args.out, run)
    try:
        dataset = _dataset_of(args)
    except KeyboardInterrupt:
        print("\nstopped: go on with the same command", file=sys.stderr)
        return 130
    config, notes = config_of(args, dataset)
    for note in notes:
        _say(note)
    if args.fresh:
        _delete_run(run)
    check_same(run, config)
    try:
        _train(dataset, config, run, args)
    except KeyboardInterrupt:
        print(f"\nstopped; {run} keeps all but the last minute: go on with the same command", file=sys.stderr)
        return 130
    return 0


def _check_torch() -> None:
    if importlib.util.find_spec("torch") is None:
        raise TrainingError("expected torch, found none: pip install splatface[train]")


def _dataset_of(args: argparse.Namespace) -> "Dataset":
    """The data set of a folder; a film becomes one first, in OUT-dataset, which a second call finds again."""
    from splatface.models.training.dataset.dataset_io import load_dataset

    path: Path = args.source
    if path.is_file():
        from splatface.models.training.tracking.track import TrackOptions

        made = args.out.with_name(f"{args.out.name}-dataset")
        options = TrackOptions(owner=owner_of(args, sys.stdin, sys.stderr))
        return track_film(path, made, options)
    dataset = load_dataset(path)
    for name in ("consent", "license"):
        if not getattr(dataset, name).strip():
            raise TrainingError(
                f"{path}: expected a line `{name}` in dataset.yaml, found none: "
                "a head is only trained of who agreed; ask, and write it down"
            )
    return dataset


def _check_places(out: Path, run: Path) -> None:
    """What would only fail after half an hour is found out now."""
    if out.exists() and not (out.is_dir() and ((out / "head.yaml").is_file() or not any(out.iterdir()))):
        raise TrainingError(
            f"{out}: expected a new folder, an empty one or a head, found another: choose another --out"
        )
    for place in (out, run):
        there = next(p for p in (place, *place.absolute().parents) if p.exists())
        free = shutil.disk_usage(there).free
        if free < _FREE_BYTES:
            raise TrainingError(
                f"{place}: expected {_FREE_BYTES >> 20} MiB free, found {free >> 20}: "
                "free space or choose another place"
            )


def _delete_run(run: Path) -> None:
    if not run.exists():
        return
    if not any((run / name).is_file() for name in _RUN_FILES):
        raise TrainingError(
            f"{run}: expected the folder of a run, found something else: choose another --run"
        )
    shutil.rmtree(run)


def _train(dataset: "Dataset", config: "TrainConfig", run: Path, args: argparse.Namespace) -> None:
    from splatface.models.training.optimization.finalize import FinalizeConfig, bake_finetune_export
    from splatface.models.training.optimization.head_export import calibrated_nets, write_head
    from splatface.models.training.optimization.training_run import load_run_artifacts, train
    from splatface.models.training.report.head_inspection import inspect_field, inspect_head
    from splatface.models.training.report.training_report import write_report

    pictures = len(dataset.frames)
    print(f"{dataset.name}: {pictures} pictures; run in {run}", flush=True)
    line = TrainingLine(sys.stdout, clock=time.monotonic)
    trained = train(dataset, config, run, clock=time.monotonic, report=line)
    line.end()
    dataset = trained.dataset
    how = FinalizeConfig(name=_name_of(args.out), tune_steps=args.tune)
    head = bake_finetune_export(trained, how, _say)
    _say("hearing: setting the shared nets to this person")
    nets, calibration = calibrated_nets(dataset)
    head = _with_report(replace(head, nets=nets), "hearing", calibration)
    if not args.no_evaluation:
        head = _measured(head, dataset, run, config.threads)
    _say(f"looking inside: pictures in {run / 'inside'}")
    inspect_head(head, run / "inside")
    inspect_field(trained, run / "inside")
    write_head(head, args.out)
    write_report(head, dataset, load_run_artifacts(run), run / "report.html")
    size_mb = sum(file.stat().st_size for file in args.out.iterdir()) / 1e6
    print(f"head    {args.out} ({size_mb:.1f} MB)\nreport  {run / 'report.html'}")
    print(f"try it  splatface run --head {args.out}")


def _measured(head: "Head", dataset: "Dataset", run: Path, threads: int) -> "Head":
    from splatface.models.training.evaluation.evaluate import EvaluationConfig, evaluate, evaluation_json

    _say("measuring: the part of the film that was never trained on")
    evaluation = evaluate(head, dataset, EvaluationConfig(threads=threads), clock=time.perf_counter)
    plain = evaluation_json(evaluation)
    (run / "evaluation.json").write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")
    (run / "openings.json").write_text(json.dumps(_openings(evaluation)) + "\n", encoding="utf-8")
    short = {
        group: {name: value for name, value in plain[group].items() if isinstance(value, (int, float))}
        for group in ("by_motion", "by_sound")
    }
    for group, figures in short.items():
        said = [f"{name} {figures[name]:.4g}" for name in ("psnr", "psnr_mouth", "ssim") if name in figures]
        said = said or [plain[group]["not_available"]["psnr"]]
        print(f"{group.replace('_', ' '):10s} {', '.join(said)}")
    return _with_report(head, "evaluation", short)


def _openings(evaluation: "Evaluation") -> dict[str, list[float | None]]:
    """The mouth's opening as a face finder sees it, true and drawn; what it did not see is None."""
    from splatface.models.training.evaluation.mouth_metrics import mouth_opening

    truth = evaluation.truth
    series = {
        "time_s": truth.dataset.frames.time_ns[truth.rows] / 1e9,
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
    """The head with one report more."""
    return replace(head, info=replace(head.info, reports={**head.info.reports, name: report}))


def _name_of(out: Path) -> str:
    """A name that a head may carry, from the name of its folder."""
    name = re.sub(r"[^\w .-]", "-", out.resolve().name).lstrip(" .-")
    return name[:64] or "head"


def _say(text: str) -> None:
    print(text, flush=True)
