"""Plays a recording: the same bytes on the same topics, in step with /clock."""

import importlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lifecycle_msgs.srv import GetState
from rclpy.client import Client
from rclpy.node import Node
from rclpy.task import Future
from rosgraph_msgs.msg import Clock
from splatface_msgs.msg import FrameTrace

from splatface.models.errors import RecordingError
from splatface.models.recording.bag_reader import RecordedMessage, read_messages, read_topics
from splatface.nodes import conversions
from splatface.nodes.face_node import FaceNode, NodeStatus, run
from splatface.nodes.parameters import Parameter

__all__ = ["SubscriberReadiness"]

# A listener without this service (a tool such as `ros2 topic echo`) is not waited for longer.
PATIENCE_S = 2.0


class SubscriberReadiness:
    """Asks every lifecycle node that listens to some topics for its state: an answer proves both ways."""

    def __init__(self, node: Node, topics: list[str]) -> None:
        self._node = node
        self._topics = topics
        self._clients: dict[str, Client] = {}
        self._answers: dict[str, Future] = {}
        self._began: float | None = None

    def done(self, now: float) -> bool:
        """Whether every topic has a listener and every listener has answered; `now` in s, of any clock."""
        names = [self._listeners(topic) for topic in self._topics]
        if not all(names):
            return False
        if self._began is None:
            self._began = now
        waiting = [name for name in set().union(*names) if not self._answered(name)]
        return not waiting or now - self._began > PATIENCE_S

    def close(self) -> None:
        """Give the clients back."""
        for client in self._clients.values():
            self._node.destroy_client(client)
        self._clients.clear()

    def _listeners(self, topic: str) -> set[str]:
        found = self._node.get_subscriptions_info_by_topic(self._node.resolve_topic_name(topic))
        return {f"{info.node_namespace.rstrip('/')}/{info.node_name}" for info in found}

    def _answered(self, name: str) -> bool:
        if name not in self._clients:
            self._clients[name] = self._node.create_client(GetState, f"{name}/get_state")
        client = self._clients[name]
        if name not in self._answers and client.service_is_ready():
            self._answers[name] = client.call_async(GetState.Request())
        return name in self._answers and self._answers[name].done()


PARAMETERS = (
    Parameter(name="path", default="recording", description="the recording's folder"),
    Parameter(name="rate", default=1.0, description="speed, 1 is as it was", low=0.05, high=20.0),
    Parameter(name="loop", default=False, description="begin again at the end"),
    Parameter(
        name="wait_s", default=30.0, description="longest wait for somebody who listens", low=0.0, high=600.0
    ),
    Parameter(
        name="settle_s",
        default=1.0,
        description="pause between the last listener's answer and the first message",
        low=0.0,
        high=60.0,
    ),
    Parameter(
        name="linger_s",
        default=1.0,
        description="stay this long after the last message and the last picture",
        low=0.0,
        high=60.0,
    ),
)
# Topics that are made again from the others.
REGENERATED_TOPICS = {"image"}
TICK_S = 0.002
# How far a slow renderer may fall behind before playing waits for it, and how long it is waited for.
AHEAD_NS = 1_000_000_000
STALL_S = 2.0


class Player(FaceNode):
    """A recording in; its topics, in the node's namespace, and `/clock` out; `frame_trace` paces it."""

    PARAMETERS = PARAMETERS

    def __init__(self) -> None:
        super().__init__("player")
        self.waiting: Iterator[RecordedMessage] = iter(())
        self.next: RecordedMessage | None = None
        self.played = 0

    def setup(self) -> None:
        """Look at the recording."""
        self.path = Path(self.params["path"]).expanduser()
        types = {topic.rsplit("/", 1)[-1]: name for topic, name in read_topics(self.path).items()}
        self.types = {topic: name for topic, name in types.items() if topic not in REGENERATED_TOPICS}
        if not self.types:
            raise RecordingError(
                f"recording {self.path}: expected messages, found none: did the face run when it was made?"
            )

    def start(self) -> None:
        """Open the topics and wait for somebody to listen."""
        self.outputs = {
            topic: self.create_publisher(_message_type(name), topic, conversions.AUDIO_QOS)
            for topic, name in self.types.items()
        }
        self.clock = self.create_publisher(Clock, "/clock", 10)
        self.create_subscription(FrameTrace, "frame_trace", self.on_trace, 100)
        needed: list[str] = [t for t in ("audio_features", "head_control") if t in self.outputs]
        self.handshake = SubscriberReadiness(self, needed or list(self.outputs))
        self.waits_until = time.monotonic() + self.params["wait_s"]
        self.drawn_ns: int | None = None
        self.last_seen = time.monotonic()
        self.create_timer(TICK_S, self.play)
        self.begin_again()

    def begin_again(self) -> None:
        """Go to the first message."""
        self.waiting = (m for m in read_messages(self.path) if m.topic.rsplit("/", 1)[-1] in self.types)
        self.next = next(self.waiting)
        self.begun: float | None = None
        self.first_ns = self.next.time_ns

    def on_trace(self, msg: FrameTrace) -> None:
        """See how far the renderer is."""
        self.drawn_ns = conversions.time_ns(msg.header.stamp)
        self.last_seen = time.monotonic()

    def play(self) -> None:
        """Send everything whose time has come."""
        now = time.monotonic()
        if self.begun is None:
            if not self.handshake.done(now) and now < self.waits_until:
                return
            self.handshake.close()
            self.begun = now + self.params["settle_s"]
        if self.next is not None and self._too_far_ahead(now):
            self.begun += TICK_S
            return
        reached_ns = self.first_ns + round((now - self.begun) * self.params["rate"] * 1e9)
        while self.next is not None and self.next.time_ns <= reached_ns:
            self._send(self.next)
            self.next = next(self.waiting, None)
            self.last_seen = now
        self.clock.publish(Clock(clock=conversions.stamp(max(reached_ns, 0))))
        if self.next is None and now - self.last_seen > self.params["linger_s"]:
            self._end()

    def health(self) -> NodeStatus:
        """How far the recording is played."""
        state = "waiting for somebody to listen" if self.begun is None else "playing"
        return NodeStatus(message=state, values={"path": self.path, "messages": self.played})

    def _send(self, message: RecordedMessage) -> None:
        self.outputs[message.topic.rsplit("/", 1)[-1]].publish(message.cdr)
        self.played += 1

    def _end(self) -> None:
        if self.params["loop"]:
            self.begin_again()
            return
        self.get_logger().info(f"played {self.played} messages of {self.path}")
        self.finish(0)

    def _too_far_ahead(self, now: float) -> bool:
        if self.drawn_ns is None or self.next is None or now - self.last_seen > STALL_S:
            return False
        return self.next.time_ns - self.drawn_ns > AHEAD_NS


def _message_type(name: str) -> Any:
    package, kind, message = name.split("/")
    try:
        return getattr(importlib.import_module(f"{package}.{kind}"), message)
    except (ImportError, AttributeError):
        raise RecordingError(
            f"recording: expected message types that are installed, found {name}: install {package}"
        ) from None


def main() -> int:
    """Run the node."""
    return run(Player)


if __name__ == "__main__":
    raise SystemExit(main())
