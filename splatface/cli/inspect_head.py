"""`splatface inspect`: pictures of what is inside a head, or inside a field that was trained."""

import argparse
import json
import time
from pathlib import Path

from splatface.models.errors import TrainingError
from splatface.models.head.head_file import head_folder, load_head

__all__ = ["add_arguments", "main"]

_STATE = "state.safetensors"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("head", help="a shipped head's name, a head folder, or the run folder of a training")
    parser.add_argument("--dataset", type=Path, help="what the run was trained on (run folders only)")
    parser.add_argument("--out", type=Path, help="folder for the pictures (default: inspect-NAME)")


def main(args: argparse.Namespace) -> int:
    """Write the pictures and say where they are."""
    if (Path(args.head) / _STATE).is_file():
        files = _inspect_run(Path(args.head), args)
    else:
        from splatface.models.training.report.head_inspection import inspect_head

        head = load_head(head_folder(args.head))
        files = inspect_head(head, args.out or Path(f"inspect-{head.info.name.replace(' ', '-')}"))
    for file in files:
        print(file)
    return 0


def _inspect_run(run: Path, args: argparse.Namespace) -> list[Path]:
    from safetensors import safe_open

    from splatface.models.training.dataset.dataset_io import load_dataset
    from splatface.models.training.optimization.train_config import config_from_yaml
    from splatface.models.training.optimization.training_run import train
    from splatface.models.training.report.head_inspection import inspect_field

    if args.dataset is None:
        raise TrainingError(f"{run}: expected --dataset beside a run's folder: name what it was trained on")
    with safe_open(run / _STATE, framework="numpy") as file:
        counters = json.loads((file.metadata() or {}).get("counters", "{}"))
    if not counters.get("done"):
        raise TrainingError(f"{run}: expected a finished run, found one under way: go on with it first")
    dataset = load_dataset(args.dataset)
    config = config_from_yaml((run / "config.yaml").read_text(encoding="utf-8"))
    trained = train(dataset, config, run, clock=time.monotonic, report=lambda _: None)
    return inspect_field(trained, args.out or Path(f"inspect-{run.resolve().name}"))
