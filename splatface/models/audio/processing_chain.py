"""Echo cancellation and noise suppression of the microphone (WebRTC)."""

import importlib
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio.chunks import StreamFramer, from_pcm, to_pcm, validate_chunk
from splatface.models.audio.playback import Playback
from splatface.models.audio.vad import level_dbfs
from splatface.models.errors import AudioError
from splatface.models.messages import NS_PER_S, SAMPLE_RATE, AudioChunk

__all__ = [
    "BLOCK",
    "ECHO",
    "ECHO_DELAY",
    "NOISE",
    "NOISE_DELAY",
    "AudioFilter",
    "ChainSelection",
    "EchoCanceller",
    "ErleMeter",
    "FarEnd",
    "ProcessingChain",
    "Webrtc",
    "choose_stages",
]

BLOCK = 160  # samples that a stage takes at a time: 10 ms
_NS_PER_SAMPLE = NS_PER_S // SAMPLE_RATE


class AudioFilter(Protocol):
    """Something that cleans sound at 16 kHz, 10 ms at a time."""

    @property
    def delay_samples(self) -> int:
        """By how much later than it went in the sound comes out."""
        ...

    def process(self, block: NDArray[np.float32], heard_ns: int) -> NDArray[np.float32]:
        """The next samples [160], -1..1, of which the first was heard at `heard_ns`; as many come out."""
        ...


class ProcessingChain:
    """Chunks in, clean chunks of one size out, stamped with when their sound was heard.

    What comes out does not depend on how the sound was cut into chunks. The stages' delays are taken off the
    stamps. NaN and infinite samples become silence and are counted in `bad_samples`.

    Args:
        stages: the first hears the microphone, each other one what the one before gave.
        size: samples of the chunks that come out.
    """

    def __init__(self, stages: Sequence[AudioFilter], size: int) -> None:
        self._stages = tuple(stages)
        self._blocks = StreamFramer(BLOCK, BLOCK)
        self._chunks = StreamFramer(size, size)
        self._taken = self._given = 0  # samples of whole blocks
        self.nonfinite_samples = 0

    @property
    def delay_samples(self) -> int:
        """By how much later than it went in the sound comes out, besides what waits to fill a chunk."""
        return sum(stage.delay_samples for stage in self._stages)

    def push(self, chunk: AudioChunk) -> list[AudioChunk]:
        """Clean a chunk; the clean chunks that it completes.

        Raises AudioError unless the samples are one-dimensional and at 16000 Hz.
        """
        samples, bad = validate_chunk(chunk, "microphone")
        self.nonfinite_samples += bad
        out = []
        for end, block in self._blocks.push(samples):
            heard_ns = chunk.start_ns + (end - BLOCK - self._taken) * _NS_PER_SAMPLE
            out += self._clean(block, heard_ns, chunk.utterance)
        self._taken += len(samples)
        return out

    def _clean(self, block: NDArray[np.float32], heard_ns: int, utterance: int) -> list[AudioChunk]:
        for stage in self._stages:
            block = stage.process(block, heard_ns)
            heard_ns -= stage.delay_samples * _NS_PER_SAMPLE
        out = []
        for end, piece in self._chunks.push(block):
            start_ns = heard_ns + (end - len(piece) - self._given) * _NS_PER_SAMPLE
            out.append(AudioChunk(piece, SAMPLE_RATE, start_ns, utterance))
        self._given += BLOCK
        return out


# Samples, measured: half a frame of each filter bank (test_cleaning holds them).
ECHO_DELAY, NOISE_DELAY = 128, 96


class Webrtc:
    """One audio processing module: it knows the noise from before and after the echo was taken away.

    Raises AudioError when livekit is not installed.
    """

    def __init__(self, *, echo: bool, noise: bool) -> None:
        try:
            package = importlib.import_module("livekit.rtc")
            modules = importlib.import_module("livekit.rtc.apm")
        except ImportError:
            raise AudioError(
                f"{'echo' if echo else 'noise'}: expected livekit, found none: "
                "pip install splatface[microphone]"
            ) from None
        self._frame = package.AudioFrame
        self._module = modules.AudioProcessingModule(
            echo_cancellation=echo, noise_suppression=noise, high_pass_filter=True
        )
        self._echo = echo
        self.delay_samples = ECHO_DELAY * echo + NOISE_DELAY * noise

    def play(self, block: NDArray[np.float32]) -> None:
        """Take in samples [160] that the loudspeaker plays, before their echo is heard."""
        self._module.process_reverse_stream(self._framed(block))

    def process(self, block: NDArray[np.float32], heard_ns: int) -> NDArray[np.float32]:
        """Clean samples [160] of the microphone; the time is not needed."""
        frame = self._framed(block)
        if self._echo:
            self._module.set_stream_delay_ms(0)  # it finds the delay itself
        self._module.process_stream(frame)
        return from_pcm(frame.data.tobytes())

    def _framed(self, block: NDArray[np.float32]) -> Any:
        return self._frame(bytearray(to_pcm(block)), SAMPLE_RATE, 1, BLOCK)


