"""An action server for goals that take long, on an executor with one thread.

rclpy runs a goal's callback to its end, or, when it is a coroutine, asks it again and again without a
pause (100 % of a core). Here a goal is only marked as executing; the node finishes it from its timers.
"""

from collections.abc import Callable
from typing import Any

from rclpy.action import ActionServer
from rclpy.action.server import ServerGoalHandle

__all__ = ["DeferredActionServer"]


class DeferredActionServer(ActionServer):
    """Goals begin with `goal.execute()` and end with `finish`."""

    def notify_execute(
        self, goal_handle: ServerGoalHandle, execute_callback: Callable[..., Any] | None
    ) -> None:
        """Do nothing yet: `goal.execute()` has said that the goal is executing."""

    def finish(self, goal: ServerGoalHandle, result: Any) -> None:
        """Send the result of a goal that has succeeded, been aborted or been canceled."""
        if self._node.executor is not None:  # at the end of the process nobody is left to send it
            super().notify_execute(goal, lambda _: result)
