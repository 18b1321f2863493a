# SPDX-License-Identifier: Apache-2.0
"""Node that publishes audio: of a microphone, or of a sound file in real time."""

import sys

from rclpy.guard_condition import GuardCondition
from splatface_msgs.msg import AudioChunk as AudioChunkMsg
from std_srvs.srv import Trigger

from splatface.models.audio.audio_file import check_sound
from splatface.models.audio.capture_scheduler import FileScheduler, MicrophoneScheduler
from splatface.models.audio.processing_chain import (
    ECHO_CHOICES,
    NOISE_CHOICES,
    FarEnd,
    ProcessingChain,
    choose_filters,
)
from splatface.models.audio.reconnecting_device import ReconnectingMicrophone
from splatface.models.audio.sound_devices import INPUT
from splatface.models.audio.vad import SILENCE_DBFS, level_dbfs
from splatface.models.errors import AudioError
from splatface.models.messages import NS_PER_S, SAMPLE_RATE, AudioChunk, next_utterance
from splatface.nodes import conversions
from splatface.nodes.face_node import ERROR, WARN, FaceNode, NodeStatus, run
from splatface.nodes.parameters import Parameter
from splatface.nodes.presentation_delay import DEFAULT_DELAY_NS, subscribe_presentation_delay

PARAMETERS = (
    Parameter(name="source", default="microphone", description="microphone, or the path of a sound file"),
    Parameter(
        name="device",
        default="",
        description="microphone: its number or a part of its name; empty for the default",
    ),
    Parameter(name="loop", default=False, description="repeat the file, with a second of silence between"),
    Parameter(name="chunk_ms", default=20, description="audio per message, ms", low=5, high=100),
    Parameter(
        name="echo_cancellation",
        default="none",
        description="remove the face's own voice: none or webrtc; remap far_end to the audio that is played",
        choices=ECHO_CHOICES,
        old_name="echo",
    ),
    Parameter(
        name="noise_suppression",
        default="none",
        description="remove noise: none or webrtc",
        choices=NOISE_CHOICES,
        old_name="noise",
    ),
)
MICROPHONE = "microphone"
FAR_END_TIMEOUT_NS = NS_PER_S


