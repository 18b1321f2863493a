"""Base class of every node: lifecycle, parameters, diagnostics and a clean end."""

import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.exceptions import InvalidParameterTypeException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from splatface.models.errors import SplatfaceError, silence_unraisable_on_interrupt
from splatface.nodes.parameters import Parameter, ParameterError, declare, unreadable

__all__ = ["ERROR", "OK", "WARN", "FaceNode", "LatencyStats", "NodeStatus", "run"]


class LatencyStats:
    """The last `size` durations."""

    def __init__(self, size: int = 500) -> None:
        self._values: deque[float] = deque(maxlen=size)

    def add(self, value: float) -> None:
        """Add one."""
        self._values.append(value)

    def summary(self, name: str) -> dict[str, object]:
        """p50, p95 and p99 under `name_p50` and so on; empty when nothing was added."""
        if not self._values:
            return {}
        marks = np.percentile(np.array(self._values), [50, 95, 99])
        return {f"{name}_p{q}": f"{mark:.2f}" for q, mark in zip((50, 95, 99), marks, strict=True)}


OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR

HANGS_S = 2.0  # a callback that lasts longer

AUTOSTART = Parameter(
    name="autostart", default=True, description="configure and activate without a lifecycle manager"
)


@dataclass(frozen=True)
class NodeStatus:
    """How a node is, for /diagnostics."""

    level: bytes = OK
    message: str = "running"
    values: dict[str, object] = field(default_factory=dict)


class FaceNode(LifecycleNode):
    """A lifecycle node that starts itself and says how it is once a second."""

    PARAMETERS: tuple[Parameter, ...] = ()

    def __init__(self, name: str) -> None:
        try:
            super().__init__(name)
        except InvalidParameterTypeException as error:  # of rclpy's own parameters, such as use_sim_time
            raise ParameterError(f"{error}: mend it and start again") from None
        self.params = declare(self, (AUTOSTART, *self.PARAMETERS), self.parameter_changed)
        self.exit_code: int | None = None  # set to end the process
        self._active = False
        self._active_entities: list[Any] = []  # entities of the activity
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._diagnostics_timer = self.create_timer(1.0, self._report)

    # what a node fills in

    def setup(self) -> None:
        """Build what is costly: read files, compile, open devices. May raise SplatfaceError."""

    def start(self) -> None:
        """Begin to work. Publishers, subscriptions, services and timers made here end with the activity."""

    def stop(self) -> None:
        """Undo what else `start` did."""

    def release(self) -> None:
        """Undo `setup`."""

    def health(self) -> NodeStatus:
        """How the node is now."""
        return NodeStatus()

    def parameter_changed(self, name: str, value: Any) -> None:
        """Take over a live parameter."""
        self.params[name] = value

    # time

    def now_ns(self) -> int:
        """ROS time; simulated when use_sim_time is set."""
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
        """Call `stop` and take away what `start` made."""
        self._end_activity()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Call `release`."""
        self.release()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and release, in whatever state."""
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
        """Configure and activate; False when a step failed."""
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
    """Run one node until it is asked to end. Returns the exit code.

    SIGINT and SIGTERM end it cleanly with 0; a node that cannot be built or started ends with 1 after one
    clear line.
    """
    end = _SignalHandler()
    node = None
    try:
        _read_arguments(argv if argv is not None else sys.argv)
        node = node_type()
        if node.params["autostart"] and not node.bring_up():
            return 1
        return _spin(node, end)
    except SplatfaceError as error:
        print(f"{getattr(node_type, '__name__', 'node')}: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, ExternalShutdownException):
        return 0
    finally:
        end.ignore()
        if node is not None:
            node.close()
            node.destroy_node()
        rclpy.try_shutdown()


def _read_arguments(argv: list[str]) -> None:
    try:
        rclpy.init(args=argv, signal_handler_options=rclpy.SignalHandlerOptions.NO)
    except RuntimeError as error:  # RCLError and UnknownROSArgsError, which rclpy does not publish
        raise unreadable(error) from None


class _SignalHandler:
    """SIGINT and SIGTERM, that ask a process to end.

    While a node is built they raise KeyboardInterrupt, since that may take long. While it spins they are only
    noted: an exception in the midst of rclpy's C code comes out as another one. A terminal and a launcher may
    both ask: the second is the same request, unless it comes so late that a callback must be hanging.
    """

    def __init__(self) -> None:
        self.asked_s: float | None = None
        self.waits = False  # for the callback that is running
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def ignore(self) -> None:
        """Asked again while cleaning up, a process would leave devices open."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)

    def _on_signal(self, number: int, frame: object) -> None:
        now_s = time.monotonic()
        first = self.asked_s is None
        self.asked_s = now_s if self.asked_s is None else self.asked_s
        if (first and not self.waits) or now_s - self.asked_s > HANGS_S:
            silence_unraisable_on_interrupt()
            raise KeyboardInterrupt


def _spin(node: FaceNode, end: _SignalHandler) -> int:
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    end.waits = True
    while node.exit_code is None and end.asked_s is None:
        executor.spin_once(timeout_sec=0.2)
    return node.exit_code or 0
