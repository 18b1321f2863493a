# SPDX-License-Identifier: Apache-2.0
"""Node that records audio, features, head control and optionally images into a rosbag2 folder (MCAP)."""

from functools import partial
from pathlib import Path

from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from splatface_msgs.msg import AudioChunk, AudioFeatures, HeadControl

from splatface.models.errors import RecordingError
from splatface.models.recording.bag_writer import BagWriter, OfferedQos
from splatface.nodes import conversions
from splatface.nodes.face_node import OK, WARN, FaceNode, NodeStatus, run
from splatface.nodes.parameters import Parameter

PARAMETERS = (
    Parameter(name="path", default="recording", description="a new folder"),
    Parameter(name="pictures", default=False, description="record the images, too"),
)
STREAMS = {
    "audio": (AudioChunk, "splatface_msgs/msg/AudioChunk"),
    "audio_features": (AudioFeatures, "splatface_msgs/msg/AudioFeatures"),
    "head_control": (HeadControl, "splatface_msgs/msg/HeadControl"),
}
IMAGES = {"image": (Image, "sensor_msgs/msg/Image")}


class Recorder(FaceNode):
    """`audio`, `audio_features`, `head_control` and optionally `image` in; a folder out."""

    PARAMETERS = PARAMETERS

    def __init__(self) -> None:
        super().__init__("recorder")
        self.bag: BagWriter | None = None

    def setup(self) -> None:
        """Create the folder."""
        self.streams = STREAMS | (IMAGES if self.params["pictures"] else {})
        self.names = {topic: self.resolve_topic_name(topic) for topic in self.streams}
        self.bag = BagWriter(Path(self.params["path"]).expanduser())
        self.get_logger().info(f"recording into {self.bag.folder}")

    def start(self) -> None:
        """Subscribe to the streams."""
        for topic, (message, _) in self.streams.items():
            self.create_subscription(
                message, topic, partial(self.on_message, topic), conversions.AUDIO_QOS, raw=True
            )
        self.create_timer(0.5, self.flush)

    def on_message(self, topic: str, cdr: bytes) -> None:
        """Write one message; a full disk ends the recording and keeps what is there."""
        if self.bag is None:
            return
        try:
            if self.names[topic] not in self.bag:
                self.add_topic(self.bag, topic, self.offered_qos(topic))
            self.bag.write(self.names[topic], self.now_ns(), cdr)
        except RecordingError as error:
            self.give_up(error)

    def offered_qos(self, topic: str) -> list[OfferedQos]:
        """Return the QoS of the topic's publishers; Fast DDS does not report their history and depth."""
        return [_offered_qos(publisher.qos_profile) for publisher in self.get_publishers_info_by_topic(topic)]

    def add_topic(self, bag: BagWriter, topic: str, offered_qos: list[OfferedQos]) -> None:
        """Add a topic to the recording."""
        _, type_name = self.streams[topic]
        bag.add_topic(self.names[topic], type_name, offered_qos)

    def flush(self) -> None:
        """Write to disk, so that a crash loses half a second at most; add newly published topics."""
        if self.bag is None:
            return
        for topic, name in self.names.items():
            if name not in self.bag and (offered_qos := self.offered_qos(topic)):
                self.add_topic(self.bag, topic, offered_qos)
        try:
            self.bag.flush()
        except RecordingError as error:
            self.give_up(error)

    def give_up(self, error: RecordingError) -> None:
        """End with one clear line."""
        self.get_logger().fatal(str(error))
        self.release()
        self.finish(1)

    def release(self) -> None:
        """Finish the file."""
        if self.bag is None:
            return
        bag, self.bag = self.bag, None
        for topic, name in self.names.items():
            if name not in bag:  # without a publisher; listed all the same
                self.add_topic(bag, topic, [])
        try:
            bag.close()
        except RecordingError as error:
            self.get_logger().error(str(error))
            return
        self.get_logger().info(f"{bag.message_count} messages in {bag.folder}")

    def health(self) -> NodeStatus:
        """Return the number of recorded messages."""
        count = self.bag.message_count if self.bag is not None else 0
        values: dict[str, object] = {"path": self.params["path"], "messages": count}
        if not count:
            return NodeStatus(WARN, "nothing received yet: is the face running in this namespace?", values)
        return NodeStatus(OK, "recording", values)


def _offered_qos(profile: QoSProfile) -> OfferedQos:
    return OfferedQos(
        reliability=profile.reliability.name.lower(),
        durability=profile.durability.name.lower(),
        history=profile.history.name.lower(),
        depth=profile.depth,
        deadline_ns=profile.deadline.nanoseconds,
        lifespan_ns=profile.lifespan.nanoseconds,
        liveliness=profile.liveliness.name.lower(),
        liveliness_lease_ns=profile.liveliness_lease_duration.nanoseconds,
    )


def main() -> int:
    """Run the node."""
    return run(Recorder)


if __name__ == "__main__":
    raise SystemExit(main())
