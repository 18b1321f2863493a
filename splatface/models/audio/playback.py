"""A stream of stamped sound becomes the samples a device asks for, each at its moment."""

import threading

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio.interpolate import TAPS, SincResampler
from splatface.models.audio.jitter_buffer import JitterBuffer
from splatface.models.audio.servo import ClockDriftCompensator, DeviceClock
from splatface.models.messages import SAMPLE_RATE, AudioChunk

__all__ = ["Playback"]

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
