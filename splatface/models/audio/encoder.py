"""Speech encoders: audio in chunks of any size becomes one feature frame every 20 ms."""

from collections import deque
from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio.chunks import StreamFramer
from splatface.models.audio.mel_filterbank import frame_signal, kaldi_filters, log_kaldi_fbank, scale_fbank
from splatface.models.audio.vad import SILENCE_DBFS, SileroVad, level_dbfs
from splatface.models.errors import AudioError, EncoderError
from splatface.models.messages import NS_PER_S, SAMPLE_RATE, AudioChunk, AudioFrame

__all__ = [
    "ENCODERS",
    "FEATURE_VERSION",
    "FRAME_SAMPLES",
    "GAP_NS",
    "RATE_HZ",
    "Encoder",
    "Features",
    "LogMel",
    "StreamAnnotator",
    "StreamEncoder",
    "encoder",
]

RATE_HZ = 50
FRAME_SAMPLES = SAMPLE_RATE // RATE_HZ
NS_PER_SAMPLE = NS_PER_S // SAMPLE_RATE
KEPT_SAMPLES = SAMPLE_RATE  # more than any encoder looks back


class StreamAnnotator:
    """Time, level and voice of the last second of a stream, asked by sample number."""

    def __init__(self) -> None:
        self._voice = SileroVad()
        self._blocks = StreamFramer(FRAME_SAMPLES, FRAME_SAMPLES)
        self.reset()

    def reset(self) -> None:
        """Forget the stream; the next sample pushed is its sample 0."""
        self._voice.reset()
        self._blocks.reset()
        self._levels: dict[int, float] = {}
        self._stamps: deque[tuple[int, int]] = deque()  # (first sample, its time) of each piece
        self.samples = 0

    def push(self, samples: NDArray[np.float32], start_ns: int) -> None:
        """Hear samples [T] (at most a second) whose first one was at `start_ns`."""
        self._stamps.append((self.samples, start_ns))
        self.samples += len(samples)
        while len(self._stamps) > 1 and self._stamps[1][0] <= self.samples - KEPT_SAMPLES:
            self._stamps.popleft()
        for end, block in self._blocks.push(samples):
            index = end // FRAME_SAMPLES - 1
            self._levels[index] = level_dbfs(block)
            self._levels.pop(index - RATE_HZ, None)
        self._voice.push(samples)

    def time_ns(self, sample: int) -> int:
        """When a sample was heard, by the stamp of the piece it came in (so slow clock drift is followed)."""
        first, start_ns = self._stamps[0]
        for later_first, later_ns in self._stamps:
            if later_first > sample:
                break
            first, start_ns = later_first, later_ns
        return start_ns + (sample - first) * NS_PER_SAMPLE

    def level_dbfs(self, sample: int) -> float:
        """Level of the 20 ms frame that holds the sample."""
        return self._levels.get(sample // FRAME_SAMPLES, SILENCE_DBFS)

    def voice_probability(self, sample: int, heard: int) -> float:
        """Voice probability (0..1) at `sample`, from nothing after `heard`."""
        return self._voice.probability(sample, heard)


GAP_NS = NS_PER_S // RATE_HZ // 2  # half a chunk of 20 ms: more than stamps jitter, less than a lost chunk


class Features(Protocol):
    """Turns windows on a fixed grid into tokens 20 ms apart."""

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def dim(self) -> int: ...  # noqa: D102

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
        """How long before the window's end each token's center lies, one per 20 ms of hop, falling by 320."""
        ...

    def step(self, window: NDArray[np.float32]) -> NDArray[np.float32]:
        """Tokens [hop_samples / 320, dim] of the next window."""
        ...

    def reset(self) -> None:
        """Forget the stream."""
        ...


class StreamEncoder:
    """An `Encoder` made of a feature extractor.

    The grid is anchored at the stream's first sample. A stream ends, and another begins, when the utterance
    number changes or when a chunk starts more than 10 ms away from where the last one ended. A chunk that
    belongs to a lower utterance and an earlier time is late: it is ignored. NaN and infinite samples are
    heard as 0 and counted in `bad_samples`, for a live stream has to go on.
    """

    rate_hz = RATE_HZ

    def __init__(self, features: Features, heard: StreamAnnotator) -> None:
        self._features = features
        self._heard = heard
        self._windows = StreamFramer(features.window_samples, features.hop_samples)
        self.nonfinite_samples = 0
        self._utterance = 0
        self._end_ns: int | None = None

    @property
    def name(self) -> str:
        """Name of the encoder."""
        return self._features.name

    @property
    def dim(self) -> int:
        """Length of a frame's values."""
        return self._features.dim

    @property
    def lookahead_ms(self) -> float:
        """Most sound heard after a frame's center, ms."""
        return 1000.0 * max(self._features.lookahead_samples) / SAMPLE_RATE

    def reset(self) -> None:
        """Forget the stream; the count of bad samples stays."""
        self._features.reset()
        self._windows.reset()
        self._heard.reset()
        self._end_ns = None

    def push(self, chunk: AudioChunk) -> list[AudioFrame]:
        """Hear a chunk of any length; return the frames it completes.

        Raises AudioError unless the samples are one-dimensional and at 16000 Hz.
        """
        samples = self._checked(chunk)
        if self._is_late(chunk):
            return []
        if self._is_new_stream(chunk):
            self.reset()
        self._utterance = chunk.utterance
        self._end_ns = chunk.end_ns
        frames: list[AudioFrame] = []
        # pieces: what is remembered of the sound stays bounded however long the chunk is
        for first in range(0, len(samples), FRAME_SAMPLES):
            piece = samples[first : first + FRAME_SAMPLES]
            self._heard.push(piece, chunk.start_ns + first * NS_PER_SAMPLE)
            for end, window in self._windows.push(piece):
                frames.extend(self._frames(end, self._features.step(window)))
        return frames

    def _checked(self, chunk: AudioChunk) -> NDArray[np.float32]:
        if chunk.sample_rate != SAMPLE_RATE:
            raise AudioError(
                f"encoder '{self.name}': expected sound at {SAMPLE_RATE} Hz, found {chunk.sample_rate} Hz: "
                "resample it before (files.read_sound and the microphone do)"
            )
        samples = np.asarray(chunk.samples, np.float32)
        if samples.ndim != 1:
            raise AudioError(
                f"encoder '{self.name}': expected mono samples [T], found {samples.shape}: mix the channels"
            )
        finite = np.isfinite(samples)
        if finite.all():
            return samples
        self.nonfinite_samples += int(np.count_nonzero(~finite))
        return np.where(finite, samples, np.float32(0.0))

    def _is_late(self, chunk: AudioChunk) -> bool:
        behind = self._end_ns is not None and chunk.start_ns < self._end_ns - GAP_NS
        return behind and chunk.utterance < self._utterance

    def _is_new_stream(self, chunk: AudioChunk) -> bool:
        if self._end_ns is None or chunk.utterance != self._utterance:
            return True
        return abs(chunk.start_ns - self._end_ns) > GAP_NS

    def _frames(self, end: int, tokens: NDArray[np.float32]) -> Iterator[AudioFrame]:
        for values, lookahead in zip(tokens, self._features.lookahead_samples, strict=True):
            center = end - lookahead
            if center < 0:  # before the stream began
                continue
            yield AudioFrame(
                values=values,
                encoder=self.name,
                center_ns=self._heard.time_ns(center),
                voice_probability=self._heard.voice_probability(center, end),
                level_dbfs=self._heard.level_dbfs(center),
                utterance=self._utterance,
            )


FEATURE_VERSION = (
    "2"  # raise it when an encoder gives other features of the same sound: what is kept is heard anew
)
ENCODERS = ("logmel", "fsmn", "whisper")


class Encoder(Protocol):
    """A streaming speech encoder.

    The same frames, bit for bit, come out however the sound was cut into chunks.
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
        """Frames per second of sound: 50."""
        ...

    @property
    def lookahead_ms(self) -> float:
        """Most sound heard after a frame's center before the frame comes out."""
        ...

    @property
    def nonfinite_samples(self) -> int:
        """NaN or infinite samples met so far, each heard as 0."""
        ...

    def push(self, chunk: AudioChunk) -> list[AudioFrame]:
        """Hear a chunk; return the frames it completes, in order of time."""
        ...

    def reset(self) -> None:
        """Forget the stream."""
        ...


def _features(name: str) -> Features:
    if name == "logmel":
        return LogMel()
    if name == "fsmn":
        from splatface.models.audio.fsmn_encoder import Fsmn

        return Fsmn()
    if name == "whisper":
        from splatface.models.audio.whisper_encoder import Whisper

        return Whisper()
    raise EncoderError(f"encoder '{name}' is unknown: choose one of {', '.join(ENCODERS)}")


def encoder(name: str) -> Encoder:
    """The encoder called `name`, its network loaded and ready.

    Raises EncoderError when the name is unknown or what it needs is not installed; AudioError when the
    voice detector is not.
    """
    return StreamEncoder(_features(name), StreamAnnotator())


FRAME, HOP, FFT, BINS = 400, 160, 512, 40  # 25 ms every 10 ms at 16 kHz


class LogMel:
    """40 log-mel bands, their delta and delta-delta (120-d), every 20 ms.

    The token's frame is the middle one of three, 10 ms apart; slope and curvature are central differences
    over them, so the token has heard 22.5 ms after its center. Digital silence is finite: Kaldi's floor.
    """

    name = "logmel"
    dim = 3 * BINS
    hop_samples = 2 * HOP
    window_samples = 2 * HOP + FRAME
    lookahead_samples: tuple[int, ...] = (HOP + FRAME // 2,)

    def __init__(self) -> None:
        self._filters = kaldi_filters(BINS, FFT)

    def reset(self) -> None:
        """Nothing is remembered between windows."""

    def step(self, window: NDArray[np.float32]) -> NDArray[np.float32]:
        """Hear one window [720]; returns [1, 120]."""
        log_energy = log_kaldi_fbank(frame_signal(window, FRAME, HOP), self._filters)
        before, now, after = scale_fbank(log_energy)
        token = np.concatenate([now, (after - before) / 2, after - 2 * now + before])
        return token[None].astype(np.float32)
