"""Plays `audio` on this machine, in step with the picture: each sample at its stamp + presentation_delay."""

from typing import Any

from splatface_msgs.msg import AudioChunk as AudioChunkMsg

from splatface.models.audio.playback import Playback
from splatface.models.audio.reconnecting_device import ReconnectingLoudspeaker
from splatface.models.audio.sound_devices import OUTPUT, Fill
from splatface.models.messages import NS_PER_S
from splatface.nodes import conversions
from splatface.nodes.face_node import ERROR, OK, WARN, FaceNode, LatencyStats, NodeStatus, run
from splatface.nodes.parameters import Parameter

PARAMETERS = (
    Parameter(
        name="device", default="", description="its number or a part of its name; empty for the default"
    ),
    Parameter(
        name="presentation_delay",
        default=0.2,
        description="seconds from the sound's own time to when it is heard; the display's must be the same",
        low=0.0,
        high=5.0,
        dynamic=True,
    ),
    Parameter(
        name="latency_ms",
        default=100,
        description="sound held by the device: more survives a busy processor; below presentation_delay",
        low=5,
        high=500,
    ),
)
QUIET_NS = NS_PER_S // 2  # without a chunk for so long there is no sound to be played


class AudioPlayer(FaceNode):
    """`audio` in, sound out."""

    PARAMETERS = PARAMETERS

    def __init__(self) -> None:
        super().__init__("audio_player")
        self.speaker: ReconnectingLoudspeaker | None = None
        self.problem = ""
        self.opened = 0
        self.chunk_ns = -QUIET_NS  # when the last one came
        self.early_ms = LatencyStats()  # from a chunk's arrival to when it is to be heard
        self.offset_ms = LatencyStats()
        self.playback = Playback(self._delay_ns())

    def start(self) -> None:
        """Open the device in the background and listen."""
        self.speaker = ReconnectingLoudspeaker(
            self.params["device"], self.params["latency_ms"] / 1e3, self.opening
        )
        self.create_subscription(AudioChunkMsg, "audio", self.on_audio, conversions.AUDIO_QOS)
        self.create_timer(0.25, self.watch)

    def stop(self) -> None:
        """Give the device back."""
        if self.speaker is not None:
            self.speaker.close()
            self.speaker = None

    def opening(self, rate_hz: int) -> Fill:
        """What fills a device that was just opened; called in the device's thread."""
        playback = self.playback
        playback.restart(rate_hz)
        return lambda count, ahead_s: playback.fill(count, self.now_ns() + round(ahead_s * NS_PER_S))

    def on_audio(self, msg: AudioChunkMsg) -> None:
        """Keep a chunk until its moment; what the device holds of an utterance that is over is void."""
        chunk, playback = conversions.audio_chunk(msg), self.playback
        before = (playback.utterance, playback.flushes)
        playback.push(chunk)
        interrupted = before != (playback.utterance, playback.flushes)
        if interrupted and self.speaker is not None and self.chunk_ns > 0:
            self.speaker.flush()
        self.chunk_ns = self.now_ns()
        self.early_ms.add((chunk.start_ns + self.playback.delay_ns - self.chunk_ns) / 1e6)

    def watch(self) -> None:
        """Say when the device comes and goes."""
        speaker = self.speaker
        if speaker is None:
            return
        if speaker.opened != self.opened:
            self.opened = speaker.opened
            self.get_logger().info(f"playing on {speaker.name}")
        if speaker.problem not in (self.problem, "", OUTPUT.opening):
            self.get_logger().warning(f"{speaker.problem} (no sound meanwhile)")
        self.problem = speaker.problem
        self.offset_ms.add(self.playback.offset_ms)

    def parameter_changed(self, name: str, value: Any) -> None:
        """Take over a new delay."""
        super().parameter_changed(name, value)
        self.playback.delay_ns = self._delay_ns()

    def health(self) -> NodeStatus:
        """Whether sound leaves in time."""
        speaker, playback = self.speaker, self.playback
        if speaker is None:
            return NodeStatus(message="not active")
        values: dict[str, object] = {
            "device": speaker.name,
            "opened": speaker.opened,
            "device_ms": f"{speaker.latency_ms:.1f}",
            "utterance": playback.utterance,
            "underruns": playback.underruns,
            "device_underflows": speaker.underflows,
            "flushes": playback.flushes,
            "jumps": playback.jumps,
            "drift_ppm": f"{playback.drift_ppm:.0f}",
            **self.offset_ms.summary("offset_ms"),
            **self.early_ms.summary("early_ms"),
        }
        if speaker.problem:
            level = WARN if speaker.problem == OUTPUT.opening else ERROR
            return NodeStatus(level, f"{speaker.problem} (no sound meanwhile)", values)
        if playback.refused:
            return NodeStatus(
                ERROR, "expected sound at 16000 Hz, found another rate: resample it before", values
            )
        if self.now_ns() - self.chunk_ns > QUIET_NS:
            return NodeStatus(WARN, "no audio: start tts or audio_capture", values)
        return NodeStatus(OK, "playing", values)

    def _delay_ns(self) -> int:
        return round(self.params["presentation_delay"] * NS_PER_S)


def main() -> int:
    """Run the node."""
    return run(AudioPlayer)


if __name__ == "__main__":
    raise SystemExit(main())
