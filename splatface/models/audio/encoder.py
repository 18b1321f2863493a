# SPDX-License-Identifier: Apache-2.0
"""Speech encoders: audio in chunks of any size becomes one feature frame every 20 ms."""

from collections import deque
from collections.abc import Iterator
from typing import Protocol

import numpy as np

from splatface.models.audio.chunks import NS_PER_SAMPLE, StreamFramer, replace_nonfinite
from splatface.models.audio.mel_filterbank import frame_signal, kaldi_filters, log_kaldi_fbank, scale_fbank
from splatface.models.audio.vad import SILENCE_DBFS, SileroVad, level_dbfs
from splatface.models.errors import AudioError, EncoderError
from splatface.models.messages import NS_PER_S, SAMPLE_RATE, AudioChunk, AudioFrame
from splatface.models.typing import Float32Array

__all__ = ["ENCODERS", "FEATURE_VERSION", "Encoder", "LogMel", "StreamAnnotator", "StreamEncoder", "encoder"]

# To be incremented when an encoder gives other features of the same audio: cached ones are then replaced.
FEATURE_VERSION = "2"
ENCODERS = ("logmel", "fsmn", "whisper")
_RATE_HZ = 50
_FRAME_SAMPLES = SAMPLE_RATE // _RATE_HZ
_GAP_NS = (
    NS_PER_S // _RATE_HZ // 2
)  # half a chunk of 20 ms: more than timestamps jitter, less than a lost chunk
_MEMORY_SAMPLES = SAMPLE_RATE  # more than any encoder's look-ahead


class Encoder(Protocol):
    """A streaming speech encoder.

    Its frames do not depend on the sizes of the chunks, bit for bit.
    """

    @property
    def name(self) -> str:
        """One of `ENCODERS`, or the name of a user's own."""
        ...

    @property
    def dim(self) -> int:
        """Length of `AudioFrame.values`."""
        ...

    @property
    def rate_hz(self) -> int:
        """Frames per second of audio: 50."""
        ...

    @property
    def lookahead_ms(self) -> float:
        """Maximum audio needed after a frame's center before the frame is emitted."""
        ...

    @property
    def nonfinite_samples(self) -> int:
        """Number of NaN or infinite samples so far, each replaced by 0."""
        ...

    def push(self, chunk: AudioChunk) -> list[AudioFrame]:
        """Process a chunk; return the frames it completes, in order of time."""
        ...

    def reset(self) -> None:
        """Start a new stream."""
        ...


def encoder(name: str) -> Encoder:
    """Return the encoder called `name`, its network loaded.

    Raises EncoderError when the name is unknown or a package is not installed; AudioError when the voice
    detector is not.
    """
    return StreamEncoder(_make_extractor(name), StreamAnnotator())


def _make_extractor(name: str) -> "WindowExtractor":
    if name == "logmel":
        return LogMel()
    if name == "fsmn":
        from splatface.models.audio.fsmn_encoder import Fsmn

        return Fsmn()
    if name == "whisper":
        from splatface.models.audio.whisper_encoder import Whisper

        return Whisper()
    raise EncoderError(f"encoder '{name}' is unknown: choose one of {', '.join(ENCODERS)}")


class WindowExtractor(Protocol):
    """A feature extractor from windows on a fixed grid to tokens 20 ms apart."""

    @property
    def name(self) -> str: ...

    @property
    def dim(self) -> int: ...

    @property
    def hop_samples(self) -> int:
        """Samples between the ends of two windows, a multiple of 320."""
        ...

    @property
    def window_samples(self) -> int:
        """Length of a window, at least a hop."""
        ...

    @property
    def lookahead_samples(self) -> tuple[int, ...]:
        """Time from each token's center to the window's end, one per 20 ms of hop, decreasing by 320."""
        ...

    def step(self, window: Float32Array) -> Float32Array:
        """Return the tokens [hop_samples / 320, dim] of the next window."""
        ...

    def reset(self) -> None:
        """Start a new stream."""
        ...


