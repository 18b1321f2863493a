"""Playback of a timestamped stream: jitter buffer, resampling, samples for the device at the right time."""

import threading
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio.device_clock import ClockDriftCompensator, DeviceClock
from splatface.models.messages import NS_PER_S, SAMPLE_RATE, AudioChunk

__all__ = ["TAPS", "JitterBuffer", "Playback", "SincResampler"]

TAPS = 32  # samples that one moment is made of
_PHASES = 4096  # places between two samples: taking the nearest one is an error of -80 dB at 4 kHz
_BETA = 8.0  # Kaiser: side lobes at -80 dB


class SincResampler:
    """From a stream of samples to another rate that may change from block to block.

    Args:
        step: samples of the stream for one that comes out; above 1 what would fold is filtered out.
    """

    def __init__(self, step: float) -> None:
        cutoff = 0.94 * min(1.0, 1.0 / step)  # of half the rate: the filter needs some room to fall
        offsets = np.arange(TAPS) - TAPS // 2 + 1
        places = offsets[None, :] - np.arange(_PHASES + 1)[:, None] / _PHASES
        window = np.i0(_BETA * np.sqrt(np.clip(1 - (places / (TAPS / 2)) ** 2, 0, 1))) / np.i0(_BETA)
        kernel = cutoff * np.sinc(cutoff * places) * window
        # Each phase passes a constant as it is.
        self._kernel = (kernel / kernel.sum(axis=1, keepdims=True)).astype(np.float32)

    def span(self, position: float, step: float, count: int) -> tuple[int, int]:
        """First sample of the stream, and how many, that `count` moments from `position` on are made of."""
        first = int(np.floor(position)) - TAPS // 2 + 1
        last = int(np.floor(position + step * (count - 1))) + TAPS // 2
        return first, last - first + 2  # one more, for rounding in `at`

    def at(
        self, samples: NDArray[np.float32], position: float, step: float, count: int
    ) -> NDArray[np.float32]:
        """The sound [count] at `position`, `position + step`, ..., given the samples that `span` names."""
        # Fractions are kept small: positions of hours would lose their last digits.
        moments = position - np.floor(position) + step * np.arange(count)
        whole = np.floor(moments).astype(np.int64)
        phases = np.rint((moments - whole) * _PHASES).astype(np.int64)
        near = np.lib.stride_tricks.sliding_window_view(samples, TAPS)[whole]
        out: NDArray[np.float32] = np.einsum("ij,ij->i", near, self._kernel[phases])
        return out


GAP_NS = 10_000_000  # chunks whose stamps fit to this follow each other without a seam
LONGEST_S = 10.0  # of sound that waits: who sends further ahead loses the oldest


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    index: int  # of its first sample in the stream
    start_ns: int
    samples: NDArray[np.float32]

    @property
    def end(self) -> int:
        return self.index + len(self.samples)

    @property
    def end_ns(self) -> int:
        return self.start_ns + len(self.samples) * NS_PER_S // SAMPLE_RATE


class JitterBuffer:
    """The sound that is still to be played, numbered from sample to sample.

    A higher utterance, or a stamp that steps back, ends all that was there. A lower utterance is late, unless
    a second passes without a higher one: then its sender has been started again.
    """

    def __init__(self) -> None:
        self.utterance = 0
        self.flushes = 0  # times that sound was thrown away for a newer one
        self.late = 0  # chunks of an utterance that is over
        self.refused = 0  # chunks at another rate
        self.underruns = 0  # chunks that follow the one before, but came after their moment
        self._taken = 0  # up to where the sound was played
        self._held: deque[_Held] = deque()
        self._last: _Held | None = None  # the newest, kept for its time when it has been played

    def push(self, chunk: AudioChunk) -> None:
        """Take in a chunk; NaN and infinite samples become silence."""
        if chunk.sample_rate != SAMPLE_RATE or chunk.samples.ndim != 1:
            self.refused += 1
            return
        if not len(chunk.samples):
            return
        last = self._last
        if last is None:
            self.utterance = chunk.utterance
            self._hold(0, chunk)
            return
        gap_ns = chunk.start_ns - last.end_ns
        if chunk.utterance < self.utterance and gap_ns < NS_PER_S:
            self.late += 1
            return
        if chunk.utterance != self.utterance or gap_ns < -GAP_NS:
            self._flush()
            self.utterance = chunk.utterance
        # After a pause its length is counted on; a stamp that steps back begins where the last sound ended.
        pause = round(gap_ns * SAMPLE_RATE / NS_PER_S) if gap_ns > GAP_NS else 0
        self.underruns += abs(gap_ns) <= GAP_NS and last.end < self._taken
        self._hold(last.end + pause, chunk)

    def index_at(self, time_ns: int) -> float | None:
        """Which sample of the stream belongs to a moment; None before there was any sound.

        By the stamp of the chunk it lies in, or the nearest one: so a stream whose clock is a little off is
        followed as its own stamps say.
        """
        near = self._last
        for held in self._held:
            if time_ns < held.end_ns:
                near = held
                break
        if near is None:
            return None
        return near.index + (time_ns - near.start_ns) * SAMPLE_RATE / NS_PER_S

    def read(self, first: int, count: int) -> NDArray[np.float32]:
        """Samples [count] from number `first` on, silence where there are none."""
        out = np.zeros(count, np.float32)
        for held in self._held:
            begin, end = max(held.index, first), min(held.end, first + count)
            if begin < end:
                out[begin - first : end - first] = held.samples[begin - held.index : end - held.index]
        return out

    def take(self, first: int, count: int) -> NDArray[np.float32]:
        """The same, to be played now: what lies wholly before it is dropped."""
        self._taken = first + count
        self._forget(first)
        return self.read(first, count)

    def _hold(self, index: int, chunk: AudioChunk) -> None:
        samples = chunk.samples
        finite = np.isfinite(samples)
        if not finite.all():
            samples = np.where(finite, samples, np.float32(0.0))
        self._last = _Held(index, chunk.start_ns, samples)
        self._held.append(self._last)
        self._forget(self._last.end - round(LONGEST_S * SAMPLE_RATE))

    def _forget(self, index: int) -> None:
        while self._held and self._held[0].end <= index:
            self._held.popleft()

    def _flush(self) -> None:
        self.flushes += any(held.samples.any() for held in self._held)
        self._held.clear()


