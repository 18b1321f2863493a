"""The values in force at one point of a launch file, and what substitutions give there."""

import shlex
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from splatface.cli.launcher.expression import evaluate_expression
from splatface.cli.launcher.packages import package_prefix, package_share
from splatface.cli.launcher.substitute import Call, Text
from splatface.models.errors import LaunchError

__all__ = ["Place", "Scope", "perform"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where we are: the file being read, and the file that Jazzy believes is being read."""

    file: Path
    # Jazzy does not come back from an include: $(dirname) then means the included file (ros2/launch#618)
    jazzy_file: Path


@dataclass(slots=True)
class Scope:
    """Launch configurations, environment, and what set_parameter and set_remap collected."""

    configurations: dict[str, str]
    environment: dict[str, str]
    parameters: list[tuple[str, Any]] | None = None
    remaps: list[tuple[str, str]] | None = None

    def copy(self) -> "Scope":
        """A scope for a group.

        The two lists are shared once they exist, as under launch: what a group adds to a list begun outside
        remains after the group.
        """
        return Scope(dict(self.configurations), dict(self.environment), self.parameters, self.remaps)


def perform(template: Iterable[Text | Call], scope: Scope, place: Place) -> str:
    """The string a template stands for. Raises LaunchError (without file and line)."""
    return "".join(part.text if isinstance(part, Text) else _call(part, scope, place) for part in template)


def _call(call: Call, scope: Scope, place: Place) -> str:
    given = [perform(argument, scope, place) for argument in call.arguments]
    match call.name:
        case "var":
            return _looked_up(
                scope.configurations, given, "launch configuration", "declare it with arg or let"
            )
        case "env":
            return _looked_up(
                scope.environment, given, "environment variable", "give a default, $(env NAME '')"
            )
        case "find-pkg-share":
            return str(package_share(given[0], scope.environment))
        case "find-pkg-prefix":
            return str(package_prefix(given[0], scope.environment))
        case "dirname":
            return str(_agreed(place.file.parent, place.jazzy_file.parent, "dirname"))
        case "filename":
            return str(_agreed(place.file, place.jazzy_file, "filename"))
        case "eval":
            return evaluate_expression(given[0])
        case _:
            return _command(given[0], given[1] if len(given) > 1 else "fail", scope.environment)


def _looked_up(table: dict[str, str], given: list[str], kind: str, remedy: str) -> str:
    name, *default = given
    if name not in table and not default:
        raise LaunchError(f"{kind} {name!r} does not exist: {remedy}")
    return table.get(name, *default)


def _agreed(ours: Path, jazzy: Path, name: str) -> Path:
    if ours != jazzy:
        raise LaunchError(
            f"$({name}) after an include means {jazzy} on Jazzy, {ours} on later series: "
            "set it with 'let' before the include"
        )
    return ours


def _command(line: str, on_stderr: str, environment: dict[str, str]) -> str:
    """What a program prints, unchanged; stderr is an error unless `on_stderr` says otherwise."""
    if on_stderr not in ("fail", "ignore", "warn", "capture"):
        raise LaunchError(f"$(command): expected fail, ignore, warn or capture, found {on_stderr!r}")
    stderr = subprocess.STDOUT if on_stderr == "capture" else subprocess.PIPE
    try:
        ran = subprocess.run(
            shlex.split(line), stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment, check=False
        )
    except (OSError, ValueError, IndexError) as error:
        raise LaunchError(f"$(command): cannot run {line!r}: {error}") from None
    said = (ran.stderr or "").strip()
    if ran.returncode != 0:
        raise LaunchError(
            f"$(command): {line!r} ended with exit code {ran.returncode}: {said or 'it said nothing'}"
        )
    if said and on_stderr == "fail":
        raise LaunchError(f"$(command): {line!r} wrote to stderr: {said}")
    if said and on_stderr == "warn":
        print(f"[WARNING] [launch]: {line!r} wrote to stderr: {said}", flush=True)
    return ran.stdout
