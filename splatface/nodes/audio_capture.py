"""Sound into the graph: a microphone, or a file played in real time."""

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.guard_condition import GuardCondition
from splatface_msgs.msg import AudioChunk as AudioChunkMsg
from std_srvs.srv import Trigger

from splatface.models.audio.audio_file import check_sound, endless_chunks
from splatface.models.audio.processing_chain import (
    ECHO_CHOICES,
    NOISE_CHOICES,
    FarEnd,
    ProcessingChain,
    choose_filters,
)
from splatface.models.audio.reconnecting_device import ReconnectingMicrophone
from splatface.models.audio.sound_devices import INPUT, TimestampedChunker
from splatface.models.audio.vad import SILENCE_DBFS, level_dbfs
from splatface.models.errors import AudioError
from splatface.models.messages import NS_PER_S, SAMPLE_RATE, AudioChunk
from splatface.nodes import conversions
from splatface.nodes.face_node import ERROR, WARN, FaceNode, NodeStatus, run
from splatface.nodes.parameters import Parameter

PARAMETERS = (
    Parameter(name="source", default="microphone", description="microphone, or the path of a sound file"),
    Parameter(
        name="device",
        default="",
        description="microphone: its number or a part of its name; empty for the default",
    ),
    Parameter(name="loop", default=False, description="play the file again and again, a second apart"),
    Parameter(name="chunk_ms", default=20, description="sound per message, ms", low=5, high=100),
    Parameter(
        name="echo",
        default="none",
        description="take our own voice out: none or webrtc; remap far_end to what the speaker plays",
        choices=ECHO_CHOICES,
    ),
    Parameter(
        name="noise",
        default="none",
        description="take noise out: none or webrtc",
        choices=NOISE_CHOICES,
    ),
    Parameter(
        name="presentation_delay",
        default=0.2,
        description="echo: the speaker's, seconds from the sound's own time to when it is played",
        low=0.0,
        high=5.0,
        dynamic=True,
    ),
)
MICROPHONE = "microphone"
EARLY_NS = 1_000_000  # a timer may fire this much before the chunk is complete: else it would wait a period
BEHIND_NS = NS_PER_S  # further behind than this, the player does not hurry after: the computer slept
WAIT_MS = 5000  # a file begins when somebody listens, or after this long: its first word is not lost
QUIET_NS = 300_000_000  # a microphone that is this late is replaced by silence


