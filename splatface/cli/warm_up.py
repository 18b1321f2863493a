"""`splatface warm-up`: everything that is made once per machine, with progress."""

import argparse
import time

__all__ = ["add_arguments", "main"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--quiet", action="store_true", help="say nothing")


def main(args: argparse.Namespace) -> int:
    """Compile the renderer's kernels, export the encoders, and keep both in the cache."""
    from splatface.models.audio.encoder import ENCODERS, encoder
    from splatface.models.messages import HeadControl
    from splatface.models.render.render import renderer
    from splatface.models.render.warm_up import warm_up
    from splatface.models.talking_head import TalkingHead
    from splatface.models.training.synthetic.procedural import procedural_head

    def tell(what: str) -> None:
        if not args.quiet:
            print(f"warm-up: {what}", flush=True)

    began = time.perf_counter()
    warm_up(tell)
    tell("preparing the head")
    TalkingHead(procedural_head(), renderer("cpu"), size=(64, 64)).render([], HeadControl(), 0)
    for name in ENCODERS:
        tell(f"encoder {name}")
        encoder(name)
    tell(f"done in {time.perf_counter() - began:.0f} s")
    return 0
