"""Clock of a sound device against the media clock: time of each sample, compensation of drift."""

import statistics
from collections import deque

from splatface.models.messages import NS_PER_S

__all__ = ["ClockDriftCompensator", "DeviceClock", "SampleClock"]


class SampleClock:
    """Time of the samples of one device, whose own rate is a little off.

    A measurement says when a sample was heard, and is late by chance (a callback waits for the processor),
    never early. So the line follows the earliest of the last `MEMORY` measurements, slowly, and jumps only
    when it is off by more than `JUMP_NS`: sound was lost, or the computer's clock was set.
    """

    MEMORY = 100  # measurements: 1 s of the microphone's 10 ms blocks
    SLEW = 0.02  # of the distance, per measurement
    JUMP_NS = 50_000_000

    def __init__(self, rate_hz: float) -> None:
        self._rate_hz = rate_hz
        self._origins: deque[int] = deque(maxlen=self.MEMORY)
        self._origin_ns: float | None = None

    def measure(self, sample: int, time_ns: int) -> None:
        """Take in that `sample` (counted since the device was opened) was heard at `time_ns` or before."""
        self._origins.append(time_ns - round(sample * NS_PER_S / self._rate_hz))
        target = min(self._origins)
        if self._origin_ns is None or abs(target - self._origin_ns) > self.JUMP_NS:
            self._origin_ns = float(target)
        else:
            self._origin_ns += self.SLEW * (target - self._origin_ns)

    def lost(self) -> None:
        """Sound was lost: what was measured before says nothing about what comes."""
        self._origins.clear()
        self._origin_ns = None

    def time_ns(self, sample: float) -> int:
        """When `sample` was heard. At least one measurement must have been taken."""
        if self._origin_ns is None:
            raise ValueError("no measurement yet")
        return round(self._origin_ns + sample * NS_PER_S / self._rate_hz)


class DeviceClock:
    """A line through what a device says about when its samples are heard.

    Measurements err to both sides by a few tenths of a millisecond, and now and then by much: so the line
    follows the median of the last second, slowly, and jumps only when it is off by more than JUMP_NS (after
    the start, when a server like PulseAudio does not know yet; after a stall).
    """

    MEMORY = 100
    SLEW = 0.05  # of the distance, per measurement
    JUMP_NS = 20_000_000

    def __init__(self, rate_hz: float) -> None:
        self._rate_hz = rate_hz
        self._origins: deque[int] = deque(maxlen=self.MEMORY)
        self._origin_ns: float | None = None

    def measure(self, sample: int, time_ns: int) -> None:
        """Take in that `sample`, counted since the device was opened, is heard at `time_ns`."""
        origin_ns = time_ns - round(sample * NS_PER_S / self._rate_hz)
        self._origins.append(origin_ns)
        target = statistics.median(self._origins)
        if self._origin_ns is None or abs(target - self._origin_ns) > self.JUMP_NS:
            self._origins.clear()
            self._origins.append(origin_ns)
            self._origin_ns = float(origin_ns)
        else:
            self._origin_ns += self.SLEW * (target - self._origin_ns)

    def time_ns(self, sample: float) -> int:
        """When `sample` is heard. At least one measurement must have been taken."""
        if self._origin_ns is None:
            raise ValueError("no measurement yet")
        return round(self._origin_ns + sample * NS_PER_S / self._rate_hz)


class ClockDriftCompensator:
    """Where to read a stream, so that it is heard when it should be, without a step in its pitch.

    A critically damped loop of second order: it learns by how much the device is off (the integral), and
    takes small errors away with a change of pace of at most MOST, which nobody hears. Large errors are
    jumped over, and so are all in silence.

    Args:
        step: samples of the stream for each of the device, when both clocks are right.
        rate_hz: of the device.
    """

    GAIN = 0.3  # 1/s; a device that is off by 200 ppm is wrong by 0.5 ms at worst, and right after 10 s
    MOST = 0.002  # 3 cents: less than singers hear
    JUMP_S = 0.03

    def __init__(self, step: float, rate_hz: float) -> None:
        self._step = step
        self._rate_hz = rate_hz
        self._position: float | None = None
        self._learned = 0.0
        self.error_s = 0.0  # by how much the sound is late (positive) now
        self.jumps = 0

    @property
    def drift_ppm(self) -> float:
        """By how much the device is slow, as learned so far."""
        return 1e6 * self._learned

    def reset_position(self) -> None:
        """The stream is read elsewhere from now on; what is known of the device's pace stays."""
        self._position = None

    def next(self, wanted: float, count: int, silent: bool) -> tuple[float, float, bool]:
        """Position and step for the next `count` samples of the device, and whether it is a jump.

        Args:
            wanted: the sample of the stream that should be heard with the first of them.
            count: samples of the device.
            silent: whether nothing is heard where it stands: then it may jump at no cost.
        """
        seconds = count / self._rate_hz
        stands = self._position
        self.error_s = 0.0 if stands is None else (wanted - stands) * self._seconds_of_sample
        jump = stands is None or abs(self.error_s) > self.JUMP_S
        if jump:
            self.jumps += stands is not None and not silent
        else:
            self._learned += self.GAIN**2 / 4 * self.error_s * seconds
            self._learned = min(max(self._learned, -self.MOST), self.MOST)
        if stands is None or jump or silent:
            stands, pace = wanted, self._learned
        else:
            pace = min(max(self.GAIN * self.error_s + self._learned, -self.MOST), self.MOST)
        step = self._step * (1.0 + pace)
        self._position = stands + step * count
        return stands, step, jump

    @property
    def _seconds_of_sample(self) -> float:
        return 1.0 / (self._step * self._rate_hz)
