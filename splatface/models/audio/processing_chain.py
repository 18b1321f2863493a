# SPDX-License-Identifier: Apache-2.0
"""Echo cancellation and noise suppression of the microphone (WebRTC)."""

import importlib
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from splatface.models.audio.chunks import NS_PER_SAMPLE, StreamFramer, from_pcm, to_pcm, validate_chunk
from splatface.models.audio.playback import Playback
from splatface.models.audio.vad import level_dbfs
from splatface.models.errors import AudioError
from splatface.models.messages import NS_PER_S, SAMPLE_RATE, AudioChunk
from splatface.models.typing import Float32Array

__all__ = [
    "BLOCK_SAMPLES",
    "ECHO_CHOICES",
    "NOISE_CHOICES",
    "AudioFilter",
    "ChainSelection",
    "EchoCanceller",
    "FarEnd",
    "ProcessingChain",
    "choose_filters",
]

ECHO_CHOICES = ("none", "webrtc")  # "off" is False in YAML
NOISE_CHOICES = ("none", "webrtc")
BLOCK_SAMPLES = 160  # that a filter takes at a time: 10 ms
_BLOCK_NS = BLOCK_SAMPLES * NS_PER_S // SAMPLE_RATE
# Delay of WebRTC's filters, samples; measured: half a frame of each filter bank (test_processing_chain).
_ECHO_DELAY, _NOISE_DELAY = 128, 96
# The loudspeaker buffers tens of ms, and the microphone is tens of ms late: audio that an
# interruption cancels within that time was played all the same.
_MAX_BUFFERED_NS = 120_000_000
_MIN_LEAD_NS = 60_000_000  # chunks arrive at least this long before they are played, or are not waited for
_LEAD_BLOCKS = 2  # an echo canceller needs the far end before its echo; timestamps err by a few ms
_FAR_END_DBFS = -50.0  # a block above this is audible
_TAIL_BLOCKS = 15  # of 10 ms: length of an echo in a room and a device
_ERLE_BLOCKS = 500  # blocks with echo: 5 s


class AudioFilter(Protocol):
    """A filter of audio at 16 kHz, 10 ms at a time."""

    @property
    def delay_samples(self) -> int:
        """Delay of the output."""
        ...

    def process(self, block: Float32Array, capture_ns: int) -> Float32Array:
        """Filter the next samples [160], -1..1, the first captured at `capture_ns`."""
        ...


class ProcessingChain:
    """Filters in series: chunks in, clean chunks of one size out, timestamped when they were captured.

    The output does not depend on the sizes of the chunks. The filters' delays are subtracted from the
    timestamps. NaN and infinite samples become silence and are counted in `nonfinite_samples`.

    Args:
        filters: in order.
        size: samples of a chunk that comes out.
    """

    def __init__(self, filters: Sequence[AudioFilter], size: int) -> None:
        self._filters = tuple(filters)
        self._blocks = StreamFramer(BLOCK_SAMPLES, BLOCK_SAMPLES)
        self._chunks = StreamFramer(size, size)
        self._samples_in = self._samples_out = 0
        self.nonfinite_samples = 0

    @property
    def delay_samples(self) -> int:
        """Delay of the output, besides the samples that wait for a chunk to be complete."""
        return sum(stage.delay_samples for stage in self._filters)

    def push(self, chunk: AudioChunk) -> list[AudioChunk]:
        """Filter a chunk; return the chunks that it completes.

        Raises AudioError unless the samples are one-dimensional and at 16000 Hz.
        """
        samples, nonfinite = validate_chunk(chunk, "microphone")
        self.nonfinite_samples += nonfinite
        out = []
        for end, block in self._blocks.push(samples):
            capture_ns = chunk.start_ns + (end - BLOCK_SAMPLES - self._samples_in) * NS_PER_SAMPLE
            out += self._process(block, capture_ns, chunk.utterance)
        self._samples_in += len(samples)
        return out

    def _process(self, block: Float32Array, capture_ns: int, utterance: int) -> list[AudioChunk]:
        for stage in self._filters:
            block = stage.process(block, capture_ns)
            capture_ns -= stage.delay_samples * NS_PER_SAMPLE
        out = []
        for end, samples in self._chunks.push(block):
            start_ns = capture_ns + (end - len(samples) - self._samples_out) * NS_PER_SAMPLE
            out.append(AudioChunk(samples, SAMPLE_RATE, start_ns, utterance))
        self._samples_out += BLOCK_SAMPLES
        return out


class _WebrtcModule:
    """Audio processing module of WebRTC, from the package livekit.

    Raises AudioError when livekit is not installed.
    """

    def __init__(self, *, echo: bool, noise: bool) -> None:
        try:
            rtc = importlib.import_module("livekit.rtc")
            apm = importlib.import_module("livekit.rtc.apm")
        except ImportError:
            raise AudioError(
                f"{'echo' if echo else 'noise'}: expected livekit, found none: "
                "pip install splatface[microphone]"
            ) from None
        self._frame_type = rtc.AudioFrame
        self._module = apm.AudioProcessingModule(
            echo_cancellation=echo, noise_suppression=noise, high_pass_filter=True
        )
        self._echo = echo
        self.delay_samples = _ECHO_DELAY * echo + _NOISE_DELAY * noise

    def push_far_end(self, block: Float32Array) -> None:
        """Take in samples [160] that the loudspeaker plays, before their echo is captured."""
        self._module.process_reverse_stream(self._frame(block))

    def process(self, block: Float32Array, capture_ns: int) -> Float32Array:
        """Filter samples [160] of the microphone; the time is not needed."""
        frame = self._frame(block)
        if self._echo:
            self._module.set_stream_delay_ms(0)  # it estimates the delay itself
        self._module.process_stream(frame)
        return from_pcm(frame.data.tobytes())

    def _frame(self, block: Float32Array) -> Any:
        return self._frame_type(bytearray(to_pcm(block)), SAMPLE_RATE, 1, BLOCK_SAMPLES)


