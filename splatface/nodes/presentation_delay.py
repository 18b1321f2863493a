# SPDX-License-Identifier: Apache-2.0
"""Presentation delay of a face: the renderer owns the value, the other nodes learn it from a latched topic.

Sound leaves the loudspeaker and the matching image reaches the screen at `stamp + presentation_delay`.
"""

from collections.abc import Callable

from builtin_interfaces.msg import Duration
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from splatface.models.messages import NS_PER_S
from splatface.nodes.face_node import FaceNode
from splatface.nodes.parameters import Parameter, was_given

__all__ = [
    "DEFAULT_DELAY_NS",
    "PRESENTATION_DELAY",
    "create_delay_publisher",
    "delay_msg",
    "subscribe_presentation_delay",
]

PRESENTATION_DELAY = Parameter(
    name="presentation_delay",
    default=0.2,
    description="from the time of a sound until it is heard and its image is displayed; the other nodes of "
    "the face learn it from the renderer",
    low=0.0,
    high=5.0,
    dynamic=True,
)
DEFAULT_DELAY_NS = NS_PER_S // 5  # until the first message
TOPIC = "presentation_delay"
_MAX_DELAY_NS = 5 * NS_PER_S
_LATCHED_QOS = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)


def create_delay_publisher(node: FaceNode) -> Publisher:
    """Create the publisher of the latched topic, in the node that owns the value."""
    return node.create_publisher(Duration, TOPIC, _LATCHED_QOS)


def delay_msg(seconds: float) -> Duration:
    """Encode a presentation delay."""
    ns = round(seconds * NS_PER_S)
    return Duration(sec=ns // NS_PER_S, nanosec=ns % NS_PER_S)


def subscribe_presentation_delay(node: FaceNode, on_delay: Callable[[int], None]) -> None:
    """Call `on_delay(delay_ns)` with the presentation delay of the face, at once and after every change.

    A delay outside 0 to 5 s is refused with a warning.
    """
    if was_given(node, TOPIC):
        node.get_logger().warning(
            "presentation_delay is a parameter of the renderer only, this node learns it: set it there"
        )

    def on_message(msg: Duration) -> None:
        delay_ns = msg.sec * NS_PER_S + msg.nanosec
        if 0 <= delay_ns <= _MAX_DELAY_NS:
            on_delay(delay_ns)
        else:
            found = delay_ns / NS_PER_S
            node.get_logger().warning(
                f"presentation_delay: expected 0 to 5 s, found {found:g}: it is ignored"
            )

    node.create_subscription(Duration, TOPIC, on_message, _LATCHED_QOS)
