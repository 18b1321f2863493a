"""The command line of a node, word for word as launch_ros writes it."""

import re
from collections.abc import Callable
from pathlib import Path

from splatface.cli.launcher.packages import find_executable
from splatface.cli.launcher.parameters import parameter_file, parameters_of, substituted_file
from splatface.cli.launcher.scope import Scope
from splatface.cli.launcher.substitute import Template
from splatface.cli.launcher.tree import Entity
from splatface.models.errors import LaunchError

__all__ = ["join_namespace", "node_command"]

TOKEN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def join_namespace(base: str | None, given: str | None) -> str | None:
    """A namespace below another: absolute, checked; None when neither is given. Raises LaunchError."""
    if base is None and given is None:
        return None
    if given is None or (base and not given.startswith("/")):
        joined = "/".join(part for part in ((base or "").rstrip("/"), given) if part is not None)
    else:
        joined = given
    absolute = "/" + joined.rstrip("/").removeprefix("/")
    if absolute != "/" and not all(TOKEN.fullmatch(token) for token in absolute[1:].split("/")):
        raise LaunchError(
            f"the namespace {absolute!r} is not valid: letters, digits and _ between slashes, no digit first"
        )
    return absolute


def node_command(
    entity: Entity, scope: Scope, perform: Callable[[Template], str], folder: Path
) -> tuple[tuple[str, ...], str | None]:
    """The words of the command, and the node's full name if the file gives it.

    `EXE args --ros-args ros_args --ros-args -r __node:= -r __ns:= -p global --params-file FILE -r from:=to`
    """
    name = perform(entity.attributes["name"]) if "name" in entity.attributes else None
    if name is not None and not TOKEN.fullmatch(name):
        raise LaunchError(f"the node name {name!r} is not valid: letters, digits and _, no digit first")
    given = perform(entity.attributes["namespace"]) if "namespace" in entity.attributes else None
    namespace = join_namespace(scope.configurations.get("ros_namespace"), given)
    full_name = None
    if name is not None and namespace is not None:
        full_name = f"{namespace.rstrip('/')}/{name}"
    command = [_executable(entity, scope, perform)]
    command += [perform(word) for word in entity.get("args", ())]
    if "ros_args" in entity.attributes:
        command += ["--ros-args", *(perform(word) for word in entity.attributes["ros_args"])]
    command += ["--ros-args"]
    if name is not None:
        command += ["-r", f"__node:={name}"]
    if namespace is not None:
        command += ["-r", f"__ns:={namespace}"]
    for parameter, value in scope.parameters or ():
        command += ["-p", f"{parameter}:={value}"]
    for param in entity.get("param", ()):
        command += ["--params-file", str(_params_file(param, perform, folder, full_name or "/**"))]
    for source, target in _remaps(entity, scope, perform):
        command += ["-r", f"{source}:={target}"]
    return tuple(command), full_name


def _executable(entity: Entity, scope: Scope, perform: Callable[[Template], str]) -> str:
    executable = perform(entity.attributes["exec"])
    if "pkg" not in entity.attributes:
        return executable
    return find_executable(perform(entity.attributes["pkg"]), executable, scope.environment)


def _params_file(param: Entity, perform: Callable[[Template], str], folder: Path, node: str) -> Path:
    if "from" not in param.attributes:
        return parameter_file(folder, node, dict(parameters_of(param, perform)))
    path = Path(perform(param.attributes["from"]))
    if not path.is_file():
        # launch warns and starts the node without the file; a face with wrong parameters is worse than none
        raise param.mark.error(f"the parameter file {path} does not exist")
    return substituted_file(folder, path, perform) if param.get("allow_substs") else path


def _remaps(entity: Entity, scope: Scope, perform: Callable[[Template], str]) -> list[tuple[str, str]]:
    own = [
        (perform(remap.attributes["from"]), perform(remap.attributes["to"]))
        for remap in entity.get("remap", ())
    ]
    return [*(scope.remaps or ()), *own]
