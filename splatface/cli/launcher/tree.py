"""The tree of a launch file: frozen entities that know their line."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from splatface.models.errors import LaunchError

__all__ = ["Entity", "LocatedError", "Mark", "Value", "walk"]


class LocatedError(LaunchError):
    """A LaunchError whose message begins with file and line."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a launch file."""

    path: Path
    line: int  # from 1

    def error(self, message: object) -> LaunchError:
        """An error that begins with file and line."""
        return LocatedError(f"{self.path}:{self.line}: {message}")

    def located(self, where: str, error: LaunchError) -> LaunchError:
        """The same error with file and line, if it has none yet."""
        return error if isinstance(error, LocatedError) else self.error(f"{where}{error}")


@dataclass(frozen=True, slots=True)
class Value:
    """A parameter's value as it stands in the file: strings are templates, lists are tuples."""

    data: Any  # Template | int | float | bool, or a tuple of these
    is_list: bool


@dataclass(frozen=True, slots=True)
class Entity:
    """A tag with its attributes, read and checked, and the actions inside."""

    tag: str
    mark: Mark
    attributes: dict[str, Any]
    children: tuple["Entity", ...] = field(default=())

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute, or the default where it is not given."""
        return self.attributes.get(name, default)


def walk(entities: tuple[Entity, ...]) -> Iterator[Entity]:
    """All entities, depth first."""
    for entity in entities:
        yield entity
        yield from walk(entity.children)
