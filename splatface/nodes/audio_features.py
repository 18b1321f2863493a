"""Hears: sound in, one frame of speech features every 20 ms out."""

import sys
import time

from splatface_msgs.msg import AudioChunk as AudioChunkMsg
from splatface_msgs.msg import AudioFeatures as AudioFeaturesMsg

from splatface.models.audio.encoder import ENCODERS, encoder
from splatface.models.errors import AudioError
from splatface.nodes import conversions
from splatface.nodes.face_node import ERROR, WARN, FaceNode, LatencyStats, NodeStatus, run
from splatface.nodes.parameters import Parameter

PARAMETERS = (
    Parameter(
        name="encoder",
        default="fsmn",
        description="how speech is heard: fsmn (shortest delay), whisper (clearest) or logmel (no weights)",
        choices=ENCODERS,
    ),
)
QUIET_S = 2.0  # without sound for so long, diagnostics say so


class FeatureExtractor(FaceNode):
    """`audio` in, `audio_features` out."""

    PARAMETERS = PARAMETERS

    def __init__(self) -> None:
        super().__init__("audio_features")
        self.frames = 0
        self.refused = ""
        self.heard_s = 0.0
        self.compute_ms, self.age_ms = LatencyStats(), LatencyStats()

    def setup(self) -> None:
        """Load the encoder's network."""
        self.encoder = encoder(self.params["encoder"])
        self.get_logger().info(
            f"encoder {self.encoder.name}: {self.encoder.dim}-d, look-ahead {self.encoder.lookahead_ms} ms"
        )

    def start(self) -> None:
        """Open the topics."""
        self.encoder.reset()
        self.heard_s = time.monotonic()
        self.features = self.create_publisher(AudioFeaturesMsg, "audio_features", conversions.AUDIO_QOS)
        self.create_subscription(AudioChunkMsg, "audio", self.on_audio, conversions.AUDIO_QOS)

    def on_audio(self, msg: AudioChunkMsg) -> None:
        """Hear a chunk, publish the frames it completes."""
        began_s = self.heard_s = time.monotonic()
        try:
            frames = self.encoder.push(conversions.audio_chunk(msg))
        except AudioError as error:
            if str(error) != self.refused:
                self.refused = str(error)
                self.get_logger().error(self.refused)
            return
        self.refused = ""
        for frame in frames:
            self.features.publish(conversions.audio_features_msg(frame))
        if frames:
            self.frames += len(frames)
            self.compute_ms.add(1000 * (time.monotonic() - began_s) / len(frames))
            self.age_ms.add((self.now_ns() - frames[-1].center_ns) / 1e6)

    def health(self) -> NodeStatus:
        """Is there sound, and how long hearing takes."""
        values: dict[str, object] = {
            "encoder": self.encoder.name,
            "lookahead_ms": self.encoder.lookahead_ms,
            "frames": self.frames,
            "bad_samples": self.encoder.nonfinite_samples,
            **self.compute_ms.summary("compute_ms"),
            **self.age_ms.summary("age_ms"),
        }
        if self.refused:
            return NodeStatus(level=ERROR, message=self.refused, values=values)
        if time.monotonic() - self.heard_s > QUIET_S:
            return NodeStatus(
                level=WARN, message=f"no sound for {QUIET_S:.0f} s: is audio_capture up?", values=values
            )
        if self.encoder.nonfinite_samples:
            return NodeStatus(
                level=WARN, message="NaN or infinity in the sound, heard as silence", values=values
            )
        return NodeStatus(message="hearing", values=values)


def main() -> int:
    """Run the node."""
    return run(FeatureExtractor)


if __name__ == "__main__":
    sys.exit(main())
