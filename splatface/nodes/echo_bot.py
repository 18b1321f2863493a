# SPDX-License-Identifier: Apache-2.0
"""Example of a dialogue node: it repeats what it hears, and can be interrupted by more.

    ros2 topic pub --once /face/heard_text std_msgs/msg/String "{data: 'Hello there.'}"

Put a chat bot in its place: take texts from `heard_text`, send its answers to `say`.
"""

from typing import Any

from rclpy.action import ActionClient
from rclpy.task import Future
from splatface_msgs.action import Say
from std_msgs.msg import String
from std_srvs.srv import Trigger

from splatface.nodes.face_node import OK, WARN, FaceNode, NodeStatus, run
from splatface.nodes.parameters import Parameter

PARAMETERS = (
    Parameter(name="prefix", default="", description="put before the text that is repeated", dynamic=True),
    Parameter(name="voice", default="", description="of what is said; empty for the one of tts"),
    Parameter(
        name="interruption_policy",
        default="interrupt",
        description="a text that comes while the face speaks: interrupt (stop, answer it) or queue (wait)",
        choices=("interrupt", "queue"),
        old_name="manner",
    ),
)


class EchoBot(FaceNode):
    """`heard_text` in; goals for `say`, calls of `interrupt` out."""

    PARAMETERS = PARAMETERS

    def __init__(self) -> None:
        super().__init__("echo_bot")
        self.next_text: str | None = None  # spoken when the interruption is done
        self.open_goals = 0
        self.spoken_count = self.interrupted_count = 0
        self.last_problem = ""

    def start(self) -> None:
        """Create the clients and subscribe."""
        self.say_client = ActionClient(self, Say, "say")
        self.interrupt_client = self.create_client(Trigger, "interrupt")
        self.create_subscription(String, "heard_text", self.on_text, 10)

    def stop(self) -> None:
        """Destroy the clients."""
        self.say_client.destroy()
        self.destroy_client(self.interrupt_client)

    def on_text(self, msg: String) -> None:
        """Repeat a text; interrupt what is being spoken first."""
        text = msg.data.strip()
        if not text:
            return
        text = f"{self.params['prefix']}{text}"
        interrupts = self.params["interruption_policy"] == "interrupt"
        if not self.say_client.server_is_ready():
            self.report_problem("say: expected the node tts, found none: start it")
        elif self.open_goals and interrupts and self.interrupt_client.service_is_ready():
            call_pending, self.next_text = self.next_text is not None, text
            if not call_pending:  # of several texts that come meanwhile only the newest is spoken
                self.interrupt_client.call_async(Trigger.Request()).add_done_callback(self.on_interrupted)
        else:
            self.say(text)

    def on_interrupted(self, future: Future) -> None:
        """Say the new text: the old one has ended."""
        text, self.next_text = self.next_text, None
        if text is not None:
            self.say(text)

    def say(self, text: str) -> None:
        """Send a goal to tts."""
        self.open_goals += 1
        goal = Say.Goal(text=text, voice=self.params["voice"])
        self.say_client.send_goal_async(goal).add_done_callback(self.on_goal_response)

    def on_goal_response(self, future: Future) -> None:
        """Wait for the result, or report that the goal was rejected."""
        handle: Any = future.result()
        if handle.accepted:
            handle.get_result_async().add_done_callback(self.on_result)
        else:
            self.open_goals -= 1
            self.report_problem("say: tts cannot say this; its log and /diagnostics have the reason")

    def on_result(self, future: Future) -> None:
        """Count a goal that has ended."""
        result: Any = future.result()
        self.open_goals -= 1
        self.spoken_count += not result.result.interrupted
        self.interrupted_count += result.result.interrupted

    def report_problem(self, message: str) -> None:
        """Log a problem and keep it for the next diagnostics."""
        self.last_problem = message
        self.get_logger().warning(message)

    def health(self) -> NodeStatus:
        """Return the counts; the last problem, once."""
        problem, self.last_problem = self.last_problem, ""
        values: dict[str, object] = {"said": self.spoken_count, "interrupted": self.interrupted_count}
        if problem:
            return NodeStatus(WARN, problem, values)
        return NodeStatus(OK, "speaking" if self.open_goals else "listening", values)


def main() -> int:
    """Run the node."""
    return run(EchoBot)


if __name__ == "__main__":
    raise SystemExit(main())
