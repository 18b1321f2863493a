# SPDX-License-Identifier: Apache-2.0
"""Playback of a timestamped stream: jitter buffer, resampling, samples for the device at the right time."""

import threading
from collections import deque
from dataclasses import dataclass

import numpy as np

from splatface.models.audio.chunks import replace_nonfinite
from splatface.models.audio.device_clock import ClockDriftCompensator, PlaybackClock
from splatface.models.messages import NS_PER_S, SAMPLE_RATE, AudioChunk
from splatface.models.typing import Float32Array

__all__ = ["JitterBuffer", "Playback", "SincResampler"]

_DECAY_S = 0.001  # time constant of the fade-out of a step in the signal: inaudible
_SILENCE = 1e-4
_GAP_NS = 10_000_000  # chunks whose timestamps fit to this are contiguous
_MAX_BUFFERED_S = 10.0  # of a sender that is further ahead, the oldest audio is dropped
_TAPS = 32  # input samples of one output sample
_PHASES = 4096  # between two samples; the nearest one errs by -80 dB at 4 kHz
_KAISER_BETA = 8.0  # side lobes at -80 dB


class Playback:
    """Audio pushed in one thread, samples filled in the device's thread.

    The sample with timestamp t is played at t + delay. `restart` begins with another device.
    """

    def __init__(self, delay_ns: int) -> None:
        self.delay_ns = delay_ns
        self._lock = threading.Lock()
        self._buffer = JitterBuffer()
        self._rate_hz = 0
        self.restart(SAMPLE_RATE)

    @property
    def utterance(self) -> int:
        """The newest utterance received."""
        return self._buffer.utterance

    @property
    def flushes(self) -> int:
        """Number of times that audio was dropped for a newer utterance."""
        return self._buffer.flushes

    @property
    def underruns(self) -> int:
        """Number of chunks that arrived too late."""
        return self._buffer.underruns

    @property
    def refused(self) -> int:
        """Number of chunks at another rate than 16000 Hz."""
        return self._buffer.refused

    @property
    def offset_ms(self) -> float:
        """Delay of the audio against its timestamps now."""
        return 1e3 * self._compensator.error_s

    @property
    def drift_ppm(self) -> float:
        """Drift of the device's clock, positive: slow."""
        return self._compensator.drift_ppm

    @property
    def jumps(self) -> int:
        """Number of times that audio was skipped or delayed to be on time again."""
        return self._compensator.jumps

    def restart(self, rate_hz: int) -> None:
        """Begin with a device at `rate_hz`, or with the same one after it dropped its buffer."""
        with self._lock:
            if rate_hz != self._rate_hz:
                self._rate_hz = rate_hz
                self._compensator = ClockDriftCompensator(SAMPLE_RATE / rate_hz, rate_hz)
                self._resampler = SincResampler(SAMPLE_RATE / rate_hz)
            self._compensator.reset_position()
            self._clock = PlaybackClock(rate_hz)
            self._samples_filled = 0
            self._last_sample = 0.0
            self._step_offset = 0.0  # decaying offset that hides a step in the signal
            self._handled_flushes = self._buffer.flushes

    def push(self, chunk: AudioChunk) -> None:
        """Take in a chunk."""
        with self._lock:
            self._buffer.push(chunk)

    def fill(self, count: int, time_ns: int) -> Float32Array:
        """Return the next samples [count] for the device.

        Args:
            count: number of samples.
            time_ns: when the device says that it will play the first, in the timestamps' clock.
        """
        with self._lock:
            self._clock.measure(self._samples_filled, time_ns)
            target = self._buffer.index_at(self._clock.time_ns(self._samples_filled) - self.delay_ns)
            self._samples_filled += count
            if target is None:
                return np.zeros(count, np.float32)
            samples, discontinuous = self._read(target, count)
        return self._declick(samples, discontinuous)

    def _read(self, target: float, count: int) -> tuple[Float32Array, bool]:
        position, step, jumped = self._compensator.next(target, count, self._is_silent(target, count))
        first, size = self._resampler.input_range(position, step, count)
        samples = self._buffer.take(first, size)
        flushed, self._handled_flushes = self._buffer.flushes > self._handled_flushes, self._buffer.flushes
        return self._resampler.resample(samples, position, step, count), jumped or flushed

    def _is_silent(self, target: float, count: int) -> bool:
        reach = _TAPS + round(count * SAMPLE_RATE / self._rate_hz)
        nearby = self._buffer.read(round(target) - reach, 3 * reach)
        return abs(self._last_sample) < _SILENCE and not nearby.any()

    def _declick(self, samples: Float32Array, discontinuous: bool) -> Float32Array:
        if discontinuous:
            self._step_offset = self._last_sample - float(samples[0])
        if abs(self._step_offset) > 1e-6:
            decay = np.exp(-np.arange(1, len(samples) + 1) / (_DECAY_S * self._rate_hz))
            offset = self._step_offset * decay
            samples = samples + offset.astype(np.float32)
            self._step_offset = float(offset[-1])
        self._last_sample = float(samples[-1])
        return np.clip(samples, -1.0, 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class _BufferedChunk:
    index: int  # of its first sample in the stream
    start_ns: int
    samples: Float32Array

    @property
    def end(self) -> int:
        return self.index + len(self.samples)

    @property
    def end_ns(self) -> int:
        return self.start_ns + len(self.samples) * NS_PER_S // SAMPLE_RATE


class JitterBuffer:
    """Audio that is still to be played, its samples numbered.

    A higher utterance, or a timestamp that steps back, drops all buffered audio. A lower utterance is late,
    unless a second passes without a higher one: then its sender has been restarted.
    """

    def __init__(self) -> None:
        self.utterance = 0
        self.flushes = 0  # times that audio was dropped for newer audio
        self.late = 0  # chunks of an utterance that is over
        self.refused = 0  # chunks at another rate
        self.underruns = 0  # chunks contiguous to the one before that arrived too late
        self._taken_until = 0  # sample
        self._chunks: deque[_BufferedChunk] = deque()
        self._newest: _BufferedChunk | None = None  # remembered for its time after it was played

    def push(self, chunk: AudioChunk) -> None:
        """Take in a chunk; NaN and infinite samples become silence."""
        if chunk.sample_rate != SAMPLE_RATE or chunk.samples.ndim != 1:
            self.refused += 1
            return
        if not len(chunk.samples):
            return
        newest = self._newest
        if newest is None:
            self.utterance = chunk.utterance
            self._append(0, chunk)
            return
        gap_ns = chunk.start_ns - newest.end_ns
        if chunk.utterance < self.utterance and gap_ns < NS_PER_S:
            self.late += 1
            return
        if chunk.utterance != self.utterance or gap_ns < -_GAP_NS:
            self._flush()
            self.utterance = chunk.utterance
        # A pause counts in the sample numbers; a timestamp that steps back begins where the last audio ended.
        pause = round(gap_ns * SAMPLE_RATE / NS_PER_S) if gap_ns > _GAP_NS else 0
        self.underruns += abs(gap_ns) <= _GAP_NS and newest.end < self._taken_until
        self._append(newest.end + pause, chunk)

    def index_at(self, time_ns: int) -> float | None:
        """Return the sample number at a time; None before there was any audio.

        It is computed from the timestamp of the chunk that contains the time, or the nearest one: so a stream
        whose clock drifts is followed by its own timestamps.
        """
        nearest = self._newest
        for chunk in self._chunks:
            if time_ns < chunk.end_ns:
                nearest = chunk
                break
        if nearest is None:
            return None
        return nearest.index + (time_ns - nearest.start_ns) * SAMPLE_RATE / NS_PER_S

    def read(self, first: int, count: int) -> Float32Array:
        """Return samples [count] from number `first` on, silence where there are none."""
        out = np.zeros(count, np.float32)
        for chunk in self._chunks:
            begin, end = max(chunk.index, first), min(chunk.end, first + count)
            if begin < end:
                out[begin - first : end - first] = chunk.samples[begin - chunk.index : end - chunk.index]
        return out

    def take(self, first: int, count: int) -> Float32Array:
        """Return the same samples to be played now; chunks wholly before them are dropped."""
        self._taken_until = first + count
        self._drop_before(first)
        return self.read(first, count)

    def _append(self, index: int, chunk: AudioChunk) -> None:
        self._newest = _BufferedChunk(index, chunk.start_ns, replace_nonfinite(chunk.samples)[0])
        self._chunks.append(self._newest)
        self._drop_before(self._newest.end - round(_MAX_BUFFERED_S * SAMPLE_RATE))

    def _drop_before(self, index: int) -> None:
        while self._chunks and self._chunks[0].end <= index:
            self._chunks.popleft()

    def _flush(self) -> None:
        self.flushes += any(chunk.samples.any() for chunk in self._chunks)
        self._chunks.clear()


class SincResampler:
    """Resampler to a rate that may change from block to block, by a windowed sinc.

    J. O. Smith, "Digital audio resampling".

    Args:
        step: input samples for one output sample; above 1, what would alias is filtered out.
    """

    def __init__(self, step: float) -> None:
        cutoff = 0.94 * min(1.0, 1.0 / step)  # of half the rate: the filter needs a transition band
        taps = np.arange(_TAPS) - _TAPS // 2 + 1
        offsets = taps[None, :] - np.arange(_PHASES + 1)[:, None] / _PHASES
        window = np.i0(_KAISER_BETA * np.sqrt(np.clip(1 - (offsets / (_TAPS / 2)) ** 2, 0, 1)))
        kernel = cutoff * np.sinc(cutoff * offsets) * (window / np.i0(_KAISER_BETA))
        # Each phase has unit gain for a constant.
        self._kernel = (kernel / kernel.sum(axis=1, keepdims=True)).astype(np.float32)

    def input_range(self, position: float, step: float, count: int) -> tuple[int, int]:
        """Return the first input sample and the number of them that `count` output samples need."""
        first = int(np.floor(position)) - _TAPS // 2 + 1
        last = int(np.floor(position + step * (count - 1))) + _TAPS // 2
        return first, last - first + 2  # one more, for rounding in `resample`

    def resample(self, samples: Float32Array, position: float, step: float, count: int) -> Float32Array:
        """Return the signal [count] at `position`, `position + step`, ... from samples of `input_range`."""
        # Fractions stay small: positions of hours would lose their last digits.
        positions = position - np.floor(position) + step * np.arange(count)
        whole = np.floor(positions).astype(np.int64)
        phases = np.rint((positions - whole) * _PHASES).astype(np.int64)
        neighbors = np.lib.stride_tricks.sliding_window_view(samples, _TAPS)[whole]
        out: Float32Array = np.einsum("ij,ij->i", neighbors, self._kernel[phases])
        return out
