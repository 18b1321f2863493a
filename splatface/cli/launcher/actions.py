# SPDX-License-Identifier: Apache-2.0
"""Evaluate the actions of a launch file: decide conditions and substitutions, read includes, plan processes.

The whole file is evaluated before the first process starts, so that a mistake starts nothing.
"""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from splatface.cli.launcher.arguments import check_given
from splatface.cli.launcher.console import OUTPUTS
from splatface.cli.launcher.packages import base_environment, find_executable
from splatface.cli.launcher.parse import NO_DESCRIPTION, Entity, LocatedError, parse_file
from splatface.cli.launcher.substitutions import OTHERS, UNSUPPORTED, Template, perform
from splatface.models.errors import LaunchError

__all__ = ["Evaluator", "ProcessSpec", "convert", "join_namespace"]

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """One process, everything decided."""

    mark: str  # file:line
    name: str  # with its number, "renderer-2"
    command: tuple[str, ...]
    environment: dict[str, str]
    output: str  # a key of console.OUTPUTS
    respawn: bool
    respawn_delay_s: float
    required: bool  # its end ends the launch (on_exit: shutdown)


@dataclass(slots=True)
class Scope:
    """Values in force at one point of a launch file."""

    environment: dict[str, str]
    variables: dict[str, str] = field(default_factory=dict)  # launch configurations
    parameters: tuple[tuple[str, Any], ...] = ()


