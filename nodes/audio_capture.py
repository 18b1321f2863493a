"""Hears: a microphone or a sound file becomes `audio`, stamped with the time of the first sample."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from splatface.models.audio.files import SAMPLE_RATE, endless_chunks
from splatface.models.audio.microphone import Microphone, SampleClock
from splatface.models.errors import AudioError
from splatface.models.values import NS_PER_S, AudioChunk
from splatface.nodes import wire
from splatface.nodes.base import ERROR, OK, WARN, FaceNode, Health, run
from splatface.nodes.parameters import Parameter
from splatface_msgs.msg import AudioChunk as AudioChunkMsg

PARAMETERS = (
    Parameter(name="source", default="microphone", description="microphone, or the path of a sound file"),
    Parameter(name="device", default="default", description="microphone by index or part of its name"),
    Parameter(name="loop", default=False, description="play a file again and again, with a second between"),
    Parameter(name="chunk_ms", default=20, description="length of a chunk", low=5, high=200),
)
# A microphone that is silent for longer than this was unplugged: a working one sends silence.
LOST_S = 1.0
RETRY_S = 1.0

Array = NDArray[np.float32]


class AudioCapture(FaceNode):
    """A microphone or a file in; `audio` out, 16 kHz mono, without gaps even in silence."""

    PARAMETERS = PARAMETERS

    def __init__(self) -> None:
        super().__init__("audio_capture")
        self.file: Iterator[Array] | None = None
        self.microphone: Microphone | None = None
        self.rest: Array = np.zeros(0, np.float32)  # heard, not yet a whole chunk
        self.trouble = ""
        self.sent = 0
        self.lost = 0

    def setup(self) -> None:
        """Look at the file, or open the microphone; without one the node goes on and keeps trying."""
        self.chunk_samples = self.params["chunk_ms"] * SAMPLE_RATE // 1000
        source = self.params["source"]
        if source == "microphone":
            self.open_microphone()
            return
        path = Path(source).expanduser()
        next(endless_chunks(path, False, self.chunk_samples))  # a missing file is an error now, not later
        self.file = endless_chunks(path, self.params["loop"], self.chunk_samples)

    def start(self) -> None:
        """Begin to listen."""
        self.chunks = self.create_publisher(AudioChunkMsg, "audio", wire.SOUND)
        self.begin_line(self.now_ns())
        self.retry_at = time.monotonic() + RETRY_S
        self.heard_at = time.monotonic()
        self.create_timer(0.005, self.listen)

    def listen(self) -> None:
        """Send what has been heard up to now."""
        if self.params["source"] != "microphone":
            self.send_paced()
        elif self.microphone is not None:
            self.send_heard()
        else:
            self.send_paced()
            if time.monotonic() > self.retry_at:
                self.open_microphone()
                self.retry_at = time.monotonic() + RETRY_S

    def send_paced(self) -> None:
        """Send the file, or silence, in real time: chunk n when its last sample would have been heard."""
        now_ns = self.now_ns()
        if now_ns < self.line_ns or now_ns - self.time_of(self.line_samples) > NS_PER_S:
            self.begin_line(now_ns)  # the clock was set, or the machine slept
        while self.time_of(self.line_samples + self.chunk_samples) <= now_ns:
            self.send(self.next_chunk(), self.time_of(self.line_samples))
            self.line_samples += self.chunk_samples

    def send_heard(self) -> None:
        """Send what the microphone has heard."""
        assert self.microphone is not None
        for block in self.microphone.read():
            self.heard_at = time.monotonic()
            self.rest = np.concatenate([self.rest, block.samples])
            self.arrived += len(block.samples)
            origin_ns = self.sample_clock.origin_ns(block.device_samples, block.arrival_ns)
            while len(self.rest) >= self.chunk_samples:
                begun = origin_ns + (self.arrived - len(self.rest)) * NS_PER_S // SAMPLE_RATE
                self.send(self.rest[: self.chunk_samples], begun)
                self.rest = self.rest[self.chunk_samples :]
        if time.monotonic() - self.heard_at > LOST_S:
            self.lose_microphone()

    def send(self, samples: Array, start_ns: int) -> None:
        """Publish one chunk."""
        chunk = AudioChunk(samples=samples, sample_rate=SAMPLE_RATE, start_ns=start_ns)
        self.chunks.publish(wire.audio_chunk_msg(chunk))
        self.sent += 1

    def next_chunk(self) -> Array:
        """The file's next samples, or silence."""
        if self.file is not None:
            try:
                return next(self.file)
            except AudioError as error:  # the file went away between two rounds of the loop
                self.trouble, self.file = str(error), None
                self.get_logger().error(self.trouble)
        return np.zeros(self.chunk_samples, np.float32)

    def begin_line(self, now_ns: int) -> None:
        """Start a line of evenly spaced samples here."""
        self.line_ns, self.line_samples = now_ns, 0

    def time_of(self, sample: int) -> int:
        """When a sample of the line is heard; without drift, however long it runs."""
        return self.line_ns + sample * NS_PER_S // SAMPLE_RATE

    def open_microphone(self) -> None:
        """Try to listen to the microphone."""
        try:
            self.microphone = Microphone(self.params["device"], self.now_ns)
        except AudioError as error:
            if str(error) != self.trouble:
                self.get_logger().error(f"{error}; silence until it is there")
            self.trouble = str(error)
            return
        self.trouble = ""
        self.heard_at = time.monotonic() + LOST_S  # the first block takes its time
        self.sample_clock, self.arrived = SampleClock(self.microphone.rate_hz), 0
        self.rest = np.zeros(0, np.float32)
        self.get_logger().info(f"listening to {self.microphone.name} at {self.microphone.rate_hz} Hz")

    def lose_microphone(self) -> None:
        """The microphone went away: silence, until it is back."""
        self.release()
        self.lost += 1
        self.trouble = "microphone: it no longer sends anything, was it unplugged?"
        self.get_logger().error(f"{self.trouble} Silence until it is back")
        self.begin_line(self.now_ns())
        self.retry_at = time.monotonic() + RETRY_S

    def release(self) -> None:
        """Give the device back."""
        if self.microphone is not None:
            self.microphone.close()
            self.microphone = None

    def health(self) -> Health:
        """What is heard."""
        values: dict[str, object] = {"source": self.params["source"], "chunks": self.sent, "lost": self.lost}
        if self.trouble:
            return Health(ERROR, self.trouble, values)
        if self.microphone is not None and self.microphone.overflows:
            values |= {"overflows": self.microphone.overflows}
            return Health(WARN, "sound was lost: the machine is too busy", values)
        return Health(OK, "listening", values)


def main() -> int:
    """Run the node."""
    return run(AudioCapture)


if __name__ == "__main__":
    raise SystemExit(main())
