# SPDX-License-Identifier: Apache-2.0
"""Node that detects a user who speaks, and interrupts the face when they speak into its words."""

import sys
from typing import Any

from rclpy.task import Future
from splatface_msgs.msg import AudioChunk as AudioChunkMsg
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from splatface.models.audio.user_speech_detector import BargeInPolicy, UserSpeechDetector
from splatface.models.errors import AudioError
from splatface.models.messages import NS_PER_S
from splatface.nodes import conversions
from splatface.nodes.face_node import ERROR, WARN, FaceNode, NodeStatus, run
from splatface.nodes.parameters import Parameter
from splatface.nodes.presentation_delay import DEFAULT_DELAY_NS, subscribe_presentation_delay

PARAMETERS = (
    Parameter(
        name="barge_in", default=True, description="interrupt the face when a person speaks", dynamic=True
    ),
    Parameter(
        name="barge_in_ms",
        default=200,
        description="voice until the face is interrupted; short times react to noise: knocks make up to 150",
        low=50,
        high=500,
        dynamic=True,
    ),
)
MICROPHONE_TIMEOUT_NS = NS_PER_S
PUBLISH_PERIOD_S = 0.5  # of `person_speaking`, which is also published at every change


class UserSpeechNode(FaceNode):
    """`microphone` and `audio` in; `person_speaking` and calls of `interrupt` out."""

    PARAMETERS = PARAMETERS
    OLD_NAME = "listener"

    def __init__(self) -> None:
        super().__init__("speech_detector")
        self.delay_ns = DEFAULT_DELAY_NS
        self.speaking = False
        self.interrupt_count = 0
        self.microphone_ns = 0  # when the last chunk came
        self.audio_problem = ""
        self.service_problem = ""

    def setup(self) -> None:
        """Load the voice activity detector."""
        self.detector = UserSpeechDetector()
        self.barge_in = BargeInPolicy()

    def start(self) -> None:
        """Open the topics."""
        self.detector.reset()
        self.speaking_pub = self.create_publisher(Bool, "person_speaking", 10)
        self.interrupt_client = self.create_client(Trigger, "interrupt")
        self.create_subscription(AudioChunkMsg, "audio", self.on_face_audio, conversions.AUDIO_QOS)
        self.create_subscription(AudioChunkMsg, "microphone", self.on_microphone, conversions.AUDIO_QOS)
        subscribe_presentation_delay(self, self.on_delay)
        self.create_timer(PUBLISH_PERIOD_S, self.publish_speaking)

    def stop(self) -> None:
        """Destroy the service client."""
        self.destroy_client(self.interrupt_client)

    def on_delay(self, delay_ns: int) -> None:
        """Apply a new presentation delay."""
        self.delay_ns = delay_ns

    def on_face_audio(self, msg: AudioChunkMsg) -> None:
        """Pass on the audio that the face will play."""
        self.detector.playback.push(conversions.audio_chunk(msg), self.delay_ns, self.now_ns())

    def on_microphone(self, msg: AudioChunkMsg) -> None:
        """Detect speech; publish a change, and interrupt the face when it is due."""
        self.microphone_ns = self.now_ns()
        try:
            self.detector.push(conversions.audio_chunk(msg))
        except AudioError as error:
            if str(error) != self.audio_problem:
                self.audio_problem = str(error)
                self.get_logger().error(self.audio_problem)
            return
        self.audio_problem = ""
        if self.detector.onset.speaking != self.speaking:
            self.publish_speaking()
        if self.params["barge_in"] and self.barge_in.should_interrupt(
            self.detector, self.params["barge_in_ms"]
        ):
            self.interrupt()

    def publish_speaking(self) -> None:
        """Publish whether a person speaks."""
        if self.now_ns() - self.microphone_ns > MICROPHONE_TIMEOUT_NS and self.detector.time_ns:
            self.detector.reset()
        self.speaking = self.detector.onset.speaking
        self.speaking_pub.publish(Bool(data=self.speaking))

    def interrupt(self) -> None:
        """Call the service that silences the face."""
        if not self.interrupt_client.service_is_ready():
            self.service_problem = "interrupt: expected the service of tts, found none: start it"
            self.get_logger().warning(self.service_problem)
            return
        self.service_problem = ""
        self.interrupt_count += 1
        self.interrupt_client.call_async(Trigger.Request()).add_done_callback(self.on_interrupted)

    def on_interrupted(self, future: Future) -> None:
        """Count the voice anew: what was detected has had its effect."""
        self.detector.onset.reset_evidence()
        response: Any = future.result()
        self.get_logger().info(f"a person speaks: {response.message}")

    def health(self) -> NodeStatus:
        """Return what is detected."""
        values: dict[str, object] = {
            "person_speaking": self.speaking,
            "interrupts": self.interrupt_count,
            "level_dbfs": f"{self.detector.level_dbfs:.0f}",
            "echo_loss_db": f"{self.detector.onset.echo_loss_db:.0f}",
            "presentation_delay_ms": f"{self.delay_ns / 1e6:.0f}",
            "bad_samples": self.detector.nonfinite_samples,
        }
        if self.audio_problem:
            return NodeStatus(ERROR, self.audio_problem, values)
        if self.now_ns() - self.microphone_ns > MICROPHONE_TIMEOUT_NS:
            return NodeStatus(
                WARN, "no microphone: start audio_capture with audio remapped to microphone", values
            )
        if self.service_problem:
            return NodeStatus(WARN, self.service_problem, values)
        return NodeStatus(message="a person speaks" if self.speaking else "nobody speaks", values=values)


def main() -> int:
    """Run the node."""
    return run(UserSpeechNode)


if __name__ == "__main__":
    sys.exit(main())
