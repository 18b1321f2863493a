"""A parsed launch file -> the plan: conditions and substitutions decided, includes read, scopes applied."""

import os
import re
import shlex
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from splatface.cli.launcher.console import DESTINATIONS
from splatface.cli.launcher.declared import check_given, check_required
from splatface.cli.launcher.node import join_namespace, node_command
from splatface.cli.launcher.packages import base_environment
from splatface.cli.launcher.parameters import coerce
from splatface.cli.launcher.parse import parse_file
from splatface.cli.launcher.plan import Item, LogMessage, ProcessSpec, Shutdown, Timer
from splatface.cli.launcher.scope import Place, Scope, perform
from splatface.cli.launcher.substitute import Template
from splatface.cli.launcher.tree import Entity
from splatface.models.errors import LaunchError

__all__ = ["Evaluator"]

MAX_INCLUDES = 32  # deep; a file that includes itself ends here


class Evaluator:
    """Walks entities as launch visits them; lives as long as the launch, for its timers."""

    def __init__(self, environment: dict[str, str], params_folder: Path) -> None:
        self.start_environment = base_environment(environment)
        self.output_override = environment.get("OVERRIDE_LAUNCH_PROCESS_OUTPUT")
        self.params_folder = params_folder
        self.scope = Scope({}, dict(self.start_environment))
        self.place = Place(Path(), Path())
        self.files: dict[Path, tuple[Entity, ...]] = {}
        self.depth = 0
        self.processes = 0
        self.node_names: Counter[str] = Counter()
        self.plan: list[Item] = []
        self.actions: dict[str, Callable[[Entity], None]] = {
            "arg": self.arg,
            "let": self.let,
            "node": self.node,
            "executable": self.executable,
            "group": self.group,
            "push_ros_namespace": self.push_ros_namespace,
            "set_remap": self.set_remap,
            "set_parameter": self.set_parameter,
            "include": self.include,
            "set_env": self.set_env,
            "unset_env": self.unset_env,
            "timer": self.timer,
            "log": self.log,
            "shutdown": self.shutdown,
        }

    def evaluate_file(self, path: Path, arguments: dict[str, str]) -> list[Item]:
        """The plan of a file with its launch arguments. Raises LaunchError with file and line."""
        self.scope.configurations.update(arguments)
        self.enter(path, arguments)
        check_given(path, arguments, self.files)
        return self.taken()

    def evaluate_timer(self, timer: Timer) -> list[Item]:
        """The plan of a timer that fired: in the outermost scope, groups are long left (as under launch)."""
        self.place = timer.place
        self.visit_all(timer.entities)
        return self.taken()

    def taken(self) -> list[Item]:
        """The plan so far; a new one begins."""
        plan, self.plan = self.plan, []
        return plan

    def enter(self, path: Path, given: dict[str, str]) -> None:
        """Read a file and visit it, at its own place."""
        outer = self.place
        self.files[path] = parse_file(path)
        check_required(path, self.files[path], given)
        self.place = Place(path, path)
        self.visit_all(self.files[path])
        self.place = Place(outer.file, self.place.jazzy_file)

    def visit_all(self, entities: tuple[Entity, ...]) -> None:
        """Visit entities in order."""
        for entity in entities:
            try:
                if self.holds(entity):
                    self.actions[entity.tag](entity)
            except LaunchError as error:
                raise entity.mark.located(f"{entity.tag}: ", error) from None

    def holds(self, entity: Entity) -> bool:
        """Decide `if` and `unless`."""
        for key in ("if", "unless"):
            if key in entity.attributes:
                text = self.text(entity, key).strip().lower()
                if text not in ("true", "1", "false", "0"):
                    raise LaunchError(f"{key!r} must give true, 1, false or 0, it gave {text!r}")
                return (text in ("true", "1")) == (key == "if")
        return True

    def perform(self, template: Template) -> str:
        """The string of a template, here and now."""
        return perform(template, self.scope, self.place)

    def text(self, entity: Entity, name: str) -> str:
        """The string of an attribute."""
        return self.perform(entity.attributes[name])

    def arg(self, entity: Entity) -> None:
        """Declare a launch argument."""
        name = entity.attributes["name"]
        if name not in self.scope.configurations:
            if "default" not in entity.attributes:
                raise LaunchError(f"the argument {name!r} is required: give {name}:=VALUE")
            self.scope.configurations[name] = self.text(entity, "default")
        allowed = [choice.attributes["value"] for choice in entity.get("choice", ())]
        value = self.scope.configurations[name]
        if allowed and value not in allowed:
            raise LaunchError(f"{name}:={value} is none of the choices {', '.join(allowed)}")

    def let(self, entity: Entity) -> None:
        """Set a launch configuration."""
        self.scope.configurations[self.text(entity, "name")] = self.text(entity, "value")

    def set_env(self, entity: Entity) -> None:
        """Set an environment variable of what follows."""
        self.scope.environment[self.text(entity, "name")] = self.text(entity, "value")

    def unset_env(self, entity: Entity) -> None:
        """Remove an environment variable, if it is there."""
        self.scope.environment.pop(self.text(entity, "name"), None)

    def push_ros_namespace(self, entity: Entity) -> None:
        """Go down one namespace."""
        base = self.scope.configurations.get("ros_namespace")
        namespace = join_namespace(base, self.text(entity, "namespace"))
        self.scope.configurations["ros_namespace"] = namespace or "/"

    def set_remap(self, entity: Entity) -> None:
        """Remap a name in all nodes that follow."""
        if self.scope.remaps is None:
            self.scope.remaps = []
        self.scope.remaps.append((self.text(entity, "from"), self.text(entity, "to")))

    def set_parameter(self, entity: Entity) -> None:
        """Set a parameter of all nodes that follow."""
        name, value = self.text(entity, "name"), coerce(self.text(entity, "value") or "''", "yaml")
        if isinstance(value, list):
            # launch_ros hands over Python's "(1, 2)", which is a string to the node
            raise LaunchError(f"{name!r}: lists do not reach nodes through set_parameter: use 'param'")
        if self.scope.parameters is None:
            self.scope.parameters = []
        self.scope.parameters.append((name, value))

    def group(self, entity: Entity) -> None:
        """Visit the actions inside, in a scope of their own unless `scoped: false`."""
        kept = {
            self.perform(keep.attributes["name"]): self.perform(keep.attributes["value"])
            for keep in entity.get("keep", ())
        }
        outer = self.scope
        if entity.get("scoped", True):
            forwarding = entity.get("forwarding", True)
            self.scope = outer.copy() if forwarding else Scope({}, dict(self.start_environment))
        self.scope.configurations.update(kept)
        self.visit_all(entity.children)
        self.scope = outer

    def include(self, entity: Entity) -> None:
        """Visit another file; its arguments stay set afterwards, as under launch: groups make scopes."""
        path = Path(os.path.abspath(self.text(entity, "file")))
        if path.suffix not in (".yaml", ".yml") or not path.is_file():
            raise LaunchError(
                f"cannot include {path}: " + ("not a YAML file" if path.is_file() else "no such file")
            )
        pairs = (*entity.get("arg", ()), *entity.get("let", ()))
        given = {self.perform(p.attributes["name"]): self.perform(p.attributes["value"]) for p in pairs}
        self.scope.configurations.update(given)
        self.depth += 1
        if self.depth > MAX_INCLUDES:
            raise LaunchError(f"includes {MAX_INCLUDES} deep: does {path} include itself?")
        self.enter(path, given)
        self.depth -= 1

    def timer(self, entity: Entity) -> None:
        """Plan actions for later."""
        period = entity.attributes["period"]
        seconds = period if isinstance(period, float) else coerce(self.perform(period), "float")
        if not 0 <= seconds < float("inf"):
            raise LaunchError(f"'period' must be a float of seconds >= 0, found {seconds}")
        self.plan.append(Timer(seconds, entity.children, self.place))

    def log(self, entity: Entity) -> None:
        """Plan a line for the user."""
        self.plan.append(LogMessage(self.text(entity, "message")))

    def shutdown(self, entity: Entity) -> None:
        """Plan the end."""
        given = "reason" in entity.attributes
        self.plan.append(Shutdown(self.text(entity, "reason") if given else "reason not given"))

    def executable(self, entity: Entity) -> None:
        """Plan a process."""
        label = self.text(entity, "name") if "name" in entity.attributes else None
        self.process(entity, tuple(self.perform(word) for word in entity.attributes["cmd"]), label)

    def node(self, entity: Entity) -> None:
        """Plan a node's process."""
        command, full_name = node_command(entity, self.scope, self.perform, self.params_folder)
        label = self.text(entity, "exec_name") if "exec_name" in entity.attributes else None
        spec = self.process(entity, command, label)
        if full_name is not None:
            self.node_names[full_name] += 1
            if self.node_names[full_name] > 1:
                count = f"at least {self.node_names[full_name]} nodes with the name {full_name}"
                message = f"there are now {count} created within this launch context"
                self.plan.append(LogMessage(message, "WARNING", spec.name))

    def process(self, entity: Entity, command: tuple[str, ...], label: str | None) -> ProcessSpec:
        """Plan a process with the attributes that nodes and executables share."""
        command = (*self.prefix(entity, command), *command)
        self.processes += 1
        spec = ProcessSpec(
            mark=entity.mark,
            name=f"{os.path.basename(command[0]) if label is None else label}-{self.processes}",
            command=command,
            environment=self.environment(entity),
            cwd=self.text(entity, "cwd") if "cwd" in entity.attributes else None,
            shell=entity.get("shell", False),
            output=self.output(entity),
            respawn="respawn" in entity.attributes and coerce(self.text(entity, "respawn"), "bool"),
            respawn_delay_s=entity.get("respawn_delay", 0.0),
            respawn_max_retries=entity.get("respawn_max_retries", -1),
            sigterm_timeout_s=self.timeout(entity, "sigterm_timeout"),
            sigkill_timeout_s=self.timeout(entity, "sigkill_timeout"),
            required=entity.get("on_exit", False),
        )
        self.plan.append(spec)
        return spec

    def prefix(self, entity: Entity, command: tuple[str, ...]) -> list[str]:
        """Words before the command: the attribute, or the configuration `launch-prefix` with its filter."""
        if "launch-prefix" in entity.attributes:
            return shlex.split(self.text(entity, "launch-prefix"))
        wanted = self.scope.configurations.get("launch-prefix-filter", "")
        if re.match(wanted, os.path.basename(command[0])) is None:
            return []
        return shlex.split(self.scope.configurations.get("launch-prefix", ""))

    def environment(self, entity: Entity) -> dict[str, str]:
        """The environment in force, and the entity's own `env`."""
        own = {
            self.perform(e.attributes["name"]): self.perform(e.attributes["value"])
            for e in entity.get("env", ())
        }
        return {**self.scope.environment, **own}

    def output(self, entity: Entity) -> str:
        """Where the output goes."""
        given = self.text(entity, "output") if "output" in entity.attributes else "log"
        output = self.output_override or given
        if output not in DESTINATIONS:
            raise LaunchError(f"'output' must be one of {', '.join(DESTINATIONS)}, found {output!r}")
        return output

    def timeout(self, entity: Entity, name: str) -> float:
        """Seconds of patience: the attribute, or the configuration of that name, or 5."""
        if name in entity.attributes:
            seconds: Any = entity.attributes[name]
        else:
            seconds = coerce(self.scope.configurations.get(name, "5"), "float")
        return float(seconds)