class AudioCapture(FaceNode):
    """Publishes `audio`; serves `interrupt`, which raises the utterance and ends what a file was saying."""

    PARAMETERS = PARAMETERS

    def __init__(self) -> None:
        super().__init__("audio_capture")
        self.utterance = 0
        self.end_ns = 0  # of the last chunk
        self.heard_ns = 0  # when a microphone last gave sound
        self.level = SILENCE_DBFS
        self.problem = ""
        self.microphone: ReconnectingMicrophone | None = None
        self.woken: GuardCondition | None = None
        self.far_end = FarEnd(self._delay_ns())
        self.played_ns = 0  # when something to play last came

    def setup(self) -> None:
        """Look at the file before anything starts."""
        self.chunk_ns = self.params["chunk_ms"] * NS_PER_S // 1000
        self.silence = np.zeros(self.params["chunk_ms"] * SAMPLE_RATE // 1000, np.float32)
        if self.params["source"] == "":
            raise AudioError("source: expected 'microphone' or the path of a sound file, found nothing")
        if self.params["source"] != MICROPHONE:
            check_sound(self.params["source"])
        self.chosen = choose_filters(self.params["echo"], self.params["noise"], self.far_end)
        if self.chosen.problem:
            self.get_logger().warning(self.chosen.problem)

    def start(self) -> None:
        """Open the topic and begin to play or to listen."""
        self.audio = self.create_publisher(AudioChunkMsg, "audio", conversions.AUDIO_QOS)
        self.create_service(Trigger, "interrupt", self.on_interrupt)
        if self.chosen.echo:
            self.create_subscription(AudioChunkMsg, "far_end", self.on_far_end, conversions.AUDIO_QOS)
        self.cleaning = ProcessingChain(self.chosen.filters, len(self.silence))
        self.end_ns = self.now_ns()
        self.utterance = conversions.new_utterance(self.utterance, self.end_ns)
        period_s = self.params["chunk_ms"] / 1000
        if self.params["source"] == MICROPHONE:
            self._listen()
            self.create_timer(period_s, self.fill_gap_with_silence)
        else:
            self.pieces = self._wait_for_subscriber()
            self.create_timer(period_s / 2, self.play_due)
        self.get_logger().info(f"source: {self.params['source']}")

    def stop(self) -> None:
        """Give the microphone back."""
        if self.microphone is not None:
            self.microphone.close()
            self.microphone = None
        if self.woken is not None:
            self.destroy_guard_condition(self.woken)
            self.woken = None

    def on_interrupt(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """End the utterance: later chunks carry a higher number."""
        self.utterance += 1
        if self.params["source"] != MICROPHONE:
            self.pieces = self._after_interrupt()
        response.success, response.message = True, f"utterance {self.utterance}"
        return response

    def on_far_end(self, msg: AudioChunkMsg) -> None:
        """Remember what the speaker will play."""
        self.far_end.push(conversions.audio_chunk(msg))
        self.played_ns = self.now_ns()

    def parameter_changed(self, name: str, value: Any) -> None:
        """Take over a new delay."""
        super().parameter_changed(name, value)
        self.far_end.delay_ns = self._delay_ns()

    def _delay_ns(self) -> int:
        return round(self.params["presentation_delay"] * NS_PER_S)

    # a file

    def _pieces(self) -> Iterator[NDArray[np.float32]]:
        return endless_chunks(self.params["source"], self.params["chunk_ms"], self.params["loop"])

    def _wait_for_subscriber(self) -> Iterator[NDArray[np.float32]]:
        for _ in range(WAIT_MS // self.params["chunk_ms"]):
            if self.audio.get_subscription_count() > 0:
                break
            yield self.silence
        yield from self._pieces()

    def _after_interrupt(self) -> Iterator[NDArray[np.float32]]:
        for _ in range(1000 // self.params["chunk_ms"]):
            yield self.silence
        if self.params["loop"]:
            yield from self._pieces()
        while True:
            yield self.silence

    def play_due(self) -> None:
        """Publish every chunk whose last sample has now been heard."""
        now_ns = self.now_ns()
        if abs(now_ns - self.end_ns) > BEHIND_NS + self.chunk_ns:
            self.get_logger().warning(f"clock jumped by {(now_ns - self.end_ns) / NS_PER_S:.1f} s")
            self.end_ns = now_ns - self.chunk_ns
        # Each chunk begins where the last one ended, to the nanosecond: no drift however long it plays.
        while self.end_ns + self.chunk_ns <= now_ns + EARLY_NS:
            try:
                samples = next(self.pieces)
            except AudioError as error:
                self.get_logger().fatal(str(error))
                self.finish(1)
                return
            self.publish(AudioChunk(samples, SAMPLE_RATE, self.end_ns, self.utterance))

    # a microphone

    def _listen(self) -> None:
        woken = self.create_guard_condition(self.publish_captured)
        self.woken = woken
        self.opened = 0
        self.stamped = TimestampedChunker(self.params["chunk_ms"])
        self.microphone = ReconnectingMicrophone(self.params["device"], self.now_ns, woken.trigger)

    def publish_captured(self) -> None:
        """Publish what the microphone heard."""
        if self.microphone is None:
            return
        if self.microphone.opened != self.opened:
            self.opened = self.microphone.opened
            self.stamped = TimestampedChunker(self.params["chunk_ms"])
            self.get_logger().info(f"listening to {self.microphone.name}")
        self._follow_clock()
        for block in self.microphone.read():
            for chunk in self.stamped.push(block, self.utterance):
                self.heard_ns = self.now_ns()
                # The first sound may reach back into the silence that stood in for it.
                if chunk.start_ns > self.end_ns - self.chunk_ns // 2:
                    self.publish(chunk)

    def fill_gap_with_silence(self) -> None:
        """Publish silence while the microphone says nothing, so that the face lives on."""
        problem = self.microphone.problem if self.microphone is not None else ""
        if problem not in (self.problem, "", INPUT.opening):
            self.get_logger().warning(f"{problem} (silence meanwhile)")
        self.problem = problem
        now_ns = self._follow_clock()
        if now_ns - self.heard_ns < QUIET_NS:
            return
        self.end_ns = max(self.end_ns, now_ns - QUIET_NS - 2 * self.chunk_ns)
        while self.end_ns + self.chunk_ns <= now_ns + EARLY_NS:
            self.publish(AudioChunk(self.silence, SAMPLE_RATE, self.end_ns, self.utterance))

    def _follow_clock(self) -> int:
        now_ns = self.now_ns()
        if self.end_ns > now_ns + BEHIND_NS:  # it was set back: what was published lies in the future now
            self.end_ns = self.heard_ns = 0
        return now_ns

    def publish(self, chunk: AudioChunk) -> None:
        """Publish one chunk, cleaned, and remember where it ended."""
        self.end_ns = chunk.start_ns + self.chunk_ns
        for clean in self.cleaning.push(chunk) if self.chosen.filters else [chunk]:
            self.level = level_dbfs(clean.samples)
            self.audio.publish(conversions.audio_chunk_msg(clean))

    def health(self) -> NodeStatus:
        """Is there sound, and from where."""
        values: dict[str, object] = {
            "source": self.params["source"],
            "utterance": self.utterance,
            "level_dbfs": f"{self.level:.0f}",
            "cleaned_late_ms": f"{self.cleaning.delay_samples * 1000 / SAMPLE_RATE:.0f}",
            "bad_samples": self.cleaning.nonfinite_samples,
        }
        if self.chosen.echo:
            values["echo_loss_db"] = f"{self.chosen.echo.erle_db:.0f}"
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
        problem = self.chosen.problem or self._far_end_problem()
        return NodeStatus(WARN, problem, values) if problem else NodeStatus(message=message, values=values)

    def _far_end_problem(self) -> str:
        if not self.chosen.echo:
            return ""
        if self.far_end.refused:
            return "echo: expected far_end at 16000 Hz, found another rate: resample it before"
        if self.now_ns() - self.played_ns > BEHIND_NS:
            return (
                "echo: expected what the speaker plays on far_end, found none: remap it to the face's audio"
            )
        return ""


def main() -> int:
    """Run the node."""
    return run(AudioCapture)


if __name__ == "__main__":
    sys.exit(main())