class AudioCapture(FaceNode):
    """Publishes `audio`; serves `interrupt`, which raises the utterance number and silences a file."""

    PARAMETERS = PARAMETERS

    def __init__(self) -> None:
        super().__init__("audio_capture")
        self.utterance = 0
        self.level_dbfs = SILENCE_DBFS
        self.device_problem = ""
        self.opened_count = 0
        self.microphone: ReconnectingMicrophone | None = None
        self.captured_condition: GuardCondition | None = None
        self.far_end = FarEnd(DEFAULT_DELAY_NS)
        self.far_end_ns = 0  # when the last chunk of the far end came

    def setup(self) -> None:
        """Check the file and choose the filters."""
        source, chunk_ms = self.params["source"], self.params["chunk_ms"]
        if source == "":
            raise AudioError("source: expected 'microphone' or the path of a sound file, found nothing")
        if source != MICROPHONE:
            check_sound(source)
        self.file_scheduler = FileScheduler(source, chunk_ms, self.params["loop"])
        self.microphone_scheduler = MicrophoneScheduler(chunk_ms)
        self.selection = choose_filters(
            self.params["echo_cancellation"], self.params["noise_suppression"], self.far_end
        )
        if self.selection.problem:
            self.get_logger().warning(self.selection.problem)

    def start(self) -> None:
        """Open the topics and start the file or the microphone."""
        chunk_ms = self.params["chunk_ms"]
        self.audio_pub = self.create_publisher(AudioChunkMsg, "audio", conversions.AUDIO_QOS)
        self.create_service(Trigger, "interrupt", self.on_interrupt)
        if self.selection.echo:
            self.create_subscription(AudioChunkMsg, "far_end", self.on_far_end, conversions.AUDIO_QOS)
            subscribe_presentation_delay(self, self.on_delay)
        self.processing_chain = ProcessingChain(self.selection.filters, chunk_ms * SAMPLE_RATE // 1000)
        self.utterance = next_utterance(self.utterance, self.now_ns())
        if self.params["source"] == MICROPHONE:
            self.microphone_scheduler.start(self.now_ns())
            self.captured_condition = self.create_guard_condition(self.publish_captured)
            self.microphone = ReconnectingMicrophone(
                self.params["device"], self.now_ns, self.captured_condition.trigger
            )
            self.create_timer(chunk_ms / 1000, self.fill_gap_with_silence)
        else:
            self.file_scheduler.start(self.now_ns())
            self.create_timer(chunk_ms / 2000, self.publish_file)
        self.get_logger().info(f"source: {self.params['source']}")

    def stop(self) -> None:
        """Close the microphone."""
        if self.microphone is not None:
            self.microphone.close()
            self.microphone = None
        if self.captured_condition is not None:
            self.destroy_guard_condition(self.captured_condition)
            self.captured_condition = None

    def on_interrupt(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """End the utterance: later chunks carry a higher number."""
        self.utterance += 1
        self.file_scheduler.interrupt()
        response.success, response.message = True, f"utterance {self.utterance}"
        return response

    def on_far_end(self, msg: AudioChunkMsg) -> None:
        """Pass on audio that the loudspeaker will play."""
        self.far_end.push(conversions.audio_chunk(msg))
        self.far_end_ns = self.now_ns()

    def on_delay(self, delay_ns: int) -> None:
        """Apply the presentation delay to the far end."""
        self.far_end.delay_ns = delay_ns

    def publish_file(self) -> None:
        """Publish every chunk of the file that is due."""
        now_ns = self.now_ns()
        jump_s = self.file_scheduler.follow_clock(now_ns)
        if jump_s:
            self.get_logger().warning(f"clock jumped by {jump_s:.1f} s")
        has_subscriber = self.audio_pub.get_subscription_count() > 0
        try:
            for chunk in self.file_scheduler.due(now_ns, self.utterance, has_subscriber):
                self.publish(chunk)
        except AudioError as error:
            self.get_logger().fatal(str(error))
            self.finish(1)

    def publish_captured(self) -> None:
        """Publish what the microphone captured."""
        if self.microphone is None:
            return
        if self.microphone.opened != self.opened_count:
            self.opened_count = self.microphone.opened
            self.microphone_scheduler.restart_device()
            self.get_logger().info(f"listening to {self.microphone.name}")
        for block in self.microphone.read():
            for chunk in self.microphone_scheduler.push(block, self.utterance, self.now_ns()):
                self.publish(chunk)

    def fill_gap_with_silence(self) -> None:
        """Publish silence while the microphone delivers nothing, so that the face stays alive."""
        problem = self.microphone.problem if self.microphone is not None else ""
        if problem not in (self.device_problem, "", INPUT.opening):
            self.get_logger().warning(f"{problem} (silence meanwhile)")
        self.device_problem = problem
        for chunk in self.microphone_scheduler.silence_due(self.now_ns(), self.utterance):
            self.publish(chunk)

    def publish(self, chunk: AudioChunk) -> None:
        """Filter and publish one chunk."""
        for filtered in self.processing_chain.push(chunk) if self.selection.filters else [chunk]:
            self.level_dbfs = level_dbfs(filtered.samples)
            self.audio_pub.publish(conversions.audio_chunk_msg(filtered))

    def health(self) -> NodeStatus:
        """Return the source, its level and its problems."""
        values: dict[str, object] = {
            "source": self.params["source"],
            "utterance": self.utterance,
            "level_dbfs": f"{self.level_dbfs:.0f}",
            "cleaned_late_ms": f"{self.processing_chain.delay_samples * 1000 / SAMPLE_RATE:.0f}",
            "bad_samples": self.processing_chain.nonfinite_samples,
        }
        if self.selection.echo:
            values["echo_loss_db"] = f"{self.selection.echo.erle_db:.0f}"
        message = "playing"
        if self.microphone is not None:
            message = "listening"
            values |= {
                "device": self.microphone.name,
                "opened": self.microphone.opened,
                "overflows": self.microphone.overflows,
            }
            problem = self.microphone.problem
            if problem:
                level = WARN if problem == INPUT.opening else ERROR
                return NodeStatus(level=level, message=f"{problem} (silence meanwhile)", values=values)
        problem = self.selection.problem or self._far_end_problem()
        return NodeStatus(WARN, problem, values) if problem else NodeStatus(message=message, values=values)

    def _far_end_problem(self) -> str:
        if not self.selection.echo:
            return ""
        if self.far_end.refused:
            return "echo: expected far_end at 16000 Hz, found another rate: resample it before"
        if self.now_ns() - self.far_end_ns > FAR_END_TIMEOUT_NS:
            return (
                "echo: expected the audio that is played on far_end, found none: remap it to the face's audio"
            )
        return ""


def main() -> int:
    """Run the node."""
    return run(AudioCapture)


if __name__ == "__main__":
    sys.exit(main())
