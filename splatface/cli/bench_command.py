# SPDX-License-Identifier: Apache-2.0
"""`splatface bench`: run the benchmarks of a checkout (bench/, not installed)."""

import argparse
import importlib
import sys
from importlib.util import find_spec
from pathlib import Path

import splatface
from splatface.models.errors import SplatfaceError

__all__ = ["add_arguments", "main"]

# name -> (module in bench/, one line, example)
BENCHMARKS = {
    "graph": (
        "graph_benchmark",
        "measure the latency of the whole node graph, from audio to image",
        "splatface bench graph --json --speech hello.wav",
    ),
    "talk": (
        "talk_benchmark",
        "measure audio-video synchronization and interruption latency in a conversation",
        "splatface bench talk --seconds 60",
    ),
    "lips": (
        "lips_benchmark",
        "compare the mouth predicted from audio with filmed lips",
        "splatface bench lips alice/ --encoders fsmn",
    ),
    "render": (
        "render_benchmark",
        "measure the stages of one image: coefficients, deformation, rendering",
        "splatface bench render --threads 2",
    ),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add one subcommand per benchmark.

    Raises:
        SplatfaceError: this is an installation without its checkout.
    """
    _make_importable()
    kinds = parser.add_subparsers(dest="bench", required=True)
    for name, (module, summary, example) in BENCHMARKS.items():
        benchmark_parser = kinds.add_parser(
            name, help=summary, description=summary, epilog=f"example: {example}"
        )
        importlib.import_module(f"bench.{module}").add_arguments(benchmark_parser)


def main(args: argparse.Namespace) -> int:
    """Run the chosen benchmark; return its exit code."""
    return int(importlib.import_module(f"bench.{BENCHMARKS[args.bench][0]}").main(args))


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
