"""What a table of keys cannot say: keys that exclude each other, lists of one type, defaults as chosen."""

from collections.abc import Callable
from typing import Any

from splatface.cli.launcher.substitute import Call, Text, calls
from splatface.cli.launcher.tree import Entity, Value
from splatface.models.errors import LaunchError

__all__ = ["check_action", "check_param"]


def check_action(entity: Entity) -> None:
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
            raise entity.mark.error(f"arg: the default {given!r} is none of the choices {', '.join(allowed)}")


def check_param(param: Entity, nested: bool = False) -> None:
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
        check_param(inner, nested=True)
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
