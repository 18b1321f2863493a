"""Hears speech: `audio` becomes `audio_features`, one frame every 20 ms."""

import time

from splatface.models.audio.encoder import ENCODERS, encoder
from splatface.models.errors import AudioError
from splatface.nodes import wire
from splatface.nodes.base import ERROR, OK, WARN, FaceNode, Health, run
from splatface.nodes.parameters import Parameter
from splatface.nodes.timing import Timing
from splatface_msgs.msg import AudioChunk as AudioChunkMsg
from splatface_msgs.msg import AudioFeatures

PARAMETERS = (Parameter(name="encoder", default="fsmn", description="how speech is heard", choices=ENCODERS),)


class AudioFeaturesNode(FaceNode):
    """`audio` in; `audio_features` out."""

    PARAMETERS = PARAMETERS

    def __init__(self) -> None:
        super().__init__("audio_features")
        self.trouble = ""
        self.sent = 0
        self.encode_ms = Timing()

    def setup(self) -> None:
        """Load the encoder."""
        self.encoder = encoder(self.params["encoder"])
        self.get_logger().info(f"hearing with {self.encoder.name}, {self.encoder.lookahead_ms:g} ms ahead")

    def start(self) -> None:
        """Open the topics."""
        self.features = self.create_publisher(AudioFeatures, "audio_features", wire.SOUND)
        self.create_subscription(AudioChunkMsg, "audio", self.on_audio, wire.SOUND)

    def on_audio(self, msg: AudioChunkMsg) -> None:
        """Hear one chunk."""
        began = time.perf_counter()
        try:
            frames = self.encoder.push(wire.audio_chunk(msg))
        except AudioError as error:
            if str(error) != self.trouble:
                self.get_logger().error(str(error))
            self.trouble = str(error)
            return
        self.trouble = ""
        self.encode_ms.add((time.perf_counter() - began) * 1e3)
        for frame in frames:
            self.features.publish(wire.audio_features_msg(frame))
        self.sent += len(frames)

    def health(self) -> Health:
        """Frames and the time they take."""
        values: dict[str, object] = {
            "encoder": self.encoder.name,
            "frames": self.sent,
            "bad_samples": self.encoder.bad_samples,
            **self.encode_ms.summary("encode_ms"),
        }
        if self.trouble:
            return Health(ERROR, self.trouble, values)
        if self.encoder.bad_samples:
            return Health(WARN, "NaN or infinite samples were heard as silence", values)
        if not self.sent:
            return Health(WARN, "no audio yet", values)
        return Health(OK, "hearing", values)


def main() -> int:
    """Run the node."""
    return run(AudioFeaturesNode)


if __name__ == "__main__":
    raise SystemExit(main())
