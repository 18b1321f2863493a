"""`splatface bench`: what this machine makes of splatface, never part of a test."""

import argparse
import importlib

__all__ = ["add_arguments", "main"]

BENCHES = {
    "graph": ("bench_graph", "the whole graph: real processes, from sound to picture"),
    "talk": (
        "bench_talk",
        "a conversation: voice and mouth in step, and how soon an interrupted face is still",
    ),
    "lips": ("bench_lips", "the mouth predicted from sound against lips that were filmed"),
    "render": ("bench_render", "one picture: coefficients, deformation, drawing"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One subcommand for each bench."""
    kinds = parser.add_subparsers(dest="bench", required=True)
    for name, (module, text) in BENCHES.items():
        one = kinds.add_parser(name, help=text, description=text)
        importlib.import_module(f"splatface.launch.{module}").add_arguments(one)


def main(args: argparse.Namespace) -> int:
    """Run the chosen bench."""
    return int(importlib.import_module(f"splatface.launch.{BENCHES[args.bench][0]}").main(args))
