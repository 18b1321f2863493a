"""Hears when a person speaks, and lets the face fall silent when they speak into its words."""

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

PARAMETERS = (
    Parameter(
        name="barge_in", default=True, description="interrupt the face when a person speaks", dynamic=True
    ),
    Parameter(
        name="barge_in_ms",
        default=200,
        description="of a person's voice until the face is interrupted; less is hasty, knocks make up to 150",
        low=50,
        high=500,
        dynamic=True,
    ),
    Parameter(
        name="presentation_delay",
        default=0.2,
        description="the speaker's, seconds from the sound's own time to when it is heard",
        low=0.0,
        high=5.0,
        dynamic=True,
    ),
)
QUIET_NS = NS_PER_S  # without sound for so long nobody is heard
TELL_S = 0.5  # `person_speaking` is said at least so often


class UserSpeechNode(FaceNode):
    """`microphone` and `audio` in; `person_speaking` and calls of `interrupt` out."""

    PARAMETERS = PARAMETERS

    def __init__(self) -> None:
        super().__init__("speech_detector")
        self.speaking = False
        self.interrupts = 0  # asked for
        self.heard_ns = 0  # when the microphone's last chunk came
        self.refused = ""  # sound that cannot be used
        self.missing = ""  # a service

    def setup(self) -> None:
        """Load the voice detector."""
        self.listening = UserSpeechDetector()
        self.barge_in = BargeInPolicy()

    def start(self) -> None:
        """Open the topics."""
        self.listening.reset()
        self.speaking_pub = self.create_publisher(Bool, "person_speaking", 10)
        self.interrupt_client = self.create_client(Trigger, "interrupt")
        self.create_subscription(AudioChunkMsg, "audio", self.on_face, conversions.AUDIO_QOS)
        self.create_subscription(AudioChunkMsg, "microphone", self.on_microphone, conversions.AUDIO_QOS)
        self.create_timer(TELL_S, self.tell)

    def stop(self) -> None:
        """Let go of the face's service."""
        self.destroy_client(self.interrupt_client)

    def on_face(self, msg: AudioChunkMsg) -> None:
        """Remember what the face will say."""
        delay_ns = round(self.params["presentation_delay"] * NS_PER_S)
        self.listening.playback.push(conversions.audio_chunk(msg), delay_ns, self.now_ns())

    def on_microphone(self, msg: AudioChunkMsg) -> None:
        """Hear, and act on it."""
        self.heard_ns = self.now_ns()
        try:
            self.listening.push(conversions.audio_chunk(msg))
        except AudioError as error:
            if str(error) != self.refused:
                self.refused = str(error)
                self.get_logger().error(self.refused)
            return
        self.refused = ""
        if self.listening.onset.speaking != self.speaking:
            self.tell()
        if self.params["barge_in"] and self.barge_in.should_interrupt(
            self.listening, self.params["barge_in_ms"]
        ):
            self.interrupt()

    def tell(self) -> None:
        """Say whether a person speaks."""
        if self.now_ns() - self.heard_ns > QUIET_NS and self.listening.time_ns:
            self.listening.reset()
        self.speaking = self.listening.onset.speaking
        self.speaking_pub.publish(Bool(data=self.speaking))

    def interrupt(self) -> None:
        """Ask the face to fall silent."""
        if not self.interrupt_client.service_is_ready():
            self.missing = "interrupt: expected the service of tts, found none: start it"
            self.get_logger().warning(self.missing)
            return
        self.missing = ""
        self.interrupts += 1
        self.interrupt_client.call_async(Trigger.Request()).add_done_callback(self.on_hushed)

    def on_hushed(self, done: Future) -> None:
        """Count anew: what was heard has been answered."""
        self.listening.onset.reset_evidence()
        answer: Any = done.result()
        self.get_logger().info(f"a person speaks: {answer.message}")

    def health(self) -> NodeStatus:
        """What is heard."""
        values: dict[str, object] = {
            "person_speaking": self.speaking,
            "interrupts": self.interrupts,
            "level_dbfs": f"{self.listening.level_dbfs:.0f}",
            "echo_loss_db": f"{self.listening.onset.echo_loss_db:.0f}",
            "bad_samples": self.listening.nonfinite_samples,
        }
        if self.refused:
            return NodeStatus(ERROR, self.refused, values)
        if self.now_ns() - self.heard_ns > QUIET_NS:
            return NodeStatus(
                WARN, "no microphone: start audio_capture with audio remapped to microphone", values
            )
        if self.missing:
            return NodeStatus(WARN, self.missing, values)
        return NodeStatus(message="a person speaks" if self.speaking else "nobody speaks", values=values)


def main() -> int:
    """Run the node."""
    return run(UserSpeechNode)


if __name__ == "__main__":
    sys.exit(main())
