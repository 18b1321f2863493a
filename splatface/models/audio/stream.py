"""The stream around a feature extractor: grid, gaps, interruptions, and the frames' times."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio.heard import FRAME_SAMPLES, NS_PER_SAMPLE, RATE_HZ, StreamAnnotator
from splatface.models.audio.windows import StreamFramer
from splatface.models.errors import AudioError
from splatface.models.messages import NS_PER_S, SAMPLE_RATE, AudioChunk, AudioFrame

__all__ = ["GAP_NS", "Features", "StreamEncoder"]

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
