# SPDX-License-Identifier: Apache-2.0
"""Base class of every node: lifecycle, parameters, diagnostics and a clean end.

A node subclasses `FaceNode`, names its PARAMETERS and implements `setup`, `start`, `stop` and `health`.
`run` is its main function.
"""

import itertools
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
import yaml
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.exceptions import InvalidParameterTypeException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from splatface.models.errors import SplatfaceError, silence_unraisable_on_interrupt
from splatface.nodes.parameters import Parameter, ParameterError, command_line_error, declare_parameters

__all__ = ["ERROR", "OK", "WARN", "FaceNode", "LatencyStats", "NodeStatus", "run"]


OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR

_HANG_S = 2.0  # a callback that takes longer is interrupted by a second signal

AUTOSTART = Parameter(
    name="autostart", default=True, description="configure and activate without a lifecycle manager"
)


@dataclass(frozen=True)
class NodeStatus:
    """State of a node, for /diagnostics."""

    level: bytes = OK
    message: str = "running"
    values: dict[str, object] = field(default_factory=dict)


class LatencyStats:
    """Percentiles of the last `size` durations."""

    def __init__(self, size: int = 500) -> None:
        self._values: deque[float] = deque(maxlen=size)

    def add(self, value: float) -> None:
        """Add a duration."""
        self._values.append(value)

    def summary(self, name: str) -> dict[str, object]:
        """Return p50, p95 and p99 as `name_p50` and so on; nothing before the first duration."""
        if not self._values:
            return {}
        percentiles = np.percentile(np.array(self._values), [50, 95, 99])
        return {f"{name}_p{q}": f"{value:.2f}" for q, value in zip((50, 95, 99), percentiles, strict=True)}


class FaceNode(LifecycleNode):
    """A lifecycle node that starts itself and publishes diagnostics once a second.

    OLD_NAME: name of the node in earlier versions; a parameter file with a section of that name is reported.
    """

    PARAMETERS: tuple[Parameter, ...] = ()
    OLD_NAME = ""

    def __init__(self, name: str) -> None:
        try:
            super().__init__(name)
        except InvalidParameterTypeException as error:  # of rclpy's own parameters, such as use_sim_time
            raise ParameterError(f"{error}: fix it and start again") from None
        self.params = declare_parameters(self, (AUTOSTART, *self.PARAMETERS), self.parameter_changed)
        self.exit_code: int | None = None  # set to end the process
        self._active = False
        self._active_entities: list[Any] = []  # created by `start`
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._diagnostics_timer = self.create_timer(1.0, self._report)

    # implemented by a node

    def setup(self) -> None:
        """Prepare what takes time: read files, compile, open ports. May raise SplatfaceError."""

    def start(self) -> None:
        """Start to work. Publishers, subscriptions, services and timers created here end with `stop`."""

    def stop(self) -> None:
        """Undo what else `start` did."""

    def release(self) -> None:
        """Undo `setup`."""

    def health(self) -> NodeStatus:
        """Return the state of the node."""
        return NodeStatus()

    def parameter_changed(self, name: str, value: Any) -> None:
        """Apply a change of a dynamic parameter."""
        self.params[name] = value

    # time

    def now_ns(self) -> int:
        """Return the ROS time, simulated if use_sim_time is set."""
        return int(self.get_clock().now().nanoseconds)

    def finish(self, exit_code: int) -> None:
        """End the process after the callback that is running."""
        self.exit_code = exit_code

    # lifecycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Call `setup`; a SplatfaceError becomes one clear line."""
        return self._guarded(self.setup)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Call `start`."""
        before = set(map(id, self._entities()))
        result = self._guarded(self.start)
        self._active_entities = [entity for entity in self._entities() if id(entity) not in before]
        self._active = result == TransitionCallbackReturn.SUCCESS
        return result if not self._active else super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Call `stop` and destroy what `start` created."""
        self._end_activity()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Call `release`."""
        self.release()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and release, in any state."""
        self.close()
        return TransitionCallbackReturn.SUCCESS

    def close(self) -> None:
        """Stop if running, then release. Safe to call twice."""
        if self._active:
            self._end_activity()
        self.release()

    def _end_activity(self) -> None:
        self._active = False
        self.stop()
        for entity in self._active_entities:
            for destroy in (
                self.destroy_timer,
                self.destroy_subscription,
                self.destroy_service,
                self.destroy_publisher,
            ):
                if destroy(entity):
                    break
        self._active_entities = []

    def _entities(self) -> list[Any]:
        return [*self.timers, *self.subscriptions, *self.services, *self.publishers]

    def _guarded(self, step: Any) -> TransitionCallbackReturn:
        try:
            step()
        except SplatfaceError as error:
            self.get_logger().fatal(str(error))
            return TransitionCallbackReturn.FAILURE
        return TransitionCallbackReturn.SUCCESS

    def bring_up(self) -> bool:
        """Configure and activate; return False if a step failed."""
        success = TransitionCallbackReturn.SUCCESS
        return self.trigger_configure() == success and self.trigger_activate() == success

    def _report(self) -> None:
        health = self.health() if self._active else NodeStatus(message="not active")
        values = [KeyValue(key=key, value=str(value)) for key, value in health.values.items()]
        status = DiagnosticStatus(
            level=health.level,
            name=self.get_fully_qualified_name().lstrip("/"),
            message=health.message,
            hardware_id="splatface",
            values=values,
        )
        array = DiagnosticArray(status=[status])
        array.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(array)


