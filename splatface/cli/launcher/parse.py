"""A launch file -> a tree of frozen entities that know their line.

The schema stands in `schema.py`. Every key, type and substitution is checked here, also in branches that will
not be taken; a mistake is a LaunchError that names file, line and tag.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from splatface.cli.launcher.checks import check_action, check_param
from splatface.cli.launcher.schema import PARAMETER_TYPES, SCHEMAS, TAGS, Attribute, Schema
from splatface.cli.launcher.substitute import Template, calls, parse_template, unescape, words
from splatface.cli.launcher.tree import Entity, LocatedError, Mark, Value
from splatface.models.errors import LaunchError

__all__ = ["parse_file"]


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
        self.readers: dict[str, Callable[[yaml.Node], Any]] = {
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
        if not isinstance(root, yaml.MappingNode) or [key for key, _, _ in self.keys(root)] != ["launch"]:
            raise Mark(self.path, 1).error("expected one root key 'launch:' with a list of actions below it")
        return self.actions(root.value[0][1], "launch")

    def keys(self, node: yaml.MappingNode) -> list[tuple[str, Mark, yaml.Node]]:
        """The keys of a map, their places and values; keys are strings and stand once."""
        found: dict[str, tuple[str, Mark, yaml.Node]] = {}
        for key_node, value_node in node.value:
            if key_node.tag != "tag:yaml.org,2002:str":
                raise self.mark(key_node).error(f"expected a plain key, found {key_node.value!r}")
            key = key_node.value
            if key in found:
                raise self.mark(key_node).error(f"{key!r} stands twice")
            found[key] = (key, self.mark(key_node), value_node)
        return list(found.values())

    def actions(self, node: yaml.Node, parent: str) -> tuple[Entity, ...]:
        if not isinstance(node, yaml.SequenceNode):
            raise self.mark(node).error(f"{parent}: expected a list of actions, each '- tag: ...'")
        return tuple(self.action(item, parent) for item in node.value)

    def action(self, node: yaml.Node, parent: str) -> Entity:
        if not isinstance(node, yaml.MappingNode) or len(node.value) != 1:
            raise self.mark(node).error(f"{parent}: expected a map with one key, the tag: '- node: ...'")
        tag, mark, content = self.keys(node)[0]
        if tag not in TAGS:
            raise mark.error(f"unknown tag {tag!r}: expected one of {', '.join(TAGS)}")
        schema = TAGS[tag]
        if isinstance(content, yaml.SequenceNode) and schema.children == "list or map":
            return Entity(tag, mark, {}, self.actions(content, tag))
        entity = self.entity(content, mark, tag, schema)
        check_action(entity)
        return entity

    def entity(self, node: yaml.Node, mark: Mark, name: str, schema: Schema) -> Entity:
        """Read the map of a tag, or of an item of a list."""
        if not isinstance(node, yaml.MappingNode):
            raise mark.error(f"{name}: expected a map with the keys {', '.join(schema.attributes)}")
        attributes: dict[str, Any] = {}
        children: tuple[Entity, ...] | None = None
        for key, place, content in self.keys(node):
            if key == "children" and schema.children:
                children = self.actions(content, name)
            elif key not in schema.attributes:
                known = [*schema.attributes, *(["children"] if schema.children else [])]
                raise place.error(f"{name}: unknown key {key!r}: expected one of {', '.join(known)}")
            else:
                attributes[key] = self.attribute(content, place, f"{name}: {key!r}", schema.attributes[key])
        for key, attribute in schema.attributes.items():
            if attribute.required and key not in attributes:
                raise mark.error(f"{name}: the key {key!r} is missing")
        if schema.children and children is None:
            raise mark.error(f"{name}: the key 'children' is missing, the list of actions inside")
        return Entity(name, mark, attributes, children or ())

    def attribute(self, node: yaml.Node, place: Mark, where: str, attribute: Attribute) -> Any:
        if attribute.kind == "entities":
            return self.entities(node, place, where, attribute.of)
        try:
            return self.readers[attribute.kind](node)
        except LaunchError as error:
            raise place.located(f"{where} ", error) from None

    def entities(self, node: yaml.Node, place: Mark, where: str, schema: str) -> tuple[Entity, ...]:
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            raise place.error(f"{where} must be a list of maps with at least one item")
        items = tuple(self.entity(item, self.mark(item), schema, SCHEMAS[schema]) for item in node.value)
        if schema == "param":
            for item in items:
                check_param(item)
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

    def template(self, node: yaml.Node) -> Template:
        return parse_template(self.string(node))

    def text(self, node: yaml.Node) -> str:
        return unescape(self.string(node))

    def words(self, node: yaml.Node) -> tuple[Template, ...]:
        return words(parse_template(self.string(node)))

    def flag(self, node: yaml.Node) -> bool:
        found = self.scalar(node)
        if not isinstance(found, bool):
            raise LaunchError(f"must be true or false without quotes, found {_described(node, found)}")
        return found

    def seconds(self, node: yaml.Node) -> float:
        found = self.scalar(node)
        if not isinstance(found, float) or not (math.isfinite(found) and found >= 0):
            raise LaunchError(f"must be a float of seconds >= 0 such as 2.0, found {_described(node, found)}")
        return found

    def period(self, node: yaml.Node) -> float | Template:
        found = self.scalar(node)
        if isinstance(found, str):
            template = parse_template(found)
            if any(calls(template)):
                return template
        return self.seconds(node)

    def count(self, node: yaml.Node) -> int:
        found = self.scalar(node)
        if not isinstance(found, int) or isinstance(found, bool):
            raise LaunchError(f"must be an int without quotes, found {_described(node, found)}")
        return found

    def shutdown(self, node: yaml.Node) -> bool:
        if self.string(node) != "shutdown":
            raise LaunchError(f"knows only 'shutdown', found {_described(node, None)}")
        return True

    def type(self, node: yaml.Node) -> str:
        found = self.string(node)
        if found not in PARAMETER_TYPES:
            raise LaunchError(f"must be one of {', '.join(PARAMETER_TYPES)}, found {found!r}")
        return found

    def value(self, node: yaml.Node) -> Value:
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


def _described(node: yaml.Node, found: Any) -> str:
    if not isinstance(node, yaml.ScalarNode):
        return "a list" if isinstance(node, yaml.SequenceNode) else "a map"
    if node.value == "":
        return "nothing" if found is None else "an empty string"
    return f"the {type(found).__name__} {node.value}" if found is not None else repr(node.value)
