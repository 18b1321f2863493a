"""What may stand in a launch file: every tag, its attributes and their types, as on Jazzy and Kilted.

Where the two differ, or where real launch accepts a spelling and then fails, the stricter reading is taken:
what passes here runs there. Kinds of attributes:

| kind | in the file | read as |
|---|---|---|
| template | a string, substitutions allowed | Template |
| text | a string, no substitutions | str |
| words | a command line, divided into words | tuple of Template |
| flag | a YAML bool, true or false | bool |
| seconds | a YAML float >= 0: `2.0`, not `2` | float |
| period | a YAML float >= 0, or a string with a substitution | float or Template |
| count | a YAML int | int |
| shutdown | the word `shutdown` | True |
| yaml | any scalar, or a list of scalars of one type | Value |
| type | one of `str int float bool yaml list_of_str ...` | str |
| entities | a list of maps, whose keys are the schema `of` | tuple of Entity |
"""

from dataclasses import dataclass, field

__all__ = ["PARAMETER_TYPES", "SCHEMAS", "TAGS", "Attribute", "Schema"]

PARAMETER_TYPES = (
    "str",
    "int",
    "float",
    "bool",
    "list_of_str",
    "list_of_int",
    "list_of_float",
    "list_of_bool",
    "yaml",
)


@dataclass(frozen=True, slots=True)
class Attribute:
    """One key of a tag."""

    kind: str
    required: bool = False
    of: str = ""  # schema of the items, for the kind `entities`


@dataclass(frozen=True, slots=True)
class Schema:
    """The keys of a tag, and whether actions stand inside it."""

    attributes: dict[str, Attribute] = field(default_factory=dict)
    children: str = ""  # "", "map" (under the key children) or "list or map"


TEMPLATE = Attribute("template")
WANTED = Attribute("template", required=True)
CONDITION = {"if": TEMPLATE, "unless": TEMPLATE}
NAME_AND_VALUE = {"name": WANTED, "value": WANTED}

PROCESS = {
    **CONDITION,
    "name": TEMPLATE,
    "cwd": TEMPLATE,
    "env": Attribute("entities", of="env"),
    "output": TEMPLATE,
    "respawn": TEMPLATE,
    "respawn_delay": Attribute("seconds"),
    "respawn_max_retries": Attribute("count"),
    "sigterm_timeout": Attribute("seconds"),
    "sigkill_timeout": Attribute("seconds"),
    "shell": Attribute("flag"),
    "launch-prefix": TEMPLATE,
    "on_exit": Attribute("shutdown"),
}

# items of lists that stand in an attribute
SCHEMAS = {
    "env": Schema(NAME_AND_VALUE),
    "keep": Schema(NAME_AND_VALUE),
    "include argument": Schema(NAME_AND_VALUE),
    "choice": Schema({"value": Attribute("text", required=True)}),
    "remap": Schema({"from": WANTED, "to": WANTED}),
    "param": Schema(
        {
            "name": TEMPLATE,
            "value": Attribute("yaml"),
            "type": Attribute("type"),
            "param": Attribute("entities", of="param"),
            "from": TEMPLATE,
            "allow_substs": Attribute("flag"),
        }
    ),
}

TAGS = {
    "arg": Schema(
        {
            **CONDITION,
            "name": Attribute("text", required=True),
            "default": TEMPLATE,
            "description": Attribute("text"),
            "choice": Attribute("entities", of="choice"),
        }
    ),
    "let": Schema({**CONDITION, **NAME_AND_VALUE}),
    "node": Schema(
        {
            **PROCESS,
            "pkg": TEMPLATE,
            "exec": WANTED,
            "exec_name": TEMPLATE,
            "namespace": TEMPLATE,
            "args": Attribute("words"),
            "ros_args": Attribute("words"),
            "param": Attribute("entities", of="param"),
            "remap": Attribute("entities", of="remap"),
        }
    ),
    "executable": Schema({**PROCESS, "cmd": Attribute("words", required=True)}),
    "group": Schema(
        {
            **CONDITION,
            "scoped": Attribute("flag"),
            "forwarding": Attribute("flag"),
            "keep": Attribute("entities", of="keep"),
        },
        children="list or map",
    ),
    "push_ros_namespace": Schema({**CONDITION, "namespace": WANTED}),
    "set_remap": Schema({**CONDITION, "from": WANTED, "to": WANTED}),
    "set_parameter": Schema({**CONDITION, **NAME_AND_VALUE}),
    "include": Schema(
        {
            **CONDITION,
            "file": WANTED,
            "arg": Attribute("entities", of="include argument"),
            "let": Attribute("entities", of="include argument"),
        }
    ),
    "set_env": Schema({**CONDITION, **NAME_AND_VALUE}),
    "unset_env": Schema({**CONDITION, "name": WANTED}),
    "timer": Schema({**CONDITION, "period": Attribute("period", required=True)}, children="map"),
    "log": Schema({**CONDITION, "message": WANTED}),
    "shutdown": Schema({**CONDITION, "reason": TEMPLATE}),
}
