# SPDX-License-Identifier: Apache-2.0
"""`splatface warm-up`: compile kernels and export encoders once per machine."""

import argparse
import time

__all__ = ["add_arguments", "main"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--quiet", action="store_true", help="print nothing")


def main(args: argparse.Namespace) -> int:
    """Compile the renderer's kernels, export the encoders, and keep both in the cache."""
    from splatface.models.audio.encoder import ENCODERS, encoder
    from splatface.models.head.head_file import head_folder, load_head
    from splatface.models.messages import HeadControl
    from splatface.models.render.render import renderer, warm_up
    from splatface.models.talking_head import TalkingHead

    def report(step: str) -> None:
        if not args.quiet:
            print(f"warm-up: {step}", flush=True)

    began = time.perf_counter()
    warm_up(report)
    report("preparing the head")
    TalkingHead(load_head(head_folder("robin")), renderer("cpu"), size=(64, 64)).render([], HeadControl(), 0)
    for name in ENCODERS:
        report(f"encoder {name}")
        encoder(name)
    report(f"done in {time.perf_counter() - began:.0f} s")
    return 0
