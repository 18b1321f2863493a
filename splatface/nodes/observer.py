"""Listens to a running face and keeps the times: what `bench graph` and the tests measure with."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import Image
from splatface_msgs.msg import AudioChunk, AudioFeatures, FrameTrace

from splatface.nodes import conversions

__all__ = ["Observation", "PictureHash", "observe", "watch_pictures"]


@dataclass
class Observation:
    """What went past, each list in the order of arrival."""

    audio_ms: list[float] = field(default_factory=list)  # end of chunk heard -> chunk here
    features_ms: list[float] = field(default_factory=list)  # frame center -> features here
    drawn: dict[int, FrameTrace] = field(default_factory=dict)  # by media time
    shown: dict[int, FrameTrace] = field(default_factory=dict)


def observe(namespace: str, seconds: float, going: Callable[[Observation], bool]) -> Observation:
    """Listen to the face in `namespace` for some seconds, or until `going` says no."""
    seen = Observation()

    def set_up(node: Node) -> None:
        def now_ns() -> int:
            return int(node.get_clock().now().nanoseconds)

        def on_audio(msg: AudioChunk) -> None:
            end_ns = conversions.time_ns(msg.header.stamp) + round(len(msg.samples) * 1e9 / msg.sample_rate)
            seen.audio_ms.append((now_ns() - end_ns) / 1e6)

        def on_features(msg: AudioFeatures) -> None:
            seen.features_ms.append((now_ns() - conversions.time_ns(msg.header.stamp)) / 1e6)

        def keep(traces: dict[int, FrameTrace]) -> Callable[[FrameTrace], None]:
            return lambda msg: traces.__setitem__(conversions.time_ns(msg.header.stamp), msg)

        node.create_subscription(AudioChunk, "audio", on_audio, conversions.AUDIO_QOS)
        node.create_subscription(AudioFeatures, "audio_features", on_features, conversions.AUDIO_QOS)
        node.create_subscription(FrameTrace, "frame_trace", keep(seen.drawn), 100)
        node.create_subscription(FrameTrace, "display/frame_trace", keep(seen.shown), 100)

    _listen("probe", namespace, set_up, seconds, lambda: going(seen))
    return seen


class PictureHash:
    """SHA-256 over media time and pixels of every picture, in order."""

    def __init__(self) -> None:
        self.count = 0
        self._hash = hashlib.sha256()

    def add(self, time_ns: int, pixels: bytes) -> None:
        """Add one picture."""
        self.count += 1
        self._hash.update(time_ns.to_bytes(8, "little") + pixels)

    @property
    def hexdigest(self) -> str:
        """The hash so far."""
        return self._hash.hexdigest()


def watch_pictures(namespace: str, seconds: float, going: Callable[[PictureHash], bool]) -> PictureHash:
    """Hash the pictures of the face in `namespace` for some seconds, or until `going` says no."""
    digest = PictureHash()

    def on_image(msg: Image) -> None:
        digest.add(conversions.time_ns(msg.header.stamp), conversions.image_from_msg(msg).tobytes())

    def set_up(node: Node) -> None:
        node.create_subscription(Image, "image", on_image, conversions.image_qos(200))

    _listen("picture_hash", namespace, set_up, seconds, lambda: going(digest))
    return digest


def _listen(
    name: str, namespace: str, set_up: Callable[[Node], None], seconds: float, going: Callable[[], bool]
) -> None:
    context = rclpy.Context()
    context.init()
    node = Node(name, namespace=namespace, context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    try:
        set_up(node)
        until = time.monotonic() + seconds
        while time.monotonic() < until and going():
            executor.spin_once(timeout_sec=0.1)
    finally:
        executor.shutdown()
        node.destroy_node()
        context.try_shutdown()
