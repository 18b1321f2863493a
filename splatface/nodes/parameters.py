"""Parameters of a node: described, ranged, and refused with the reason."""

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

__all__ = ["Parameter", "ParameterError", "declare", "unreadable"]

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
    """One parameter: `low` and `high` bound a number, `choices` a string; `live` ones may change later."""

    name: str
    default: bool | int | float | str
    description: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    dynamic: bool = False

    def descriptor(self) -> ParameterDescriptor:
        """The same as ROS tools show it."""
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
        """Why `value` cannot be taken, or an empty string."""
        if self.choices and value not in self.choices:
            return f"parameter {self.name}: expected one of {', '.join(self.choices)}, found {value!r}"
        if isinstance(value, float) and value != value:
            return f"parameter {self.name}: expected a number, found NaN"
        return ""


def unreadable(problem: RuntimeError) -> ParameterError:
    """What rclpy says of a command line that it cannot parse, in one line that helps."""
    found = re.search(r"(?:: |\[)'(.*?)'(?:\. Error|\])", str(problem))
    argument = found[1] if found else str(problem)
    option = argument.split(" ")[0]
    expected = _EXPECTED.get(option, "ROS arguments such as -p name:=value or -r from:=to")
    return ParameterError(f"command line: expected {expected}, found {argument!r}: mend it and start again")


def declare(
    node: Node, parameters: tuple[Parameter, ...], changed: Callable[[str, Any], None]
) -> dict[str, Any]:
    """Declare all parameters, return their values by name, and watch for changes.

    `changed(name, value)` is called for a live parameter; a change of any other is refused with the reason.

    Raises:
        ParameterError: when a value given at the start has the wrong type or range.
    """
    values = {}
    for parameter in parameters:
        values[parameter.name] = _declare_one(node, parameter)
    by_name = {parameter.name: parameter for parameter in parameters}

    def check(changes: list[RclParameter]) -> SetParametersResult:
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
                changed(change.name, change.value)
        return SetParametersResult(successful=True)

    node.add_on_set_parameters_callback(check)
    return values


def _declare_one(node: Node, parameter: Parameter) -> Any:
    given = node._parameter_overrides.get(parameter.name)
    if (
        given is not None
        and isinstance(parameter.default, float)
        and given.type_ == RclParameter.Type.INTEGER
    ):
        # `fps:=25` is what people type for a floating-point parameter.
        node._parameter_overrides[parameter.name] = RclParameter(parameter.name, value=float(given.value))
    if given is not None and isinstance(parameter.default, str) and given.type_ != RclParameter.Type.STRING:
        # `device:=3` and `path:=2026` arrive as numbers, launch files cannot quote them through.
        node._parameter_overrides[parameter.name] = RclParameter(parameter.name, value=str(given.value))
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
