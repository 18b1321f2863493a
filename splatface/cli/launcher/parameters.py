"""Parameters of nodes: typed values, and the files they are handed over in."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from splatface.cli.launcher.substitute import Template, Text, parse_template
from splatface.cli.launcher.tree import Entity, Value
from splatface.models.errors import LaunchError

__all__ = ["coerce", "parameter_file", "parameters_of", "substituted_file"]

SCALARS: dict[str, type] = {"str": str, "int": int, "float": float, "bool": bool}
Perform = Callable[[Template], str]


def parameters_of(param: Entity, perform: Perform, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Names and values of one `param` entry; nested names are joined by dots."""
    name = prefix + perform(param.attributes["name"])
    for inner in param.get("param", ()):
        yield from parameters_of(inner, perform, f"{name}.")
    if "value" in param.attributes:
        try:
            yield name, _value(param.attributes["value"], param.get("type", "yaml"), perform)
        except LaunchError as error:
            raise param.mark.error(f"param {name!r}: {error}") from None


def coerce(text: str, kind: str) -> Any:
    """Read the text that substitutions gave as a type of schema.PARAMETER_TYPES. Raises LaunchError."""
    if kind == "str":
        return text
    if kind in ("int", "float"):
        try:
            return SCALARS[kind](text)
        except ValueError:
            raise LaunchError(f"{text!r} is no {kind}") from None
    if kind == "bool" and text in ("0", "1"):
        return text == "1"
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        raise LaunchError(f"{text!r} is no YAML: say 'type: str' if it is a string") from None
    wanted = kind.removeprefix("list_of_")
    fits = _is_uniform(found) if isinstance(found, list) else type(found) in SCALARS.values()
    if not fits or (kind != "yaml" and (wanted == kind) == isinstance(found, list)):
        raise LaunchError(
            f"{text!r} is no {kind}" + (": say 'type: str' if it is a string" if kind == "yaml" else "")
        )
    first = found[0] if isinstance(found, list) else found
    if kind != "yaml" and type(first) is not SCALARS[wanted]:
        raise LaunchError(f"{text!r} is no {kind}")
    return found


def _is_uniform(items: list[Any]) -> bool:
    return len({type(item) for item in items}) == 1 and type(items[0]) in SCALARS.values()


def _value(value: Value, kind: str, perform: Perform) -> Any:
    if not value.is_list:
        return _item(value.data, kind, perform)
    made = [_item(item, kind.removeprefix("list_of_"), perform) for item in value.data]
    if not _is_uniform(made):
        raise LaunchError(f"expected items of one type, found {made!r}")
    return made


def _item(item: Any, kind: str, perform: Perform) -> Any:
    """A literal keeps the type it has in the file; only what came from a substitution is converted."""
    if not isinstance(item, tuple):
        return item
    text = perform(item)
    # one text is a string, '3' too; launch divides a text where two kinds of quotes meet, then converts it
    if len(item) == 1 and isinstance(item[0], Text):
        return text
    return coerce(text, kind)


def parameter_file(folder: Path, node: str, parameters: dict[str, Any]) -> Path:
    """Write parameters for one node (or "/**") and give the path."""
    path = folder / f"launch_params_{sum(1 for _ in folder.iterdir())}.yaml"
    path.write_text(yaml.safe_dump({node: {"ros__parameters": parameters}}, default_flow_style=False))
    return path


def substituted_file(folder: Path, source: Path, perform: Perform) -> Path:
    """A copy of a parameter file with its substitutions performed (`allow_substs`)."""
    try:
        text = perform(parse_template(source.read_text(encoding="utf-8")))
        yaml.safe_load(text)
    except (LaunchError, OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise LaunchError(f"parameter file {source}: {error}") from None
    path = folder / f"launch_params_{sum(1 for _ in folder.iterdir())}.yaml"
    path.write_text(text, encoding="utf-8")
    return path
