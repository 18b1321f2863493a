# SPDX-License-Identifier: Apache-2.0
"""Observers of a running face for replays and benchmarks: message latencies, a hash of its images."""

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

__all__ = ["ImageHash", "Observation", "hash_images", "observe"]


@dataclass
class Observation:
    """Latencies and frame traces of a face, lists in the order of arrival."""

    audio_ms: list[float] = field(default_factory=list)  # end of a chunk -> its arrival here
    features_ms: list[float] = field(default_factory=list)  # center of a frame -> its arrival here
    rendered: dict[int, FrameTrace] = field(default_factory=dict)  # of the renderer, by stamp in ns
    displayed: dict[int, FrameTrace] = field(default_factory=dict)  # of the display, by stamp in ns


def observe(namespace: str, seconds: float, keep_going: Callable[[Observation], bool]) -> Observation:
    """Observe the face in `namespace` for some seconds, or until `keep_going` returns False."""
    observation = Observation()

    def subscribe(node: Node) -> None:
        def now_ns() -> int:
            return int(node.get_clock().now().nanoseconds)

        def on_audio(msg: AudioChunk) -> None:
            duration_ns = round(len(msg.samples) * 1e9 / msg.sample_rate)
            end_ns = conversions.time_ns(msg.header.stamp) + duration_ns
            observation.audio_ms.append((now_ns() - end_ns) / 1e6)

        def on_features(msg: AudioFeatures) -> None:
            observation.features_ms.append((now_ns() - conversions.time_ns(msg.header.stamp)) / 1e6)

        def store_in(traces: dict[int, FrameTrace]) -> Callable[[FrameTrace], None]:
            return lambda msg: traces.__setitem__(conversions.time_ns(msg.header.stamp), msg)

        node.create_subscription(AudioChunk, "audio", on_audio, conversions.AUDIO_QOS)
        node.create_subscription(AudioFeatures, "audio_features", on_features, conversions.AUDIO_QOS)
        node.create_subscription(FrameTrace, "frame_trace", store_in(observation.rendered), 100)
        node.create_subscription(FrameTrace, "display/frame_trace", store_in(observation.displayed), 100)

    _spin_node("observer", namespace, subscribe, seconds, lambda: keep_going(observation))
    return observation


class ImageHash:
    """SHA-256 over time and pixels of every image, in order."""

    def __init__(self) -> None:
        self.count = 0
        self._hash = hashlib.sha256()

    def add(self, time_ns: int, pixels: bytes) -> None:
        """Add one image."""
        self.count += 1
        self._hash.update(time_ns.to_bytes(8, "little") + pixels)

    @property
    def hexdigest(self) -> str:
        """Hash of the images so far."""
        return self._hash.hexdigest()


def hash_images(namespace: str, seconds: float, keep_going: Callable[[ImageHash], bool]) -> ImageHash:
    """Hash the images of the face in `namespace` for some seconds, or until `keep_going` returns False."""
    image_hash = ImageHash()

    def on_image(msg: Image) -> None:
        image_hash.add(conversions.time_ns(msg.header.stamp), conversions.image_from_msg(msg).tobytes())

    def subscribe(node: Node) -> None:
        node.create_subscription(Image, "image", on_image, conversions.image_qos(200))

    _spin_node("image_hash", namespace, subscribe, seconds, lambda: keep_going(image_hash))
    return image_hash


def _spin_node(
    name: str,
    namespace: str,
    subscribe: Callable[[Node], None],
    seconds: float,
    keep_going: Callable[[], bool],
) -> None:
    context = rclpy.Context()
    context.init()
    node = Node(name, namespace=namespace, context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    try:
        subscribe(node)
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s and keep_going():
            executor.spin_once(timeout_sec=0.1)
    finally:
        executor.shutdown()
        node.destroy_node()
        context.try_shutdown()
