"""`splatface bench`: measure this machine with the benchmarks of a checkout (bench/, not installed)."""

import argparse
import importlib
import sys
from importlib.util import find_spec
from pathlib import Path

import splatface
from splatface.models.errors import SplatfaceError

__all__ = ["add_arguments", "main"]

MODULES = {"graph": "graph_benchmark", "talk": "talk_benchmark", "render": "render_benchmark"}
BENCHMARKS = {
    "graph": "the whole graph: real processes, from sound to picture",
    "talk": "a conversation: voice and mouth in step, and how soon an interrupted face is still",
    "lips": "the mouth predicted from sound against lips that were filmed",
    "render": "one picture: coefficients, deformation, drawing",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add one subcommand per benchmark.

    Raises:
        SplatfaceError: this is an installation without its checkout.
    """
    _make_importable()
    kinds = parser.add_subparsers(dest="bench", required=True)
    for name, text in BENCHMARKS.items():
        one = kinds.add_parser(name, help=text, description=text)
        importlib.import_module(f"bench.{MODULES.get(name, name)}").add_arguments(one)


def main(args: argparse.Namespace) -> int:
    """Run the chosen benchmark; return its exit code."""
    return int(importlib.import_module(f"bench.{MODULES.get(args.bench, args.bench)}").main(args))


def _make_importable() -> None:
    """Put the checkout on the import path."""
    checkout = Path(splatface.__file__).parents[1]
    if not (checkout / "bench" / "graph_benchmark.py").exists():
        raise SplatfaceError(
            f"bench: expected the benchmarks in {checkout / 'bench'}, found none: they are not installed; "
            "clone the repository and run `splatface bench` from its .venv"
        )
    if find_spec("bench") is None:
        sys.path.append(str(checkout))