class StreamEncoder:
    """An `Encoder` made of a feature extractor.

    The grid is anchored at the stream's first sample. A stream ends, and another begins, when the utterance
    number changes or when a chunk starts more than 10 ms away from where the last one ended. A chunk that
    belongs to a lower utterance and an earlier time is late: it is ignored. NaN and infinite samples are
    replaced by 0 and counted in `nonfinite_samples`, for a live stream has to continue.
    """

    rate_hz = _RATE_HZ

    def __init__(self, extractor: WindowExtractor, annotator: "StreamAnnotator") -> None:
        self._extractor = extractor
        self._annotator = annotator
        self._windows = StreamFramer(extractor.window_samples, extractor.hop_samples)
        self.nonfinite_samples = 0
        self._utterance = 0
        self._end_ns: int | None = None

    @property
    def name(self) -> str:
        """Name of the encoder."""
        return self._extractor.name

    @property
    def dim(self) -> int:
        """Length of a frame's values."""
        return self._extractor.dim

    @property
    def lookahead_ms(self) -> float:
        """Maximum audio needed after a frame's center, ms."""
        return 1000.0 * max(self._extractor.lookahead_samples) / SAMPLE_RATE

    def reset(self) -> None:
        """Start a new stream; the count of non-finite samples remains."""
        self._extractor.reset()
        self._windows.reset()
        self._annotator.reset()
        self._end_ns = None

    def push(self, chunk: AudioChunk) -> list[AudioFrame]:
        """Process a chunk of any length; return the frames it completes.

        Raises AudioError unless the samples are one-dimensional and at 16000 Hz.
        """
        samples = self._validated(chunk)
        if self._is_late(chunk):
            return []
        if self._is_new_stream(chunk):
            self.reset()
        self._utterance = chunk.utterance
        self._end_ns = chunk.end_ns
        frames: list[AudioFrame] = []
        # In blocks: so the annotator's memory is bounded however long the chunk is.
        for first in range(0, len(samples), _FRAME_SAMPLES):
            block = samples[first : first + _FRAME_SAMPLES]
            self._annotator.push(block, chunk.start_ns + first * NS_PER_SAMPLE)
            for end, window in self._windows.push(block):
                frames.extend(self._frames(end, self._extractor.step(window)))
        return frames

    def _validated(self, chunk: AudioChunk) -> Float32Array:
        if chunk.sample_rate != SAMPLE_RATE:
            raise AudioError(
                f"encoder '{self.name}': expected sound at {SAMPLE_RATE} Hz, found {chunk.sample_rate} Hz: "
                "resample it before (audio_file.read_sound and the microphone do)"
            )
        samples = np.asarray(chunk.samples, np.float32)
        if samples.ndim != 1:
            raise AudioError(
                f"encoder '{self.name}': expected mono samples [T], found {samples.shape}: mix the channels"
            )
        samples, nonfinite = replace_nonfinite(samples)
        self.nonfinite_samples += nonfinite
        return samples

    def _is_late(self, chunk: AudioChunk) -> bool:
        behind = self._end_ns is not None and chunk.start_ns < self._end_ns - _GAP_NS
        return behind and chunk.utterance < self._utterance

    def _is_new_stream(self, chunk: AudioChunk) -> bool:
        if self._end_ns is None or chunk.utterance != self._utterance:
            return True
        return abs(chunk.start_ns - self._end_ns) > _GAP_NS

    def _frames(self, end: int, tokens: Float32Array) -> Iterator[AudioFrame]:
        for values, lookahead in zip(tokens, self._extractor.lookahead_samples, strict=True):
            center = end - lookahead
            if center < 0:  # before the stream began
                continue
            yield AudioFrame(
                values=values,
                encoder=self.name,
                center_ns=self._annotator.time_ns(center),
                voice_probability=self._annotator.voice_probability(center, end),
                level_dbfs=self._annotator.level_dbfs(center),
                utterance=self._utterance,
            )


class StreamAnnotator:
    """Time, level and voice probability of the last second of a stream, by sample number."""

    def __init__(self) -> None:
        self._vad = SileroVad()
        self._frames = StreamFramer(_FRAME_SAMPLES, _FRAME_SAMPLES)
        self.reset()

    def reset(self) -> None:
        """Start a new stream; the next sample pushed is its sample 0."""
        self._vad.reset()
        self._frames.reset()
        self._levels_dbfs: dict[int, float] = {}
        self._timestamps: deque[tuple[int, int]] = deque()  # (first sample, its time) of each block
        self._samples = 0

    def push(self, samples: Float32Array, start_ns: int) -> None:
        """Add samples [T] (at most a second), the first captured at `start_ns`."""
        self._timestamps.append((self._samples, start_ns))
        self._samples += len(samples)
        while len(self._timestamps) > 1 and self._timestamps[1][0] <= self._samples - _MEMORY_SAMPLES:
            self._timestamps.popleft()
        for end, frame in self._frames.push(samples):
            index = end // _FRAME_SAMPLES - 1
            self._levels_dbfs[index] = level_dbfs(frame)
            self._levels_dbfs.pop(index - _RATE_HZ, None)
        self._vad.push(samples)

    def time_ns(self, sample: int) -> int:
        """Return the time of a sample, by the timestamp of its block (so slow clock drift is followed)."""
        first, start_ns = self._timestamps[0]
        for later_first, later_ns in self._timestamps:
            if later_first > sample:
                break
            first, start_ns = later_first, later_ns
        return start_ns + (sample - first) * NS_PER_SAMPLE

    def level_dbfs(self, sample: int) -> float:
        """Return the level of the 20 ms frame that contains the sample."""
        return self._levels_dbfs.get(sample // _FRAME_SAMPLES, SILENCE_DBFS)

    def voice_probability(self, sample: int, last_sample: int) -> float:
        """Return the voice probability (0..1) at `sample`, from nothing after `last_sample`."""
        return self._vad.probability(sample, last_sample)


class LogMel:
    """40 log-mel bands, their delta and delta-delta (120-d), every 20 ms: the encoder without weights.

    The token's frame is the middle one of three, 10 ms apart; the deltas are central differences over them,
    so the look-ahead is 22.5 ms. Digital silence is finite: Kaldi's floor.
    """

    _FRAME, _HOP, _FFT, _BANDS = 400, 160, 512, 40  # 25 ms every 10 ms
    name = "logmel"
    dim = 3 * _BANDS
    hop_samples = 2 * _HOP
    window_samples = 2 * _HOP + _FRAME
    lookahead_samples: tuple[int, ...] = (_HOP + _FRAME // 2,)

    def __init__(self) -> None:
        self._filters = kaldi_filters(self._BANDS, self._FFT)

    def reset(self) -> None:
        """Do nothing: windows are independent."""

    def step(self, window: Float32Array) -> Float32Array:
        """Return the token [1, 120] of a window [720]."""
        log_energy = log_kaldi_fbank(frame_signal(window, self._FRAME, self._HOP), self._filters)
        previous, current, following = scale_fbank(log_energy)
        delta, delta_delta = (following - previous) / 2, following - 2 * current + previous
        return np.concatenate([current, delta, delta_delta])[None].astype(np.float32)
