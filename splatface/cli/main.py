# SPDX-License-Identifier: Apache-2.0
"""Command line: `splatface COMMAND ...`; each command is a module with `add_arguments` and `main`."""

import argparse
import importlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from splatface.models.errors import SplatfaceError, silence_unraisable_on_interrupt

__all__ = ["COMMANDS", "Command", "main", "parser_for"]


@dataclass(frozen=True)
class Command:
    """A command: its module in this package, one line of help, an example, and its two functions."""

    module: str
    summary: str
    example: str
    add_arguments: str = "add_arguments"  # (parser) -> None
    main: str = "main"  # (args) -> exit code

    def function(self, name: str) -> Callable[[Any], Any]:
        """Import the module and return one of its functions."""
        found: Callable[[Any], Any] = getattr(importlib.import_module(f"splatface.cli.{self.module}"), name)
        return found


COMMANDS = {
    "run": Command("run_command", "show a talking face in the browser", "splatface run --source hello.wav"),
    "launch": Command(
        "launch_command",
        "run a ROS 2 YAML launch file",
        "splatface launch kiosk.launch.yaml source:=hello.wav",
    ),
    "record": Command("record_command", "record the topics of a running face", "splatface record talk/"),
    "replay": Command(
        "replay_command", "render a recording again, bit for bit", "splatface replay talk/ --sha256"
    ),
    "actor": Command(
        "actor_command",
        "make a data set of a synthetic person who speaks",
        "splatface actor mira --out mira/",
    ),
    "dataset": Command(
        "dataset_command", "show, check and import data sets", "splatface dataset check alice/"
    ),
    "track": Command(
        "track_command", "make a data set from a video of a person", "splatface track alice.mp4 --out alice/"
    ),
    "train": Command(
        "train_command",
        "train a head from a video or a data set",
        "splatface train alice.mp4 --out heads/alice",
    ),
    "eval": Command(
        "eval_command", "measure a head on held-out frames of a data set", "splatface eval heads/mira mira/"
    ),
    "inspect": Command(
        "head_command",
        "write images of what a head consists of",
        "splatface inspect heads/mira",
        add_arguments="add_inspect_arguments",
        main="inspect",
    ),
    "render": Command(
        "render_command",
        "render a video of a head that speaks",
        'splatface render mira --say "Hello." --out film.mp4',
    ),
    "hear": Command(
        "hear_command", "make, train and measure the audio-to-mouth networks", "splatface hear eval CORPUS"
    ),
    "voices": Command(
        "voices_command",
        "list voices, speak with one, find the one most similar to a recording",
        "splatface voices match clip.wav",
    ),
    "info": Command(
        "head_command",
        "show the person, consent, license and quality of a head",
        "splatface info mira",
        add_arguments="add_info_arguments",
        main="info",
    ),
    "head": Command("head_command", "list heads, or export one", "splatface head list"),
    "doctor": Command(
        "doctor_command", "check this machine and say how to install what is missing", "splatface doctor"
    ),
    "bench": Command(
        "bench_command", "benchmark this machine", "splatface bench graph --json --speech hello.wav"
    ),
    "warm-up": Command(
        "warm_up_command", "compile and export once, so that the first start is quick", "splatface warm-up"
    ),
}


def main(argv: list[str] | None = None) -> int:
    """Run one command; return the exit code. A SplatfaceError becomes one line on stderr and 1."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if argv else 2
    name, *rest = argv
    if name not in COMMANDS:
        print(f"splatface: no command {name!r}: choose from {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    try:
        args = parser_for(name).parse_args(rest)
        return int(COMMANDS[name].function(COMMANDS[name].main)(args))
    except SplatfaceError as error:
        print(f"splatface {name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        silence_unraisable_on_interrupt()
        return 130
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def parser_for(name: str) -> argparse.ArgumentParser:
    """Return the parser of one command, with an example in its help."""
    command = COMMANDS[name]
    parser = argparse.ArgumentParser(
        prog=f"splatface {name}", description=command.summary, epilog=f"example: {command.example}"
    )
    command.function(command.add_arguments)(parser)
    return parser


def usage() -> str:
    """Return the text of `splatface --help`."""
    lines = ["usage: splatface COMMAND ...", "", "a 3D Gaussian Splatting head that talks", "", "commands:"]
    lines += [f"  {name:10s} {command.summary}" for name, command in COMMANDS.items()]
    lines += ["", "`splatface COMMAND --help` shows more. example: splatface run --source hello.wav"]
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
