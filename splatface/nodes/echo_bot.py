"""An example of who might speak through a face: it repeats what it is told, and can be interrupted by more.

    ros2 topic pub --once /face/heard_text std_msgs/msg/String "{data: 'Hello there.'}"

Put a chat bot in its place: take words from `heard_text`, send what it answers to `say`.
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
    Parameter(name="prefix", default="", description="said before what is repeated", dynamic=True),
    Parameter(name="voice", default="", description="of what is said; empty for the one of tts"),
    Parameter(
        name="manner",
        default="interrupt",
        description="words that come while it speaks: interrupt (fall silent, answer them) or queue (wait)",
        choices=("interrupt", "queue"),
    ),
)


class EchoBot(FaceNode):
    """`heard_text` in; goals for `say`, calls of `interrupt` out."""

    PARAMETERS = PARAMETERS

    def __init__(self) -> None:
        super().__init__("echo_bot")
        self.waiting: str | None = None  # what to say when the face has fallen silent
        self.saying = 0  # goals sent and not ended
        self.said = self.interrupted = 0
        self.complaint = ""

    def start(self) -> None:
        """Find the face's mouth and listen."""
        self.say_client = ActionClient(self, Say, "say")
        self.hush = self.create_client(Trigger, "interrupt")
        self.create_subscription(String, "heard_text", self.on_heard, 10)

    def stop(self) -> None:
        """Let go of the mouth."""
        self.say_client.destroy()
        self.destroy_client(self.hush)

    def on_heard(self, msg: String) -> None:
        """Repeat what was heard; what is being said ends first."""
        heard = msg.data.strip()
        if not heard:
            return
        text = f"{self.params['prefix']}{heard}"
        if not self.say_client.server_is_ready():
            self.complain("say: expected the node tts, found none: start it")
        elif self.saying and self.params["manner"] == "interrupt" and self.hush.service_is_ready():
            silencing, self.waiting = self.waiting is not None, text
            if not silencing:  # of words that come meanwhile the newest count
                self.hush.call_async(Trigger.Request()).add_done_callback(self.on_silent)
        else:
            self.say(text)

    def on_silent(self, done: Future) -> None:
        """The old words are over: say the new ones."""
        text, self.waiting = self.waiting, None
        if text is not None:
            self.say(text)

    def say(self, text: str) -> None:
        """Send the goal to tts."""
        self.saying += 1
        goal = Say.Goal(text=text, voice=self.params["voice"])
        self.say_client.send_goal_async(goal).add_done_callback(self.on_answer)

    def on_answer(self, done: Future) -> None:
        """Wait for the end, or learn that it can not be said."""
        handle: Any = done.result()
        if handle.accepted:
            handle.get_result_async().add_done_callback(self.on_said)
        else:
            self.saying -= 1
            self.complain("say: tts cannot say this; its log and /diagnostics tell why")

    def on_said(self, done: Future) -> None:
        """Count."""
        result: Any = done.result()
        self.saying -= 1
        self.said += not result.result.interrupted
        self.interrupted += result.result.interrupted

    def complain(self, message: str) -> None:
        """Say what could not be done."""
        self.complaint = message
        self.get_logger().warning(message)

    def health(self) -> NodeStatus:
        """What it did; the last complaint, once."""
        complaint, self.complaint = self.complaint, ""
        values: dict[str, object] = {"said": self.said, "interrupted": self.interrupted}
        if complaint:
            return NodeStatus(WARN, complaint, values)
        return NodeStatus(OK, "speaking" if self.saying else "listening", values)


def main() -> int:
    """Run the node."""
    return run(EchoBot)


if __name__ == "__main__":
    raise SystemExit(main())
