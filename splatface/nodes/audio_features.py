# SPDX-License-Identifier: Apache-2.0
"""Node that encodes speech: audio in, one frame of features every 20 ms out."""

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
        description="speech encoder: fsmn (lowest latency), whisper (most accurate) or logmel (no weights)",
        choices=ENCODERS,
    ),
)
AUDIO_TIMEOUT_S = 2.0


class FeatureExtractor(FaceNode):
    """`audio` in, `audio_features` out."""

    PARAMETERS = PARAMETERS

    def __init__(self) -> None:
        super().__init__("audio_features")
        self.frame_count = 0
        self.audio_problem = ""
        self.last_audio_s = 0.0
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
        self.last_audio_s = time.monotonic()
        self.features_pub = self.create_publisher(AudioFeaturesMsg, "audio_features", conversions.AUDIO_QOS)
        self.create_subscription(AudioChunkMsg, "audio", self.on_audio, conversions.AUDIO_QOS)

    def on_audio(self, msg: AudioChunkMsg) -> None:
        """Encode a chunk and publish the frames it completes."""
        start_s = self.last_audio_s = time.monotonic()
        try:
            frames = self.encoder.push(conversions.audio_chunk(msg))
        except AudioError as error:
            if str(error) != self.audio_problem:
                self.audio_problem = str(error)
                self.get_logger().error(self.audio_problem)
            return
        self.audio_problem = ""
        for frame in frames:
            self.features_pub.publish(conversions.audio_features_msg(frame))
        if frames:
            self.frame_count += len(frames)
            self.compute_ms.add(1000 * (time.monotonic() - start_s) / len(frames))
            self.age_ms.add((self.now_ns() - frames[-1].center_ns) / 1e6)

    def health(self) -> NodeStatus:
        """Return the encoder, its latency and the problems of the audio."""
        values: dict[str, object] = {
            "encoder": self.encoder.name,
            "lookahead_ms": self.encoder.lookahead_ms,
            "frames": self.frame_count,
            "bad_samples": self.encoder.nonfinite_samples,
            **self.compute_ms.summary("compute_ms"),
            **self.age_ms.summary("age_ms"),
        }
        if self.audio_problem:
            return NodeStatus(level=ERROR, message=self.audio_problem, values=values)
        if time.monotonic() - self.last_audio_s > AUDIO_TIMEOUT_S:
            return NodeStatus(
                level=WARN,
                message=f"no audio for {AUDIO_TIMEOUT_S:.0f} s: is audio_capture or tts running?",
                values=values,
            )
        if self.encoder.nonfinite_samples:
            return NodeStatus(
                level=WARN, message="NaN or infinity in the audio, replaced by silence", values=values
            )
        return NodeStatus(message="encoding", values=values)


def main() -> int:
    """Run the node."""
    return run(FeatureExtractor)


if __name__ == "__main__":
    sys.exit(main())