class Evaluator:
    """Visits the actions of a launch file in order and collects the processes."""

    def __init__(self, environment: dict[str, str], params_folder: Path) -> None:
        self.scope = Scope(base_environment(environment))
        self.params_folder = params_folder  # for parameter files of nodes
        self.files: dict[Path, tuple[Entity, ...]] = {}
        self.stack: list[Path] = []  # files being read
        self.specs: list[ProcessSpec] = []

    def evaluate_file(self, path: Path, arguments: dict[str, str]) -> list[ProcessSpec]:
        """Return the processes of a file with its launch arguments. Raises LaunchError with file and line."""
        self._enter(path, arguments)
        check_given(path, arguments, self.files)
        return self.specs

    def timeout_s(self, name: str) -> float:
        """Return sigterm_timeout or sigkill_timeout, launch configurations as under launch."""
        try:
            return float(self.scope.variables.get(name, "5"))
        except ValueError as error:
            raise LaunchError(f"{name} must be a number of seconds: {error}") from None

    def _enter(self, path: Path, arguments: dict[str, str]) -> None:
        """Read a file and visit its actions; an include is no scope, as under launch: groups are."""
        if path in self.stack:
            raise LaunchError(f"{path} includes itself")
        self.files[path] = parse_file(path)
        self.scope.variables.update(arguments)
        self.stack.append(path)
        self._visit_all(self.files[path])
        self.stack.pop()

    def _visit_all(self, entities: tuple[Entity, ...]) -> None:
        for entity in entities:
            try:
                if self._condition(entity):
                    self._visit(entity)
            except LocatedError:
                raise
            except LaunchError as error:
                raise LocatedError(entity.mark, f"{entity.tag}: {error}") from None

    def _visit(self, entity: Entity) -> None:
        """Apply one action to the scope, or plan a process."""
        scope = self.scope
        match entity.tag:
            case "arg":
                name, description = entity.values["name"], entity.values.get("description", NO_DESCRIPTION)
                if name not in scope.variables and "default" not in entity.values:
                    raise LaunchError(
                        f"the argument {name!r} is required ({description}): give {name}:=VALUE"
                    )
                if name not in scope.variables:
                    scope.variables[name] = self._text(entity, "default")
            case "let":
                scope.variables.update([self._pair(entity)])
            case "set_env":
                scope.environment.update([self._pair(entity)])
            case "set_parameter":
                name, text = self._pair(entity)
                scope.parameters += ((name, convert(text, "yaml") if text else ""),)
            case "push_ros_namespace":
                base, given = scope.variables.get("ros_namespace"), self._text(entity, "namespace")
                scope.variables["ros_namespace"] = join_namespace(base, given) or "/"
            case "group":
                self.scope = Scope(dict(scope.environment), dict(scope.variables), scope.parameters)
                self._visit_all(entity.values["children"])
                self.scope = scope
            case "include":
                path = Path(os.path.abspath(self._text(entity, "file")))
                if not path.is_file():
                    raise LaunchError(f"cannot include {path}: no such file")
                if path.suffix not in (".yaml", ".yml"):
                    raise LaunchError(f"a launch file that is not YAML, such as {path}, {UNSUPPORTED}")
                self._enter(path, dict(self._pair(argument) for argument in entity.values.get("arg", ())))
            case "node":
                self.specs.append(self._node(entity))

    def _condition(self, entity: Entity) -> bool:
        key = "unless" if "unless" in entity.values else "if"
        text = self._text(entity, key, "true").strip().lower()
        if text not in ("true", "1", "false", "0"):
            raise LaunchError(f"{key!r} must give true, 1, false or 0, it gave {text!r}")
        return (text in ("true", "1")) == (key == "if")

    def _text(self, entity: Entity, key: str, default: str | None = None) -> Any:
        template = entity.values.get(key)
        return default if template is None else self._perform(template)

    def _pair(self, entity: Entity) -> tuple[str, str]:
        return self._text(entity, "name"), self._text(entity, "value")

    def _perform(self, template: Template) -> str:
        return perform(template, self.scope.variables, self.scope.environment)

    def _node(self, entity: Entity) -> ProcessSpec:
        """Plan the process of a node, with the command line that launch_ros writes."""
        name, namespace = self._text(entity, "name"), self._text(entity, "namespace")
        namespace = join_namespace(self.scope.variables.get("ros_namespace"), namespace)
        if name is not None and not NAME.fullmatch(name):
            raise LaunchError(f"the node name {name!r} is not valid: letters, digits and _, no digit first")
        program, package = self._text(entity, "exec"), self._text(entity, "pkg")
        if package is not None:
            program = find_executable(package, program, self.scope.environment)
        command = [program, *map(self._perform, entity.values.get("args", ())), "--ros-args"]
        command += [] if name is None else ["-r", f"__node:={name}"]
        command += [] if namespace is None else ["-r", f"__ns:={namespace}"]
        for parameter, value in self.scope.parameters:
            command += ["-p", f"{parameter}:={value}"]
        node_name = "/**" if name is None or namespace is None else f"{namespace.rstrip('/')}/{name}"
        for param in entity.values.get("param", ()):
            command += ["--params-file", str(self._parameter_file(param, node_name))]
        for remap in entity.values.get("remap", ()):
            command += ["-r", f"{self._text(remap, 'from')}:={self._text(remap, 'to')}"]
        output = self._text(entity, "output", "log")
        if output not in OUTPUTS:
            raise LaunchError(f"'output' must be one of {', '.join(OUTPUTS)} {OTHERS}, found {output!r}")
        return ProcessSpec(
            mark=entity.mark,
            name=f"{os.path.basename(program)}-{len(self.specs) + 1}",
            command=tuple(command),
            environment=dict(self.scope.environment),
            output=output,
            respawn=convert(self._text(entity, "respawn", "false"), "bool"),
            respawn_delay_s=entity.values.get("respawn_delay", 0.0),
            required=entity.values.get("on_exit") is not None,
        )

    def _parameter_file(self, param: Entity, node_name: str) -> Path:
        """Return the parameter file that a `param` names, or a new one with its value."""
        if "from" in param.values:
            path = Path(self._text(param, "from"))
            if not path.is_file():
                # launch warns and starts the node without it; a face with wrong parameters is worse than none
                raise LocatedError(param.mark, f"the parameter file {path} does not exist")
            return path
        name, value, kind = self._text(param, "name"), param.values["value"], param.values.get("type", "yaml")
        if isinstance(value, Template):
            try:  # one text is a string, '3' too; only what came from a substitution is converted
                value = convert(self._perform(value), "str" if value.is_literal else kind)
            except LaunchError as error:
                hint = ": say 'type: str' if it is a string" if kind == "yaml" else ""
                raise LocatedError(param.mark, f"param {name!r}: {error}{hint}") from None
        path = self.params_folder / f"launch_params_{sum(1 for _ in self.params_folder.iterdir())}.yaml"
        path.write_text(yaml.safe_dump({node_name: {"ros__parameters": {name: value}}}))
        return path


def convert(text: str, kind: str) -> Any:
    """Convert the text that substitutions gave to str, int, float, bool or, by kind "yaml", any of them.

    Raises LaunchError (without file and line) when the text is not of that kind.
    """
    try:
        value = {"str": str, "int": int, "float": float}.get(kind, yaml.safe_load)(text)
    except (ValueError, yaml.YAMLError):
        value = None
    if kind == "bool" and text in ("0", "1"):
        return text == "1"
    if type(value) not in ((bool,) if kind == "bool" else (str, int, float, bool)):
        raise LaunchError(f"{text!r} is no {kind}")
    return value


def join_namespace(base: str | None, given: str | None) -> str | None:
    """Return a namespace below another: absolute, checked; None when neither is given. Raises LaunchError."""
    if base is None and given is None:
        return None
    joined = given if given and given.startswith("/") else f"{base or ''}/{given or ''}"
    absolute = f"/{joined.strip('/')}"
    if absolute != "/" and not all(NAME.fullmatch(token) for token in absolute[1:].split("/")):
        raise LaunchError(
            f"the namespace {absolute!r} is not valid: letters, digits and _ between slashes, no digit first"
        )
    return absolute
