"""The command line: `splatface COMMAND ...`. Each command is a module with `add_arguments` and `main`."""

import argparse
import importlib
import os
import sys

from splatface.models.errors import SplatfaceError, silence_unraisable_on_interrupt

__all__ = ["main"]

# name -> (module, one line, example)
COMMANDS = {
    "run": ("run", "show a talking face in the browser", "splatface run --source hello.wav"),
    "launch": (
        "start",
        "run a ROS 2 YAML launch file",
        "splatface launch kiosk.launch.yaml source:=hello.wav",
    ),
    "record": ("record", "record what a running face hears and does", "splatface record talk/"),
    "replay": ("replay", "show a recording again, bit for bit", "splatface replay talk/ --sha256"),
    "actor": (
        "actor",
        "let a person who does not exist speak: a data set",
        "splatface actor mira --out mira/",
    ),
    "dataset": ("datasets", "show, check and import data sets", "splatface dataset check alice/"),
    "track": ("track", "make a data set of a film of a person", "splatface track alice.mp4 --out alice/"),
    "train": (
        "train",
        "train a head from a film or a data set",
        "splatface train alice.mp4 --out heads/alice",
    ),
    "eval": ("evaluate", "measure a head on held-out film", "splatface eval heads/mira mira/"),
    "inspect": ("inspect_head", "pictures of what a head is made of", "splatface inspect heads/mira"),
    "render": (
        "render_film",
        "let a head speak into a film",
        'splatface render mira --say "Hello." --out film.mp4',
    ),
    "hear": ("hear", "make, train and measure the nets that hear", "splatface hear eval CORPUS"),
    "voices": (
        "voices",
        "list voices, hear one, find the one like a recording",
        "splatface voices match clip.wav",
    ),
    "info": ("info", "say who a head shows, who agreed, and how good it is", "splatface info mira"),
    "head": ("heads", "list heads, or export one", "splatface head list"),
    "doctor": ("doctor", "say what works on this machine and how to mend the rest", "splatface doctor"),
    "bench": ("bench", "measure this machine", "splatface bench graph --json --speech hello.wav"),
    "warm-up": ("warm_up", "compile and export once, so that the first start is quick", "splatface warm-up"),
}


def parser_of(command: str) -> argparse.ArgumentParser:
    """The parser of one command, with an example in its help."""
    module, summary, example = COMMANDS[command]
    parser = argparse.ArgumentParser(
        prog=f"splatface {command}", description=summary, epilog=f"example: {example}"
    )
    importlib.import_module(f"splatface.cli.{module}").add_arguments(parser)
    return parser


def usage() -> str:
    """What `splatface --help` prints."""
    lines = ["usage: splatface COMMAND ...", "", "a 3D Gaussian Splatting head that talks", "", "commands:"]
    lines += [f"  {name:10s} {summary}" for name, (_, summary, _) in COMMANDS.items()]
    lines += ["", "`splatface COMMAND --help` tells more. example: splatface run --source hello.wav"]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code. A SplatfaceError becomes one line on stderr and 1."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if argv else 2
    command, *rest = argv
    if command not in COMMANDS:
        print(f"splatface: no command {command!r}: choose from {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    try:
        args = parser_of(command).parse_args(rest)
        return int(importlib.import_module(f"splatface.cli.{COMMANDS[command][0]}").main(args))
    except SplatfaceError as error:
        print(f"splatface {command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        silence_unraisable_on_interrupt()
        return 130
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    raise SystemExit(main())
