"""A launch file -> a tree of frozen entities that know their line.

The schema stands in `schema.py`. Every key, type and substitution is checked here, also in branches that will
not be taken; a mistake is a LaunchError that names file, line and tag.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from splatface.launch.launcher.schema import PARAMETER_TYPES, SCHEMAS, TAGS, Attribute, Schema
from splatface.launch.launcher.substitute import Call, Template, Text, calls, parse_template, unescape, words
from splatface.models.errors import LaunchError

__all__ = ["Entity", "LocatedError", "Mark", "Value", "parse_file", "walk"]


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


def parse_file(path: Path) -> tuple[Entity, ...]:
    """Read a launch file. Raises LaunchError with file, line and what to do."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LaunchError(f"{path}: cannot be read as text: {error}") from None
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        return _Reader(path, loader).file(root)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise LocatedError(f"{path}:{line}: not YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise LaunchError(f"{path}: not YAML: {error}") from None
    except RecursionError:
        raise LaunchError(f"{path}: an alias that contains itself") from None


class _Reader:
    """Turns YAML nodes into entities; holds what every error needs."""

    def __init__(self, path: Path, loader: yaml.SafeLoader) -> None:
        self.path = path
        self.loader = loader
        self.readers: dict[str, Callable[[yaml.Node, str], Any]] = {
            "template": self.template,
            "text": self.text,
            "words": self.words,
            "flag": self.flag,
            "seconds": self.seconds,
            "period": self.period,
            "count": self.count,
            "shutdown": self.shutdown,
            "yaml": self.value,
            "type": self.type,
        }

    def mark(self, node: yaml.Node) -> Mark:
        return Mark(self.path, node.start_mark.line + 1)

    def file(self, root: yaml.Node | None) -> tuple[Entity, ...]:
        if not isinstance(root, yaml.MappingNode) or [key for key, _ in self.keys(root)] != ["launch"]:
            raise Mark(self.path, 1).error("expected one root key 'launch:' with a list of actions below it")
        return self.actions(root.value[0][1], "launch")

    def keys(self, node: yaml.MappingNode) -> list[tuple[str, yaml.Node]]:
        """The keys and value nodes of a map; keys are strings and stand once."""
        found: dict[str, yaml.Node] = {}
        for key_node, value_node in node.value:
            key = self.loader.construct_object(key_node, deep=True)
            if not isinstance(key, str) or key_node.tag == "tag:yaml.org,2002:merge":
                raise self.mark(key_node).error(f"expected a plain key, found {key_node.value!r}")
            if key in found:
                raise self.mark(key_node).error(f"{key!r} stands twice")
            found[key] = value_node
        return list(found.items())

    def actions(self, node: yaml.Node, parent: str) -> tuple[Entity, ...]:
        if not isinstance(node, yaml.SequenceNode):
            raise self.mark(node).error(f"{parent}: expected a list of actions, each '- tag: ...'")
        return tuple(self.action(item, parent) for item in node.value)

    def action(self, node: yaml.Node, parent: str) -> Entity:
        if not isinstance(node, yaml.MappingNode) or len(node.value) != 1:
            raise self.mark(node).error(f"{parent}: expected a map with one key, the tag: '- node: ...'")
        tag, content = self.keys(node)[0]
        if tag not in TAGS:
            raise self.mark(node).error(f"unknown tag {tag!r}: expected one of {', '.join(TAGS)}")
        schema = TAGS[tag]
        if isinstance(content, yaml.SequenceNode) and schema.children == "list or map":
            return Entity(tag, self.mark(node), {}, self.actions(content, tag))
        entity = self.entity(content, tag, schema)
        self.check(entity)
        return entity

    def entity(self, node: yaml.Node, name: str, schema: Schema) -> Entity:
        """Read the map of a tag, or of an item of a list."""
        mark = self.mark(node)
        if not isinstance(node, yaml.MappingNode):
            raise mark.error(f"{name}: expected a map with the keys {', '.join(schema.attributes)}")
        attributes: dict[str, Any] = {}
        children: tuple[Entity, ...] | None = None
        for key, content in self.keys(node):
            if key == "children" and schema.children:
                children = self.actions(content, name)
            elif key not in schema.attributes:
                known = [*schema.attributes, *(["children"] if schema.children else [])]
                raise self.mark(content).error(
                    f"{name}: unknown key {key!r}: expected one of {', '.join(known)}"
                )
            else:
                attributes[key] = self.attribute(content, f"{name}: {key!r}", schema.attributes[key])
        for key, attribute in schema.attributes.items():
            if attribute.required and key not in attributes:
                raise mark.error(f"{name}: the key {key!r} is missing")
        if schema.children and children is None:
            raise mark.error(f"{name}: the key 'children' is missing, the list of actions inside")
        return Entity(name, mark, attributes, children or ())

    def attribute(self, node: yaml.Node, where: str, attribute: Attribute) -> Any:
        if attribute.kind == "entities":
            return self.entities(node, where, attribute.of)
        try:
            return self.readers[attribute.kind](node, where)
        except LaunchError as error:
            raise self.mark(node).located(f"{where} ", error) from None

    def entities(self, node: yaml.Node, where: str, schema: str) -> tuple[Entity, ...]:
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            raise self.mark(node).error(f"{where} must be a list of maps with at least one item")
        items = tuple(self.entity(item, schema, SCHEMAS[schema]) for item in node.value)
        if schema == "param":
            for item in items:
                _check_param(item)
        return items

    def scalar(self, node: yaml.Node) -> Any:
        if not isinstance(node, yaml.ScalarNode):
            return None
        return self.loader.construct_object(node, deep=True)

    def string(self, node: yaml.Node) -> str:
        found = self.scalar(node)
        if not isinstance(found, str):
            raise LaunchError(f"must be a string, found {_described(node, found)}: write it in quotes")
        return found

    def template(self, node: yaml.Node, where: str) -> Template:
        return parse_template(self.string(node))

    def text(self, node: yaml.Node, where: str) -> str:
        return unescape(self.string(node))

    def words(self, node: yaml.Node, where: str) -> tuple[Template, ...]:
        return words(parse_template(self.string(node)))

    def flag(self, node: yaml.Node, where: str) -> bool:
        found = self.scalar(node)
        if not isinstance(found, bool):
            raise LaunchError(f"must be true or false without quotes, found {_described(node, found)}")
        return found

    def seconds(self, node: yaml.Node, where: str) -> float:
        found = self.scalar(node)
        if not isinstance(found, float) or not (math.isfinite(found) and found >= 0):
            raise LaunchError(f"must be a float of seconds >= 0 such as 2.0, found {_described(node, found)}")
        return found

    def period(self, node: yaml.Node, where: str) -> float | Template:
        found = self.scalar(node)
        if isinstance(found, str):
            template = parse_template(found)
            if any(calls(template)):
                return template
        return self.seconds(node, where)

    def count(self, node: yaml.Node, where: str) -> int:
        found = self.scalar(node)
        if not isinstance(found, int) or isinstance(found, bool):
            raise LaunchError(f"must be an int without quotes, found {_described(node, found)}")
        return found

    def shutdown(self, node: yaml.Node, where: str) -> bool:
        if self.string(node) != "shutdown":
            raise LaunchError(f"knows only 'shutdown', found {_described(node, None)}")
        return True

    def type(self, node: yaml.Node, where: str) -> str:
        found = self.string(node)
        if found not in PARAMETER_TYPES:
            raise LaunchError(f"must be one of {', '.join(PARAMETER_TYPES)}, found {found!r}")
        return found

    def value(self, node: yaml.Node, where: str) -> Value:
        if isinstance(node, yaml.SequenceNode):
            return Value(tuple(self.item(item) for item in node.value), is_list=True)
        return Value(self.item(node), is_list=False)

    def item(self, node: yaml.Node) -> Template | int | float | bool:
        found = self.scalar(node)
        if isinstance(found, str):
            return parse_template(found)
        if not isinstance(found, bool | int | float):
            raise LaunchError(f"must hold strings, ints, floats or bools, found {_described(node, found)}")
        return found

    def check(self, entity: Entity) -> None:
        """What a table of keys cannot say."""
        if entity.get("if") is not None and entity.get("unless") is not None:
            raise entity.mark.error(f"{entity.tag}: 'if' and 'unless' exclude each other")
        if entity.tag == "executable" and not entity.get("cmd"):
            raise entity.mark.error("executable: 'cmd' is empty")
        choices = entity.get("choice")
        default = entity.get("default")
        if choices and default and not any(calls(default)):
            given = "".join(part.text for part in default if isinstance(part, Text))
            allowed = [choice.attributes["value"] for choice in choices]
            if given not in allowed:
                raise entity.mark.error(
                    f"arg: the default {given!r} is none of the choices {', '.join(allowed)}"
                )


def _described(node: yaml.Node, found: Any) -> str:
    if not isinstance(node, yaml.ScalarNode):
        return "a list" if isinstance(node, yaml.SequenceNode) else "a map"
    if node.value == "":
        return "nothing" if found is None else "an empty string"
    return f"the {type(found).__name__} {node.value}" if found is not None else repr(node.value)


def _check_param(param: Entity, nested: bool = False) -> None:
    """`from` or `name`; `value` or more params; lists and types that both launch and nodes understand."""

    def wrong(message: str) -> LaunchError:
        return param.mark.error(f"param: {message}")

    has = set(param.attributes)
    if nested and has & {"from", "allow_substs"}:
        raise wrong("'from' stands only directly below the node")
    if "from" in has:
        if has - {"from", "allow_substs"}:
            raise wrong("'from' goes only with 'allow_substs'")
        return
    if "allow_substs" in has:
        raise wrong("'allow_substs' goes only with 'from'")
    if "name" not in has:
        raise wrong("'name' or 'from' is missing")
    if ("value" in has) == ("param" in has):
        raise wrong("expected 'value' or a nested 'param', one of them")
    if "type" in has and "param" in has:
        raise wrong("'type' goes only with 'value'")
    for inner in param.get("param", ()):
        _check_param(inner, nested=True)
    if "value" in has:
        _check_value(param.attributes["value"], param.get("type", "yaml"), wrong)


def _check_value(value: Value, kind: str, wrong: Callable[[str], LaunchError]) -> None:
    items = value.data if value.is_list else (value.data,)
    if value.is_list and not items:
        raise wrong("an empty list has no type: leave the parameter out")
    if kind != "yaml" and kind.startswith("list_of_") != value.is_list and not _is_dynamic(value.data):
        raise wrong(f"the value is no {kind}")
    wanted = {kind.removeprefix("list_of_")} if kind != "yaml" else set()
    found = {_kind(item) for item in items} - {""}
    if len(found | wanted) > 1:
        raise wrong(
            f"expected {kind if wanted else 'items of one type'}, found {' and '.join(sorted(found))}"
        )


def _kind(item: Any) -> str:
    """The type of a scalar, "" where a substitution decides it later."""
    if isinstance(item, tuple):
        return "" if any(isinstance(part, Call) for part in item) else "str"
    return type(item).__name__


def _is_dynamic(data: Any) -> bool:
    return isinstance(data, tuple) and any(isinstance(part, Call) for part in data)
