# SPDX-License-Identifier: Apache-2.0
"""Parameters of a node: described, with ranges, and refused with the reason."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import (
    InvalidParameterTypeException,
    InvalidParameterValueException,
    ParameterUninitializedException,
)
from rclpy.node import Node
from rclpy.parameter import Parameter as RclParameter

from splatface.models.errors import SplatfaceError

__all__ = ["Parameter", "ParameterError", "command_line_error", "declare_parameters", "was_given"]

_EXPECTED = {
    "-p": "-p name:=value with a value as in YAML, such as 25, true or text",
    "-r": "-r from:=to, the names of letters, digits and _ between slashes",
    "--params-file": "a ROS 2 parameter file in YAML that can be read",
    "--log-level": "--log-level debug, info, warn, error or fatal",
}


class ParameterError(SplatfaceError):
    """A parameter has the wrong type, lies outside its range or cannot be read."""


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One parameter of a node.

    `low` and `high` bound a number, `choices` a string. A `dynamic` parameter may change while the node
    runs. `old_name` is still accepted at the start.
    """

    name: str
    default: bool | int | float | str
    description: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    dynamic: bool = False
    old_name: str = ""

    def descriptor(self) -> ParameterDescriptor:
        """Return the description for ROS tools."""
        out = ParameterDescriptor(name=self.name, description=self.description, read_only=False)
        if self.choices:
            out.additional_constraints = "one of: " + ", ".join(self.choices)
        if self.low is not None and self.high is not None:
            if isinstance(self.default, int):
                out.integer_range = [IntegerRange(from_value=int(self.low), to_value=int(self.high), step=0)]
            else:
                out.floating_point_range = [
                    FloatingPointRange(from_value=float(self.low), to_value=float(self.high), step=0.0)
                ]
        return out

    def validation_error(self, value: Any) -> str:
        """Return the reason why `value` is refused, or an empty string."""
        if self.choices and value not in self.choices:
            return f"parameter {self.name}: expected one of {', '.join(self.choices)}, found {value!r}"
        if isinstance(value, float) and value != value:
            return f"parameter {self.name}: expected a number, found NaN"
        return ""


def declare_parameters(
    node: Node, parameters: tuple[Parameter, ...], on_change: Callable[[str, Any], None]
) -> dict[str, Any]:
    """Declare all parameters, return their values by name, and watch for changes.

    `on_change(name, value)` is called for a dynamic parameter; a change of any other is refused with the
    reason.

    Raises:
        ParameterError: a value given at the start has the wrong type or range.
    """
    values = {parameter.name: _declare(node, parameter) for parameter in parameters}
    by_name = {parameter.name: parameter for parameter in parameters}

    def on_set(changes: list[RclParameter]) -> SetParametersResult:
        for change in changes:
            parameter = by_name.get(change.name)
            if parameter is None:
                continue
            reason = parameter.validation_error(change.value)
            if not reason and not parameter.dynamic:
                reason = (
                    f"parameter {change.name} is read when the node is configured: start the node with it"
                )
            if reason:
                return SetParametersResult(successful=False, reason=reason)
        for change in changes:
            if change.name in by_name:
                on_change(change.name, change.value)
        return SetParametersResult(successful=True)

    node.add_on_set_parameters_callback(on_set)
    return values


def was_given(node: Node, name: str) -> bool:
    """Return whether a value for the parameter `name`, declared or not, was given at the start."""
    return name in node._parameter_overrides


def command_line_error(problem: RuntimeError) -> ParameterError:
    """Return rclpy's error about a command line as one helpful line."""
    found = re.search(r"(?:: |\[)'(.*?)'(?:\. Error|\])", str(problem))
    argument = found[1] if found else str(problem)
    option = argument.split(" ")[0]
    expected = _EXPECTED.get(option, "ROS arguments such as -p name:=value or -r from:=to")
    return ParameterError(f"command line: expected {expected}, found {argument!r}: fix it and start again")


def _declare(node: Node, parameter: Parameter) -> Any:
    _accept_old_name(node, parameter)
    _convert_type(node, parameter)
    given = node._parameter_overrides.get(parameter.name)
    try:
        value = node.declare_parameter(parameter.name, parameter.default, parameter.descriptor()).value
    except InvalidParameterTypeException as error:
        kind, found = type(parameter.default).__name__, given.value if given is not None else error
        raise ParameterError(f"parameter {parameter.name}: expected {kind}, found {found!r}") from None
    except (InvalidParameterValueException, ParameterUninitializedException):
        found = given.value if given is not None else None
        raise ParameterError(
            f"parameter {parameter.name}: expected {parameter.low} to {parameter.high}, found {found}"
        ) from None
    reason = parameter.validation_error(value)
    if reason:
        raise ParameterError(reason)
    return value


def _accept_old_name(node: Node, parameter: Parameter) -> None:
    overrides = node._parameter_overrides
    if parameter.old_name not in overrides:
        return
    node.get_logger().warning(f"parameter {parameter.old_name} is now {parameter.name}: use the new name")
    if parameter.name not in overrides:
        overrides[parameter.name] = RclParameter(parameter.name, value=overrides[parameter.old_name].value)


def _convert_type(node: Node, parameter: Parameter) -> None:
    """Convert a number given for a float or a text: `fps:=25`, `device:=3`."""
    overrides = node._parameter_overrides
    given = overrides.get(parameter.name)
    if given is None:
        return
    if isinstance(parameter.default, float) and given.type_ == RclParameter.Type.INTEGER:
        overrides[parameter.name] = RclParameter(parameter.name, value=float(given.value))
    elif isinstance(parameter.default, str) and given.type_ != RclParameter.Type.STRING:
        # launch files cannot pass quotes through
        overrides[parameter.name] = RclParameter(parameter.name, value=str(given.value))