def run(node_type: Callable[[], FaceNode], argv: list[str] | None = None) -> int:
    """Run one node until a signal or `finish` ends it; return the exit code.

    SIGINT and SIGTERM end it cleanly with 0; a node that cannot be created or started ends with 1 after one
    clear line.
    """
    signals = _SignalHandler()
    node = None
    try:
        argv = sys.argv if argv is None else argv
        _init_ros(argv)
        node = node_type()
        _report_old_sections(node, argv)
        if node.params["autostart"] and not node.bring_up():
            return 1
        return _spin(node, signals)
    except SplatfaceError as error:
        print(f"{getattr(node_type, '__name__', 'node')}: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, ExternalShutdownException):
        return 0
    finally:
        signals.ignore()
        if node is not None:
            node.close()
            node.destroy_node()
        rclpy.try_shutdown()


def _init_ros(argv: list[str]) -> None:
    try:
        rclpy.init(args=argv, signal_handler_options=rclpy.SignalHandlerOptions.NO)
    except RuntimeError as error:  # RCLError and UnknownROSArgsError, which rclpy does not publish
        raise command_line_error(error) from None


def _report_old_sections(node: FaceNode, argv: list[str]) -> None:
    """Warn about sections of parameter files with the node's old name: ROS ignores them silently."""
    for option, path in itertools.pairwise(argv):
        if option != "--params-file" or not node.OLD_NAME:
            continue
        sections = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        for section in sections if isinstance(sections, dict) else ():
            if str(section).split("/")[-1] == node.OLD_NAME:
                node.get_logger().warning(
                    f"{path}: section {section} is ignored: the node is called {node.get_name()} now"
                )


class _SignalHandler:
    """Handler of SIGINT and SIGTERM, which ask a process to end.

    While a node is created they raise KeyboardInterrupt, since that may take long. While it spins they are
    only recorded: an exception inside rclpy's C code comes out as another one. A terminal and a launcher may
    both send one: the second is the same request, unless it comes so late that a callback must hang.
    """

    def __init__(self) -> None:
        self.requested_s: float | None = None
        self.spinning = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def ignore(self) -> None:
        """Ignore further signals: a process that ends during cleanup leaves devices open."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)

    def _on_signal(self, number: int, frame: object) -> None:
        now_s = time.monotonic()
        first = self.requested_s is None
        self.requested_s = now_s if self.requested_s is None else self.requested_s
        if (first and not self.spinning) or now_s - self.requested_s > _HANG_S:
            silence_unraisable_on_interrupt()
            raise KeyboardInterrupt


def _spin(node: FaceNode, signals: _SignalHandler) -> int:
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    signals.spinning = True
    while node.exit_code is None and signals.requested_s is None:
        executor.spin_once(timeout_sec=0.2)
    return node.exit_code or 0