class FarEnd:
    """The audio that the loudspeaker plays, on the microphone's clock.

    The sample with timestamp t is played at t + delay. Audio that a newer utterance replaced is left out.

    Args:
        delay_ns: the player's presentation_delay.
    """

    def __init__(self, delay_ns: int) -> None:
        self._playback = Playback(delay_ns)
        self._buffered: deque[Float32Array] = deque()

    @property
    def delay_ns(self) -> int:
        """Time from a sample's timestamp to when it is played."""
        return self._playback.delay_ns

    @delay_ns.setter
    def delay_ns(self, delay_ns: int) -> None:
        self._playback.delay_ns = delay_ns

    @property
    def refused(self) -> int:
        """Number of chunks at another rate than 16000 Hz."""
        return self._playback.refused

    def push(self, chunk: AudioChunk) -> None:
        """Take in a chunk that will be played."""
        self._playback.push(chunk)

    def take(self, capture_ns: int) -> Float32Array:
        """Return the samples [160] that are played 20 ms after a block of the microphone was captured."""
        lead = min(_MAX_BUFFERED_NS, max(self.delay_ns - _MIN_LEAD_NS, 0)) // _BLOCK_NS
        block = self._playback.fill(BLOCK_SAMPLES, capture_ns + (lead + _LEAD_BLOCKS) * _BLOCK_NS)
        self._buffered.append(block)
        while len(self._buffered) > lead + 1:  # the delay was reduced
            self._buffered.popleft()
        complete = len(self._buffered) == lead + 1
        return self._buffered.popleft() if complete else np.zeros(BLOCK_SAMPLES, np.float32)


class _ErleMeter:
    """Echo return loss enhancement (ITU-T G.168): microphone power before over after, while there is echo."""

    def __init__(self) -> None:
        self._blocks_since_far_end = _TAIL_BLOCKS
        self._power_before: deque[float] = deque(maxlen=_ERLE_BLOCKS)
        self._power_after: deque[float] = deque(maxlen=_ERLE_BLOCKS)

    def push(self, far_end: Float32Array, captured: Float32Array, clean: Float32Array) -> None:
        """Take in a block [T] of the loudspeaker, and of the microphone before and after cancellation."""
        audible = level_dbfs(far_end) > _FAR_END_DBFS
        self._blocks_since_far_end = 0 if audible else self._blocks_since_far_end + 1
        if self._blocks_since_far_end < _TAIL_BLOCKS:
            self._power_before.append(float(np.mean(np.square(captured, dtype=np.float64))))
            self._power_after.append(float(np.mean(np.square(clean, dtype=np.float64))))

    @property
    def db(self) -> float:
        """Over the last 5 s of echo; NaN before there was 0.5 s. A user who speaks reduces it."""
        if len(self._power_before) < _ERLE_BLOCKS // 10:
            return math.nan
        return 10.0 * math.log10((sum(self._power_before) + 1e-12) / (sum(self._power_after) + 1e-12))


class EchoCanceller:
    """WebRTC's echo canceller (AEC3).

    Args:
        far_end: the audio that the loudspeaker plays, on the media clock.
        noise: suppress noise too: one module with both is better than two.

    Raises AudioError when livekit is not installed.
    """

    def __init__(self, far_end: FarEnd, *, noise: bool) -> None:
        self._far_end = far_end
        self._webrtc = _WebrtcModule(echo=True, noise=noise)
        self._erle = _ErleMeter()
        self.delay_samples = self._webrtc.delay_samples

    @property
    def erle_db(self) -> float:
        """Echo return loss enhancement over the last 5 s of echo, dB; NaN before there was 0.5 s."""
        return self._erle.db

    def process(self, block: Float32Array, capture_ns: int) -> Float32Array:
        """Filter samples [160] of the microphone, the first captured at `capture_ns`."""
        far_end = self._far_end.take(capture_ns)
        self._webrtc.push_far_end(far_end)
        clean = self._webrtc.process(block, capture_ns)
        self._erle.push(far_end, block, clean)
        return clean


@dataclass(frozen=True, slots=True)
class ChainSelection:
    """The filters in order, and the reason why one of those asked for is missing."""

    filters: tuple[AudioFilter, ...] = ()
    echo: EchoCanceller | None = None  # the filter that needs the far end
    problem: str = ""


def choose_filters(echo: str, noise: str, far_end: FarEnd) -> ChainSelection:
    """Return the filters `echo` (one of ECHO_CHOICES) and `noise` (one of NOISE_CHOICES).

    One that is not installed is left out: unfiltered audio is better than none.

    Raises AudioError for an unknown choice.
    """
    for name, value, choices in (("echo", echo, ECHO_CHOICES), ("noise", noise, NOISE_CHOICES)):
        if value not in choices:
            raise AudioError(f"{name}: expected one of {', '.join(choices)}, found {value!r}")
    try:
        if echo == "webrtc":
            canceller = EchoCanceller(far_end, noise=noise == "webrtc")
            return ChainSelection((canceller,), canceller)
        if noise == "webrtc":
            return ChainSelection((_WebrtcModule(echo=False, noise=True),))
    except AudioError as error:
        return ChainSelection(problem=f"{error} (sound goes through unchanged)")
    return ChainSelection()
