# SPDX-License-Identifier: Apache-2.0
"""Read a launch file into a tree of frozen entities that know their line.

Every tag, key, type and substitution is checked here, also in branches that will not be taken; a mistake is a
LaunchError that names file, line and tag. Tags and keys of ROS 2 that are not supported are refused by name.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from splatface.cli.launcher.substitutions import OTHERS, UNSUPPORTED, Template, parse_template, split_words
from splatface.models.errors import LaunchError

__all__ = ["KEYS", "NO_DESCRIPTION", "ROS_KEYS", "Entity", "LocatedError", "parse_file", "walk"]

# tag, or tag and list in it -> its keys, "!" where required
KEYS = {
    "arg": "name! default description if unless",
    "let": "name! value! if unless",
    "set_env": "name! value! if unless",
    "set_parameter": "name! value! if unless",
    "push_ros_namespace": "namespace! if unless",
    "group": "children! if unless",
    "include": "file! arg if unless",
    "include arg": "name! value!",
    "node": "pkg exec! name namespace args output on_exit respawn respawn_delay param remap if unless",
    "node param": "name value type from",
    "node remap": "from! to!",
}
# the rest of ROS 2's YAML front end: tags, and keys of tags
ROS_KEYS = {
    "launch": "executable timer ros_timer log log_info log_warning log_error log_debug shutdown reset unset "
    "reset_env append_env unset_env set_remap set_parameters_from_file set_ros_log_dir set_use_sim_time "
    "push-ros-namespace lifecycle_node node_container load_composable_node",
    "arg": "choice",
    "group": "scoped forwarding keep",
    "include": "let",
    "node": "ros_args exec_name node-name cwd env shell launch-prefix emulate_tty respawn_max_retries "
    "sigterm_timeout sigkill_timeout",
    "node param": "param allow_substs",
}
NO_DESCRIPTION = "no description given"
TYPES = ("str", "int", "float", "bool", "yaml")
STRING = (lambda v: isinstance(v, str), "a string in quotes")
LIST = (lambda v: isinstance(v, list) and v, "a list of maps with at least one item")
# key, or tag and key -> check of its value and what is expected; all others are strings or lists
CHECKS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "on_exit": (lambda v: v == "shutdown", "'shutdown'"),
    "respawn_delay": (lambda v: type(v) is float and 0 <= v < 1e9, "a float of seconds, such as 2.0"),
    "type": (lambda v: v in TYPES, f"one of {', '.join(TYPES)} {OTHERS}"),
    "node param value": (lambda v: isinstance(v, str | int | float), f"a string, number or bool {OTHERS}"),
}


class LocatedError(LaunchError):
    """A LaunchError whose message begins with file and line."""

    def __init__(self, mark: str, message: str) -> None:
        super().__init__(f"{mark}: {message}")


@dataclass(frozen=True, slots=True)
class Entity:
    """A tag with its checked attributes, or an item of a list in an attribute."""

    tag: str
    mark: str  # file:line
    values: dict[str, Any]


class _Map(dict[str, Any]):
    """A YAML map that knows its place and those of its keys."""

    mark: str
    marks: dict[str, str]


def parse_file(path: Path) -> tuple[Entity, ...]:
    """Read a launch file. Raises LaunchError with file, line and the next step."""
    try:
        loader = yaml.SafeLoader(path.read_text(encoding="utf-8"))
        root = _read_node(path, loader, loader.get_single_node())
    except (OSError, UnicodeDecodeError) as error:
        raise LaunchError(f"{path}: cannot be read as text: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = f"not YAML: {getattr(error, 'problem', error)}"
        raise LocatedError(f"{path}:{mark.line + 1 if mark else 1}", problem) from None
    except RecursionError:
        raise LaunchError(f"{path}: an alias that contains itself") from None
    if not isinstance(root, _Map) or list(root) != ["launch"]:
        raise LocatedError(f"{path}:1", "expected one root key 'launch:' with a list of actions below it")
    return _parse_actions(root["launch"], root.marks["launch"], "launch")


def walk(entities: tuple[Entity, ...], conditional: bool = False) -> Iterator[tuple[Entity, bool]]:
    """Yield all actions, depth first, and whether they stand behind a condition."""
    for entity in entities:
        behind = conditional or "if" in entity.values or "unless" in entity.values
        yield entity, behind
        yield from walk(entity.values.get("children", ()), behind)


def _read_node(path: Path, loader: yaml.SafeLoader, node: yaml.Node | None) -> Any:
    """Return scalars, lists and `_Map`s whose keys are strings and occur once."""
    if isinstance(node, yaml.SequenceNode):
        return [_read_node(path, loader, item) for item in node.value]
    if not isinstance(node, yaml.MappingNode):
        return None if node is None else loader.construct_object(node, deep=True)
    content = _Map()
    content.mark, content.marks = f"{path}:{node.start_mark.line + 1}", {}
    for key_node, value_node in node.value:
        key, mark = key_node.value, f"{path}:{key_node.start_mark.line + 1}"
        if key_node.tag != "tag:yaml.org,2002:str":
            raise LocatedError(mark, f"expected a plain key, found {key!r}")
        if key in content:
            raise LocatedError(mark, f"{key!r} occurs twice")
        content[key], content.marks[key] = _read_node(path, loader, value_node), mark
    return content


def _parse_actions(items: Any, mark: str, parent: str) -> tuple[Entity, ...]:
    if not isinstance(items, list):
        raise LocatedError(mark, f"{parent}: expected a list of actions, each '- tag: ...'")
    return tuple(_parse_action(item, getattr(item, "mark", mark), parent) for item in items)


def _parse_action(item: Any, mark: str, parent: str) -> Entity:
    if not isinstance(item, _Map) or len(item) != 1:
        raise LocatedError(mark, f"{parent}: expected a map with one key, the tag: '- node: ...'")
    ((tag, content),) = item.items()
    if tag in ROS_KEYS["launch"].split():
        raise LocatedError(mark, f"the tag {tag!r} {UNSUPPORTED}")
    if tag not in KEYS or " " in tag:
        known = ", ".join(name for name in KEYS if " " not in name)
        raise LocatedError(mark, f"unknown tag {tag!r}: expected one of {known}")
    if tag == "group" and isinstance(content, list):
        return Entity(tag, mark, {"children": _parse_actions(content, mark, tag)})
    entity = _parse_entity(content, mark, tag)
    if "if" in entity.values and "unless" in entity.values:
        raise LocatedError(mark, f"{tag}: 'if' and 'unless' exclude each other")
    return entity


def _parse_entity(content: Any, mark: str, tag: str) -> Entity:
    """Read the map of a tag, or of an item of a list."""
    known = KEYS[tag].replace("!", "").split()
    if not isinstance(content, _Map):
        raise LocatedError(mark, f"{tag}: expected a map with the keys {', '.join(known)}")
    for key, place in content.marks.items():
        if key in ROS_KEYS.get(tag, "").split():
            raise LocatedError(place, f"{tag}: the key {key!r} {UNSUPPORTED}")
        if key not in known:
            raise LocatedError(place, f"{tag}: unknown key {key!r}: expected one of {', '.join(known)}")
    for key in known:
        if f"{key}!" in KEYS[tag].split() and key not in content:
            raise LocatedError(mark, f"{tag}: the key {key!r} is missing")
    values = {key: _parse_attribute(value, content.marks[key], tag, key) for key, value in content.items()}
    if tag == "node param":
        _check_param(values, mark)
    return Entity(tag, mark, values)


def _parse_attribute(value: Any, mark: str, tag: str, key: str) -> Any:
    if key == "children":
        return _parse_actions(value, mark, tag)
    name = f"{tag} {key}"
    is_valid, expected = LIST if name in KEYS else CHECKS.get(name, CHECKS.get(key, STRING))
    if not is_valid(value):
        kinds = {type(None): "nothing", list: "a list", _Map: "a map"}
        found = f"the {type(value).__name__} {str(value).lower() if isinstance(value, bool) else value}"
        raise LocatedError(mark, f"{tag}: {key!r} must be {expected}, found {kinds.get(type(value), found)}")
    if name in KEYS:
        return tuple(_parse_entity(item, getattr(item, "mark", mark), name) for item in value)
    if name in ("arg name", "arg description"):
        return re.sub(r"\\(.)", r"\1", value)
    if key in CHECKS or not isinstance(value, str):
        return value
    try:
        return split_words(parse_template(value)) if key == "args" else parse_template(value)
    except LaunchError as error:
        raise LocatedError(mark, f"{tag}: {key!r}: {error}") from None


def _check_param(values: dict[str, Any], mark: str) -> None:
    """Check for `from` alone, or `name` and a `value` of the given type."""
    keys = set(values)
    if keys != {"from"} and keys - {"type"} != {"name", "value"}:
        found = ", ".join(sorted(keys))
        raise LocatedError(mark, f"node param: expected 'from', or 'name' and 'value', found {found}")
    value, kind = values.get("value"), values.get("type", "yaml")
    found = type(value).__name__
    if isinstance(value, Template):
        found = "str" if value.is_literal else kind  # decided when the substitutions are performed
    if "value" in keys and kind not in ("yaml", found):
        raise LocatedError(mark, f"node param: expected {kind}, found {found}")
