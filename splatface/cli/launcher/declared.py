"""The arguments of launch files: what a file declares, what is required, what was given but nobody knows."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from splatface.cli.launcher.substitute import Call, Template, Text, calls
from splatface.cli.launcher.tree import Entity, walk
from splatface.models.errors import LaunchError

__all__ = ["Argument", "arguments_of", "check_given", "check_required", "read_arguments"]

# launch reads these configurations itself
BUILT_IN = ("launch-prefix", "launch-prefix-filter", "sigterm_timeout", "sigkill_timeout")


@dataclass(frozen=True, slots=True)
class Argument:
    """One `arg` of a file."""

    name: str
    description: str
    default: str | None  # as written, substitutions not performed
    choices: tuple[str, ...]
    conditional: bool  # stands behind a condition or in a timer


def read_arguments(words: list[str]) -> dict[str, str]:
    """`["name:=value", ...]` as a table; the last of a name counts. Raises LaunchError."""
    found = {}
    for word in words:
        name, separator, value = word.partition(":=")
        if not separator or not name:
            raise LaunchError(f"malformed launch argument {word!r}: expected name:=value")
        found[name] = value
    return found


def arguments_of(entities: tuple[Entity, ...], conditional: bool = False) -> Iterator[Argument]:
    """The arguments a file declares itself, in order."""
    for entity in entities:
        behind = conditional or bool({"if", "unless"} & set(entity.attributes))
        if entity.tag == "arg":
            default = entity.get("default")
            yield Argument(
                entity.attributes["name"],
                entity.get("description", "no description given"),
                None if default is None else _written(default),
                tuple(choice.attributes["value"] for choice in entity.get("choice", ())),
                behind,
            )
        yield from arguments_of(entity.children, behind or entity.tag == "timer")


def check_required(path: Path, entities: tuple[Entity, ...], given: dict[str, str]) -> None:
    """Every argument without a default must be given to the file that declares it, as launch demands."""
    for argument in arguments_of(entities):
        if argument.default is None and not argument.conditional and argument.name not in given:
            raise LaunchError(
                f"{path}: the argument {argument.name!r} is required ({argument.description}): "
                f"give {argument.name}:=VALUE"
            )


def check_given(path: Path, given: dict[str, str], files: dict[Path, tuple[Entity, ...]]) -> None:
    """Refuse an argument that no visited file declares or reads: most often a slip of the pen."""
    visited = [entity for entities in files.values() for entity in walk(entities)]
    declared = {entity.attributes["name"] for entity in visited if entity.tag == "arg"}
    read = {name for entity in visited for name in _names_read(entity.attributes)}
    if sum(entity.tag == "include" for entity in visited) > len(files) - 1:
        return  # a file behind a condition or a timer was not read: it may declare more
    for name in given:
        if name not in declared | read and name not in BUILT_IN:
            close = difflib.get_close_matches(name, declared, 1)
            hint = (
                f"did you mean {close[0]}:= ?" if close else f"it has {', '.join(sorted(declared)) or 'none'}"
            )
            raise LaunchError(f"{path}: no argument {name!r}: {hint}")


def _names_read(value: Any) -> Iterator[str]:
    """Names in `$(var name)` anywhere in a table of attributes."""
    if isinstance(value, Call):
        for call in calls((value,)):
            if call.name == "var":
                yield "".join(part.text for part in call.arguments[0] if isinstance(part, Text))
    elif isinstance(value, dict):
        for item in value.values():
            yield from _names_read(item)
    elif isinstance(value, tuple):
        for item in value:
            yield from _names_read(item)
    elif isinstance(value, Entity):
        yield from _names_read(value.attributes)
    elif hasattr(value, "data"):
        yield from _names_read(value.data)


def _written(template: Template) -> str:
    """A template as one would write it."""
    return "".join(part.text if isinstance(part, Text) else _written_call(part) for part in template)


def _written_call(call: Call) -> str:
    return "$(" + " ".join([call.name, *(_quoted(_written(argument)) for argument in call.arguments)]) + ")"


def _quoted(word: str) -> str:
    return f"'{word}'" if not word or (" " in word and not word.startswith("$(")) else word
