"""YAML from strangers: small, plain, without aliases (a few hundred bytes of which can mean gigabytes)."""

from pathlib import Path
from typing import Any

import yaml

from splatface.models.errors import HeadError

__all__ = ["MAX_YAML_BYTES", "read_yaml", "yaml_text"]

MAX_YAML_BYTES = 256 * 1024
MAX_DEPTH = 32


class _PlainLoader(yaml.SafeLoader):
    """SafeLoader without aliases and without depths in which nobody writes."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias (*name); write the value out")
        if self.depth >= MAX_DEPTH:
            raise yaml.YAMLError(f"more than {MAX_DEPTH} levels")
        self.depth += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _PlainDumper(yaml.SafeDumper):
    """SafeDumper that repeats what occurs twice."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def read_yaml(content: bytes, path: Path) -> Any:
    """Parse the content of a YAML file; HeadError whatever is wrong with it."""
    if len(content) > MAX_YAML_BYTES:
        raise HeadError(
            f"{path.name}: expected at most {MAX_YAML_BYTES} bytes, found more: "
            "take an intact copy of the head"
        )
    try:
        return yaml.load(content.decode("utf-8"), _PlainLoader)  # safe: _PlainLoader is a SafeLoader
    # PyYAML's constructors raise whatever int(), date() or a missing match raise: all mean a bad file.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise HeadError(
            f"{path.name}: expected plain YAML, found {reason or type(error).__name__}: "
            "take an intact copy of the head or correct the line"
        ) from error


def yaml_text(description: dict[str, Any]) -> str:
    """Write plain data as YAML; HeadError where it holds anything but text, numbers, lists and mappings."""
    try:
        text: str = yaml.dump(
            description, Dumper=_PlainDumper, sort_keys=False, allow_unicode=True, width=100
        )
    except (yaml.YAMLError, RecursionError) as error:
        raise HeadError(
            f"head.yaml: expected reports of plain text, numbers, lists and mappings, found "
            f"{str(error)[:120]}: convert numpy values with float() or .tolist()"
        ) from error
    if len(text.encode()) > MAX_YAML_BYTES:
        raise HeadError(
            f"head.yaml: expected at most {MAX_YAML_BYTES} bytes, found {len(text.encode())}: "
            "shorten the reports"
        )
    return text