# The loudspeaker's device holds what it will play for tens of ms, and the microphone's sound comes tens of ms
# late: what is taken back by an interruption within that time was played all the same.
HELD_NS = 120_000_000
NEEDED_NS = 60_000_000  # chunks come so long before their moment at least, or cannot be waited for
_BLOCK_NS = BLOCK * NS_PER_S // SAMPLE_RATE
EARLY_BLOCKS = 2  # an echo canceller must know a sound before it can hear it: stamps err by a few ms


class FarEnd:
    """A second loudspeaker, unheard: asked for what the first plays while the microphone listens.

    The sample with stamp t is played at t + delay. What was taken back by a newer utterance is left out.

    Args:
        delay_ns: the speaker's presentation_delay.
    """

    def __init__(self, delay_ns: int) -> None:
        self._playback = Playback(delay_ns)
        self._held: deque[NDArray[np.float32]] = deque()

    @property
    def delay_ns(self) -> int:
        """From a sample's stamp to when it is played."""
        return self._playback.delay_ns

    @delay_ns.setter
    def delay_ns(self, delay_ns: int) -> None:
        self._playback.delay_ns = delay_ns

    @property
    def refused(self) -> int:
        """Chunks at another rate than 16000 Hz."""
        return self._playback.refused

    def push(self, chunk: AudioChunk) -> None:
        """Take in a chunk that the speaker will play."""
        self._playback.push(chunk)

    def take(self, heard_ns: int) -> NDArray[np.float32]:
        """Samples [160] that are played 20 ms after `heard_ns`, the time of a block of the microphone."""
        ahead = min(HELD_NS, max(self.delay_ns - NEEDED_NS, 0)) // _BLOCK_NS
        block = self._playback.fill(BLOCK, heard_ns + (ahead + EARLY_BLOCKS) * _BLOCK_NS)
        self._held.append(block)
        while len(self._held) > ahead + 1:  # the delay became less
            self._held.popleft()
        return self._held.popleft() if len(self._held) == ahead + 1 else np.zeros(BLOCK, np.float32)


PLAYING_DBFS = -50.0  # a block above this is sound
TAIL_BLOCKS = 15  # of 10 ms: a room and a device carry an echo so long
MEMORY = 500  # blocks with echo: 5 s


class ErleMeter:
    """Power of the microphone before and after, while there is echo."""

    def __init__(self) -> None:
        self._since = TAIL_BLOCKS  # blocks since the loudspeaker was last heard
        self._before: deque[float] = deque(maxlen=MEMORY)
        self._after: deque[float] = deque(maxlen=MEMORY)

    def add(
        self, played: NDArray[np.float32], heard: NDArray[np.float32], clean: NDArray[np.float32]
    ) -> None:
        """Take in a block [T] of the loudspeaker and of the microphone, before and after."""
        self._since = 0 if level_dbfs(played) > PLAYING_DBFS else self._since + 1
        if self._since < TAIL_BLOCKS:
            self._before.append(float(np.mean(np.square(heard, dtype=np.float64))))
            self._after.append(float(np.mean(np.square(clean, dtype=np.float64))))

    @property
    def db(self) -> float:
        """Over the last 5 s of echo; NaN before there was 0.5 s of it. A person who speaks makes it less."""
        if len(self._before) < MEMORY // 10:
            return math.nan
        return 10.0 * math.log10((sum(self._before) + 1e-12) / (sum(self._after) + 1e-12))


class EchoCanceller:
    """WebRTC's echo canceller, told what our loudspeaker plays.

    Args:
        far_end: what the loudspeaker plays, on the media clock.
        noise: suppress noise too: one module does both better than two.

    Raises AudioError when livekit is not installed.
    """

    def __init__(self, far_end: FarEnd, *, noise: bool) -> None:
        self._far_end = far_end
        self._webrtc = Webrtc(echo=True, noise=noise)
        self.delay_samples = self._webrtc.delay_samples
        self.loss = ErleMeter()

    def process(self, block: NDArray[np.float32], heard_ns: int) -> NDArray[np.float32]:
        """Clean samples [160] of the microphone, of which the first was heard at `heard_ns`."""
        played = self._far_end.take(heard_ns)
        self._webrtc.play(played)
        clean = self._webrtc.process(block, heard_ns)
        self.loss.add(played, block, clean)
        return clean


ECHO = ("none", "webrtc")  # "off" is False in YAML
NOISE = ("none", "webrtc")


@dataclass(frozen=True, slots=True)
class ChainSelection:
    """The stages in their order, and what is wrong with those that are left out."""

    stages: tuple[AudioFilter, ...] = ()
    echo: EchoCanceller | None = None  # the one of them that needs the far end
    problem: str = ""


def choose_stages(echo: str, noise: str, far_end: FarEnd) -> ChainSelection:
    """The stages called `echo` (one of ECHO) and `noise` (one of NOISE).

    One that is not installed is left out: a microphone that can be heard is better than none.
    """
    stages: list[AudioFilter] = []
    problems = []
    canceller = None
    try:
        if echo == "webrtc":
            canceller = EchoCanceller(far_end, noise=noise == "webrtc")
            stages.append(canceller)
    except AudioError as error:
        problems.append(str(error))
    try:
        if noise == "webrtc" and echo == "none":
            stages.append(Webrtc(echo=False, noise=True))
    except AudioError as error:
        problems.append(str(error))
    problem = "; ".join(problems) + " (sound goes through unchanged)" if problems else ""
    return ChainSelection(tuple(stages), canceller, problem)
