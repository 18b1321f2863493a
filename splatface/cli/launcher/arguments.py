# SPDX-License-Identifier: Apache-2.0
"""The arguments of launch files: given on the command line, declared by files, required, listed."""

import difflib
import os
from pathlib import Path

from splatface.cli.launcher.packages import find_launch_file
from splatface.cli.launcher.parse import NO_DESCRIPTION, Entity, parse_file, walk
from splatface.models.errors import LaunchError

__all__ = ["check_given", "read_arguments", "show_arguments"]

BUILT_IN = ("sigterm_timeout", "sigkill_timeout")  # launch configurations that launch reads itself


def read_arguments(words: list[str]) -> dict[str, str]:
    """Return `["name:=value", ...]` as a table; the last of a name counts. Raises LaunchError."""
    arguments = {}
    for word in words:
        name, separator, arguments[name] = word.partition(":=")
        if not separator or not name:
            raise LaunchError(f"malformed launch argument {word!r}: expected name:=value")
    return arguments


def show_arguments(path_or_name: str) -> str:
    """Return the arguments of a launch file with their defaults, as text. Raises LaunchError."""
    arguments = _declared(parse_file(find_launch_file(path_or_name, os.environ)))
    lines = ["Arguments (pass arguments as '<name>:=<value>'):"]
    for entity, conditional in arguments:
        lines += ["", f"    '{entity.values['name']}':{'*' * conditional}"]
        lines += [f"        {entity.values.get('description', NO_DESCRIPTION)}"]
        if "default" in entity.values:
            lines.append(f"        (default: '{entity.values['default'].source}')")
    if not arguments:
        lines += ["", "  No arguments."]
    if any(conditional for _, conditional in arguments):
        lines += ["", "* argument(s) which are only used if specific conditions occur"]
    return "\n".join(lines)


def check_given(path: Path, given: dict[str, str], files: dict[Path, tuple[Entity, ...]]) -> None:
    """Refuse an argument that no visited file declares: most often a spelling mistake."""
    declared = {arg.values["name"] for entities in files.values() for arg, _ in _declared(entities)}
    includes = sum(entity.tag == "include" for entities in files.values() for entity, _ in walk(entities))
    if includes >= len(files):
        return  # a file behind a condition was not read: it may declare more
    for name in given:
        if name not in declared and name not in BUILT_IN:
            close = difflib.get_close_matches(name, declared, 1)
            known = ", ".join(sorted(declared)) or "none"
            hint = f"did you mean {close[0]}:= ?" if close else f"it has {known}"
            raise LaunchError(f"{path}: no argument {name!r}: {hint}")


def _declared(entities: tuple[Entity, ...]) -> list[tuple[Entity, bool]]:
    """Return the arguments that a file declares itself, and whether they stand behind a condition."""
    return [(entity, conditional) for entity, conditional in walk(entities) if entity.tag == "arg"]
