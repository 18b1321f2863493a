# SPDX-License-Identifier: Apache-2.0
"""Node that plays `audio` in sync with the images: each sample at stamp + presentation_delay."""

from splatface_msgs.msg import AudioChunk as AudioChunkMsg

from splatface.models.audio.playback import Playback
from splatface.models.audio.reconnecting_device import ReconnectingLoudspeaker
from splatface.models.audio.sound_devices import OUTPUT, Fill
from splatface.models.messages import NS_PER_S
from splatface.nodes import conversions
from splatface.nodes.face_node import ERROR, OK, WARN, FaceNode, LatencyStats, NodeStatus, run
from splatface.nodes.parameters import Parameter
from splatface.nodes.presentation_delay import DEFAULT_DELAY_NS, subscribe_presentation_delay

PARAMETERS = (
    Parameter(
        name="device", default="", description="its number or a part of its name; empty for the default"
    ),
    Parameter(
        name="latency_ms",
        default=100,
        description="audio buffered by the device: more survives a busy processor; below presentation_delay",
        low=5,
        high=500,
    ),
)
AUDIO_TIMEOUT_NS = NS_PER_S // 2  # without a chunk for this long there is no audio to play


class AudioPlayer(FaceNode):
    """`audio` in, sound out."""

    PARAMETERS = PARAMETERS
    OLD_NAME = "speaker"

    def __init__(self) -> None:
        super().__init__("audio_player")
        self.loudspeaker: ReconnectingLoudspeaker | None = None
        self.device_problem = ""
        self.opened_count = 0
        self.chunk_ns = -AUDIO_TIMEOUT_NS  # when the last chunk came
        self.early_ms = LatencyStats()  # from a chunk's arrival to when it is played
        self.offset_ms = LatencyStats()
        self.playback = Playback(DEFAULT_DELAY_NS)

    def start(self) -> None:
        """Open the device in the background, and subscribe."""
        self.loudspeaker = ReconnectingLoudspeaker(
            self.params["device"], self.params["latency_ms"] / 1e3, self.on_open
        )
        self.create_subscription(AudioChunkMsg, "audio", self.on_audio, conversions.AUDIO_QOS)
        subscribe_presentation_delay(self, self.on_delay)
        self.create_timer(0.25, self.check_device)

    def stop(self) -> None:
        """Close the device."""
        if self.loudspeaker is not None:
            self.loudspeaker.close()
            self.loudspeaker = None

    def on_open(self, rate_hz: int) -> Fill:
        """Return the function that fills a device that was just opened; called in the device's thread."""
        playback = self.playback
        playback.restart(rate_hz)
        return lambda count, ahead_s: playback.fill(count, self.now_ns() + round(ahead_s * NS_PER_S))

    def on_audio(self, msg: AudioChunkMsg) -> None:
        """Queue a chunk; after an interruption, discard what the device has buffered."""
        chunk, playback = conversions.audio_chunk(msg), self.playback
        before = (playback.utterance, playback.flushes)
        playback.push(chunk)
        interrupted = before != (playback.utterance, playback.flushes)
        if interrupted and self.loudspeaker is not None and self.chunk_ns > 0:
            self.loudspeaker.flush()
        self.chunk_ns = self.now_ns()
        self.early_ms.add((chunk.start_ns + self.playback.delay_ns - self.chunk_ns) / 1e6)

    def on_delay(self, delay_ns: int) -> None:
        """Apply a new presentation delay."""
        self.playback.delay_ns = delay_ns

    def check_device(self) -> None:
        """Log when the device is opened or lost."""
        loudspeaker = self.loudspeaker
        if loudspeaker is None:
            return
        if loudspeaker.opened != self.opened_count:
            self.opened_count = loudspeaker.opened
            self.get_logger().info(f"playing on {loudspeaker.name}")
        if loudspeaker.problem not in (self.device_problem, "", OUTPUT.opening):
            self.get_logger().warning(f"{loudspeaker.problem} (no sound meanwhile)")
        self.device_problem = loudspeaker.problem
        self.offset_ms.add(self.playback.offset_ms)

    def health(self) -> NodeStatus:
        """Return the state of the device and its timing."""
        loudspeaker, playback = self.loudspeaker, self.playback
        if loudspeaker is None:
            return NodeStatus(message="not active")
        values: dict[str, object] = {
            "device": loudspeaker.name,
            "opened": loudspeaker.opened,
            "device_ms": f"{loudspeaker.latency_ms:.1f}",
            "presentation_delay_ms": f"{playback.delay_ns / 1e6:.0f}",
            "utterance": playback.utterance,
            "underruns": playback.underruns,
            "device_underflows": loudspeaker.underflows,
            "flushes": playback.flushes,
            "jumps": playback.jumps,
            "drift_ppm": f"{playback.drift_ppm:.0f}",
            **self.offset_ms.summary("offset_ms"),
            **self.early_ms.summary("early_ms"),
        }
        if loudspeaker.problem:
            level = WARN if loudspeaker.problem == OUTPUT.opening else ERROR
            return NodeStatus(level, f"{loudspeaker.problem} (no sound meanwhile)", values)
        if playback.refused:
            return NodeStatus(
                ERROR, "expected audio at 16000 Hz, found another rate: resample it before", values
            )
        if self.now_ns() - self.chunk_ns > AUDIO_TIMEOUT_NS:
            return NodeStatus(WARN, "no audio: start tts or audio_capture", values)
        return NodeStatus(OK, "playing", values)


def main() -> int:
    """Run the node."""
    return run(AudioPlayer)


if __name__ == "__main__":
    raise SystemExit(main())
