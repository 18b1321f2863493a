"""Writes what a face hears and does into a rosbag2 folder (MCAP), as it came over the wire."""

from functools import partial
from pathlib import Path

from sensor_msgs.msg import Image
from splatface_msgs.msg import AudioChunk, AudioFeatures, HeadControl

from splatface.models.errors import RecordingError
from splatface.models.recording.write import Bag
from splatface.nodes import wire
from splatface.nodes.base import OK, WARN, FaceNode, Health, run
from splatface.nodes.parameters import Parameter

PARAMETERS = (
    Parameter(name="path", default="recording", description="a new folder"),
    Parameter(name="pictures", default=False, description="record the pictures, too"),
)
STREAMS = {
    "audio": (AudioChunk, "splatface_msgs/msg/AudioChunk"),
    "audio_features": (AudioFeatures, "splatface_msgs/msg/AudioFeatures"),
    "head_control": (HeadControl, "splatface_msgs/msg/HeadControl"),
}
PICTURES = {"image": (Image, "sensor_msgs/msg/Image")}


class Recorder(FaceNode):
    """`audio`, `audio_features`, `head_control` and, if asked, `image` in; a folder out."""

    PARAMETERS = PARAMETERS

    def __init__(self) -> None:
        super().__init__("recorder")
        self.bag: Bag | None = None

    def setup(self) -> None:
        """Make the folder."""
        self.streams = STREAMS | (PICTURES if self.params["pictures"] else {})
        topics = {self.resolve_topic_name(topic): name for topic, (_, name) in self.streams.items()}
        self.bag = Bag(Path(self.params["path"]).expanduser(), topics)
        self.get_logger().info(f"recording into {self.bag.folder}")

    def start(self) -> None:
        """Listen to the wire."""
        for topic, (message, _) in self.streams.items():
            keep = partial(self.on_message, self.resolve_topic_name(topic))
            self.create_subscription(message, topic, keep, wire.SOUND, raw=True)
        self.create_timer(0.5, self.flush)

    def on_message(self, topic: str, cdr: bytes) -> None:
        """Write one message; a full disk ends the recording and keeps what is there."""
        if self.bag is None:
            return
        try:
            self.bag.write(topic, self.now_ns(), cdr)
        except RecordingError as error:
            self.give_up(error)

    def flush(self) -> None:
        """Lose no more than half a second to a crash."""
        try:
            if self.bag is not None:
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
        if self.bag is not None:
            bag, self.bag = self.bag, None
            bag.close()
            self.get_logger().info(f"{bag.message_count} messages in {bag.folder}")

    def health(self) -> Health:
        """How much is written."""
        count = self.bag.message_count if self.bag is not None else 0
        values: dict[str, object] = {"path": self.params["path"], "messages": count}
        if not count:
            return Health(WARN, "nothing heard yet: is the face running in this namespace?", values)
        return Health(OK, "recording", values)


def main() -> int:
    """Run the node."""
    return run(Recorder)


if __name__ == "__main__":
    raise SystemExit(main())
