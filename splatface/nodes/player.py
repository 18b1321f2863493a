# SPDX-License-Identifier: Apache-2.0
"""Node that plays a recording: the same bytes on the same topics, synchronized with /clock."""

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

PARAMETERS = (
    Parameter(name="path", default="recording", description="the recording's folder"),
    Parameter(name="rate", default=1.0, description="playback speed, 1 is real time", low=0.05, high=20.0),
    Parameter(name="loop", default=False, description="start again at the end"),
    Parameter(name="wait_s", default=30.0, description="longest wait for subscribers", low=0.0, high=600.0),
    Parameter(
        name="settle_s",
        default=1.0,
        description="pause between the last subscriber's answer and the first message",
        low=0.0,
        high=60.0,
    ),
    Parameter(
        name="linger_s",
        default=1.0,
        description="stay this long after the last message and the last image",
        low=0.0,
        high=60.0,
    ),
)
REGENERATED_TOPICS = {"image"}  # rendered again from the others
TICK_S = 0.002
MAX_AHEAD_NS = 1_000_000_000  # further behind, a slow renderer is waited for
STALL_TIMEOUT_S = 2.0  # a renderer that renders nothing for this long is not waited for
STATE_TIMEOUT_S = (
    2.0  # a subscriber without the service get_state, such as `ros2 topic echo`, is not waited for
)


class Player(FaceNode):
    """A recording in; its topics, in the node's namespace, and `/clock` out; `frame_trace` paces it."""

    PARAMETERS = PARAMETERS

    def __init__(self) -> None:
        super().__init__("player")
        self.messages: Iterator[RecordedMessage] = iter(())
        self.next_message: RecordedMessage | None = None
        self.played_count = 0

    def setup(self) -> None:
        """Read the topics of the recording."""
        self.path = Path(self.params["path"]).expanduser()
        types = {topic.rsplit("/", 1)[-1]: name for topic, name in read_topics(self.path).items()}
        self.types = {topic: name for topic, name in types.items() if topic not in REGENERATED_TOPICS}
        if not self.types:
            raise RecordingError(
                f"recording {self.path}: expected messages, found none: did a face run when it was made?"
            )

    def start(self) -> None:
        """Open the topics and wait for subscribers."""
        self.message_pubs = {
            topic: self.create_publisher(_message_type(name), topic, conversions.AUDIO_QOS)
            for topic, name in self.types.items()
        }
        self.clock_pub = self.create_publisher(Clock, "/clock", 10)
        self.create_subscription(FrameTrace, "frame_trace", self.on_trace, 100)
        required: list[str] = [t for t in ("audio_features", "head_control") if t in self.message_pubs]
        self.readiness = SubscriberReadiness(self, required or list(self.message_pubs))
        self.wait_end_s = time.monotonic() + self.params["wait_s"]
        self.rendered_ns: int | None = None
        self.last_activity_s = time.monotonic()
        self.create_timer(TICK_S, self.play)
        self.rewind()

    def rewind(self) -> None:
        """Go to the first message."""
        self.messages = (m for m in read_messages(self.path) if m.topic.rsplit("/", 1)[-1] in self.types)
        self.next_message = next(self.messages)
        self.start_s: float | None = None
        self.first_ns = self.next_message.time_ns

    def on_trace(self, msg: FrameTrace) -> None:
        """Note the time of the newest rendered image."""
        self.rendered_ns = conversions.time_ns(msg.header.stamp)
        self.last_activity_s = time.monotonic()

    def play(self) -> None:
        """Publish every message that is due."""
        now = time.monotonic()
        if self.start_s is None:
            if not self.readiness.is_ready(now) and now < self.wait_end_s:
                return
            self.readiness.close()
            self.start_s = now + self.params["settle_s"]
        if self.next_message is not None and self._too_far_ahead(now):
            self.start_s += TICK_S
            return
        now_in_recording_ns = self.first_ns + round((now - self.start_s) * self.params["rate"] * 1e9)
        while self.next_message is not None and self.next_message.time_ns <= now_in_recording_ns:
            self._publish(self.next_message)
            self.next_message = next(self.messages, None)
            self.last_activity_s = now
        self.clock_pub.publish(Clock(clock=conversions.time_msg(max(now_in_recording_ns, 0))))
        if self.next_message is None and now - self.last_activity_s > self.params["linger_s"]:
            self._end()

    def health(self) -> NodeStatus:
        """Return the number of messages played."""
        state = "waiting for subscribers" if self.start_s is None else "playing"
        return NodeStatus(message=state, values={"path": self.path, "messages": self.played_count})

    def _publish(self, message: RecordedMessage) -> None:
        self.message_pubs[message.topic.rsplit("/", 1)[-1]].publish(message.cdr)
        self.played_count += 1

    def _end(self) -> None:
        if self.params["loop"]:
            self.rewind()
            return
        self.get_logger().info(f"played {self.played_count} messages of {self.path}")
        self.finish(0)

    def _too_far_ahead(self, now: float) -> bool:
        if (
            self.rendered_ns is None
            or self.next_message is None
            or now - self.last_activity_s > STALL_TIMEOUT_S
        ):
            return False
        return self.next_message.time_ns - self.rendered_ns > MAX_AHEAD_NS


def _message_type(name: str) -> Any:
    package, kind, message = name.split("/")
    try:
        return getattr(importlib.import_module(f"{package}.{kind}"), message)
    except (ImportError, AttributeError):
        raise RecordingError(
            f"recording: expected message types that are installed, found {name}: install {package}"
        ) from None


class SubscriberReadiness:
    """Check that the lifecycle nodes that subscribe to some topics are connected both ways.

    DDS matches the two sides of a topic separately, seconds apart at worst. Each subscriber is asked for its
    lifecycle state: its answer proves the connection.
    """

    def __init__(self, node: Node, topics: list[str]) -> None:
        self._node = node
        self._topics = topics
        self._clients: dict[str, Client] = {}
        self._answers: dict[str, Future] = {}
        self._start_s: float | None = None

    def is_ready(self, now: float) -> bool:
        """Return whether every topic has a subscriber and all have answered; `now` in s, steady."""
        names = [self._subscribers(topic) for topic in self._topics]
        if not all(names):
            return False
        if self._start_s is None:
            self._start_s = now
        unanswered = [name for name in set().union(*names) if not self._answered(name)]
        return not unanswered or now - self._start_s > STATE_TIMEOUT_S

    def close(self) -> None:
        """Destroy the clients."""
        for client in self._clients.values():
            self._node.destroy_client(client)
        self._clients.clear()

    def _subscribers(self, topic: str) -> set[str]:
        subscriptions = self._node.get_subscriptions_info_by_topic(self._node.resolve_topic_name(topic))
        return {f"{info.node_namespace.rstrip('/')}/{info.node_name}" for info in subscriptions}

    def _answered(self, name: str) -> bool:
        if name not in self._clients:
            self._clients[name] = self._node.create_client(GetState, f"{name}/get_state")
        client = self._clients[name]
        if name not in self._answers and client.service_is_ready():
            self._answers[name] = client.call_async(GetState.Request())
        return name in self._answers and self._answers[name].done()


def main() -> int:
    """Run the node."""
    return run(Player)


if __name__ == "__main__":
    raise SystemExit(main())
