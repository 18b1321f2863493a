# SPDX-License-Identifier: Apache-2.0
"""Subscribe to the topics of a running face and print how old their messages are.

    splatface run &
    python examples/print_latency.py --seconds 10

Expect one line per topic. Every message carries the time of its sound, so now - stamp is the latency: about
20 ms for audio, 40 ms for audio_features, 105 ms for image (encoder fsmn, idle machine). head_control is
computed for the present: about 1 ms.
"""

import argparse
import time

import rclpy
from rclpy.node import Node
from sensor_msgs.msg import Image
from splatface_msgs.msg import AudioChunk, AudioFeatures, HeadControl

TOPICS = {"audio": AudioChunk, "audio_features": AudioFeatures, "head_control": HeadControl, "image": Image}


class LatencyProbe(Node):
    """Keeps the age of every message."""

    def __init__(self, namespace: str) -> None:
        super().__init__("latency_probe", namespace=namespace)
        self.ages_ms: dict[str, list[float]] = {topic: [] for topic in TOPICS}
        for topic, kind in TOPICS.items():
            self.create_subscription(kind, topic, lambda msg, topic=topic: self.on_message(topic, msg), 10)

    def on_message(self, topic: str, msg: AudioChunk | AudioFeatures | HeadControl | Image) -> None:
        """Note the age of one message."""
        now_ns = self.get_clock().now().nanoseconds
        stamp_ns = msg.header.stamp.sec * 1_000_000_000 + msg.header.stamp.nanosec
        self.ages_ms[topic].append((now_ns - stamp_ns) / 1e6)


def main() -> None:
    """Listen for some seconds and print the medians."""
    parser = argparse.ArgumentParser(description="print the latency of a running face")
    parser.add_argument("--namespace", default="face", help="of the face")
    parser.add_argument("--seconds", type=float, default=10.0, help="duration")
    args = parser.parse_args()

    rclpy.init()
    probe = LatencyProbe(args.namespace)
    until_s = time.monotonic() + args.seconds
    while time.monotonic() < until_s:
        rclpy.spin_once(probe, timeout_sec=0.1)
    for topic, ages_ms in probe.ages_ms.items():
        median = f"{sorted(ages_ms)[len(ages_ms) // 2]:7.1f} ms" if ages_ms else "no message"
        print(f"{topic:16s} {len(ages_ms):6d} messages, median age {median}")
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