_DECAY_S = 0.001  # a seam dies away so fast: no click, and nothing of the sound that was cut off


class Playback:
    """Sound pushed in one thread, samples filled in the device's.

    The sample with stamp t is heard at t + delay. `restart` begins with another device.
    """

    def __init__(self, delay_ns: int) -> None:
        self.delay_ns = delay_ns
        self._lock = threading.Lock()
        self._buffer = JitterBuffer()
        self._rate_hz = 0
        self.restart(SAMPLE_RATE)

    @property
    def utterance(self) -> int:
        """The newest one heard of."""
        return self._buffer.utterance

    @property
    def flushes(self) -> int:
        """Times that sound was thrown away for a newer utterance."""
        return self._buffer.flushes

    @property
    def underruns(self) -> int:
        """Chunks that came after their moment."""
        return self._buffer.underruns

    @property
    def refused(self) -> int:
        """Chunks at another rate than 16000 Hz."""
        return self._buffer.refused

    @property
    def offset_ms(self) -> float:
        """By how much the sound is late now."""
        return 1e3 * self._servo.error_s

    @property
    def drift_ppm(self) -> float:
        """By how much the device's clock is slow."""
        return self._servo.drift_ppm

    @property
    def jumps(self) -> int:
        """Times that sound was skipped or held back to be in time again."""
        return self._servo.jumps

    def restart(self, rate_hz: int) -> None:
        """A device at `rate_hz` asks from now on, or the same one after it has dropped what it held."""
        with self._lock:
            if rate_hz != self._rate_hz:
                self._rate_hz = rate_hz
                self._servo = ClockDriftCompensator(SAMPLE_RATE / rate_hz, rate_hz)
                self._interpolator = SincResampler(SAMPLE_RATE / rate_hz)
            self._servo.reset_position()
            self._clock = DeviceClock(rate_hz)
            self._asked = 0  # samples
            self._last = 0.0  # sample that left
            self._seam = 0.0  # what is left of a step in the sound
            self._flushes_seen = self._buffer.flushes

    def push(self, chunk: AudioChunk) -> None:
        """Take in a chunk of sound."""
        with self._lock:
            self._buffer.push(chunk)

    def fill(self, count: int, heard_ns: int) -> NDArray[np.float32]:
        """The next samples [count] for the device.

        Args:
            count: how many.
            heard_ns: when it says that the first of them will be heard, in the stamps' clock.
        """
        with self._lock:
            self._clock.measure(self._asked, heard_ns)
            wanted = self._buffer.index_at(self._clock.time_ns(self._asked) - self.delay_ns)
            self._asked += count
            if wanted is None:
                return np.zeros(count, np.float32)
            sound, seam = self._read(wanted, count)
        return self._declick(sound, seam)

    def _read(self, wanted: float, count: int) -> tuple[NDArray[np.float32], bool]:
        position, step, jumped = self._servo.next(wanted, count, self._silent(wanted, count))
        first, size = self._interpolator.span(position, step, count)
        samples = self._buffer.take(first, size)
        flushed, self._flushes_seen = self._buffer.flushes > self._flushes_seen, self._buffer.flushes
        return self._interpolator.at(samples, position, step, count), jumped or flushed

    def _silent(self, wanted: float, count: int) -> bool:
        reach = TAPS + round(count * SAMPLE_RATE / self._rate_hz)
        near = self._buffer.read(round(wanted) - reach, 3 * reach)
        return abs(self._last) < 1e-4 and not near.any()

    def _declick(self, sound: NDArray[np.float32], seam: bool) -> NDArray[np.float32]:
        if seam:
            self._seam = self._last - float(sound[0])
        if abs(self._seam) > 1e-6:
            fall = self._seam * np.exp(-np.arange(1, len(sound) + 1) / (_DECAY_S * self._rate_hz))
            sound = sound + fall.astype(np.float32)
            self._seam = float(fall[-1])
        self._last = float(sound[-1])
        return np.clip(sound, -1.0, 1.0)
