"""Settings of a training from the command line, and whether a run was begun with the same."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from splatface.models.errors import TrainingError

if TYPE_CHECKING:
    from splatface.models.training.dataset.types import Dataset
    from splatface.models.training.optimization.train_config import TrainConfig

__all__ = ["check_same", "config_of"]


def config_of(args: argparse.Namespace, dataset: "Dataset") -> tuple["TrainConfig", tuple[str, ...]]:
    """The preset of the field, fitted to the data set, with what the command line says (--set last).

    Also, in words, what the data set changed.
    """
    from splatface.models.training.optimization.dataset_statistics import adapt_config_to_dataset
    from splatface.models.training.optimization.train_config import config_from_yaml, config_to_yaml, preset

    fitted = adapt_config_to_dataset(dataset, preset(args.field))
    values: dict[str, Any] = yaml.safe_load(config_to_yaml(fitted.config))
    given = {
        "stages.minutes": args.minutes,
        "threads": args.threads,
        "device": args.device,
        "seed": args.seed,
    }
    for key, value in given.items():
        if value is not None:
            _put(values, key, value)
    for setting in args.set:
        key, equals, text = setting.partition("=")
        if not equals:
            raise TrainingError(f"--set: expected KEY=VALUE, found {setting!r}: try densify.most=30000")
        try:
            _put(values, key, yaml.safe_load(text))
        except yaml.YAMLError as error:
            raise TrainingError(f"--set {key}: expected a value, found {text!r}: quote it") from error
    return config_from_yaml(yaml.safe_dump(values)), fitted.notes


def _put(values: dict[str, Any], key: str, value: Any) -> None:
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


def check_same(run: Path, config: "TrainConfig") -> None:
    """A run goes on with its own settings only."""
    from splatface.models.training.optimization.train_config import config_from_yaml, config_to_yaml

    file = run / "config.yaml"
    if not file.is_file():
        return
    begun = config_from_yaml(file.read_text(encoding="utf-8"))
    if begun == config:
        return
    now, then = (_flat(yaml.safe_load(config_to_yaml(c))) for c in (config, begun))
    other = [f"{key}={then.get(key)}" for key in {**then, **now} if then.get(key) != now.get(key)]
    raise TrainingError(
        f"{run}: expected a run of these settings, found one begun with {', '.join(other)}: "
        "give the same again to go on, --fresh to forget it, or another --run"
    )


def _flat(values: dict[str, Any], at: str = "") -> dict[str, Any]:
    """Nested settings by their dotted names."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(value, f"{at}{key}.") if isinstance(value, dict) else {f"{at}{key}": value}
    return found
