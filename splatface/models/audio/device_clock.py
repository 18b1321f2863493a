# SPDX-License-Identifier: Apache-2.0
"""Clock of a sound device against the media clock: time of each sample, compensation of drift."""

import statistics
from collections import deque

from splatface.models.messages import NS_PER_S

__all__ = ["CaptureClock", "ClockDriftCompensator", "PlaybackClock"]


class _LinearClock:
    """Time of the samples of a device at a constant rate, from an origin that subclasses filter."""

    def __init__(self, rate_hz: float, memory: int) -> None:
        self._rate_hz = rate_hz
        self._origins_ns: deque[int] = deque(maxlen=memory)  # time of sample 0 by each measurement
        self._origin_ns: float | None = None

    def _origin_of(self, sample: int, time_ns: int) -> int:
        return time_ns - round(sample * NS_PER_S / self._rate_hz)

    def time_ns(self, sample: float) -> int:
        """Return the time of `sample`; ValueError before the first measurement."""
        if self._origin_ns is None:
            raise ValueError("no measurement yet")
        return round(self._origin_ns + sample * NS_PER_S / self._rate_hz)


class CaptureClock(_LinearClock):
    """Time when the samples of a microphone were captured.

    A measurement is late by chance (a callback waits for the processor), never early. So the clock follows
    the earliest of the last `MEMORY` measurements, slowly, and jumps only when it is off by more than
    `JUMP_NS`: samples were lost, or the computer's clock was set.
    """

    MEMORY = 100  # measurements: 1 s of the microphone's 10 ms blocks
    SLEW = 0.02  # of the difference, per measurement
    JUMP_NS = 50_000_000

    def __init__(self, rate_hz: float) -> None:
        super().__init__(rate_hz, self.MEMORY)

    def measure(self, sample: int, time_ns: int) -> None:
        """Add a measurement: `sample` (since the device was opened) was captured at `time_ns` or before."""
        self._origins_ns.append(self._origin_of(sample, time_ns))
        target_ns = min(self._origins_ns)
        if self._origin_ns is None or abs(target_ns - self._origin_ns) > self.JUMP_NS:
            self._origin_ns = float(target_ns)
        else:
            self._origin_ns += self.SLEW * (target_ns - self._origin_ns)

    def reset(self) -> None:
        """Discard all measurements: samples were lost."""
        self._origins_ns.clear()
        self._origin_ns = None


class PlaybackClock(_LinearClock):
    """Time when the samples of a loudspeaker are played.

    Measurements err to both sides by a few tenths of a millisecond, with outliers: so the clock follows the
    median of the last second, slowly, and jumps only when it is off by more than JUMP_NS (after the start,
    when a server like PulseAudio does not know yet; after a stall).
    """

    MEMORY = 100
    SLEW = 0.05  # of the difference, per measurement
    JUMP_NS = 20_000_000

    def __init__(self, rate_hz: float) -> None:
        super().__init__(rate_hz, self.MEMORY)

    def measure(self, sample: int, time_ns: int) -> None:
        """Add a measurement: `sample`, counted since the device was opened, is played at `time_ns`."""
        origin_ns = self._origin_of(sample, time_ns)
        self._origins_ns.append(origin_ns)
        target_ns = statistics.median(self._origins_ns)
        if self._origin_ns is None or abs(target_ns - self._origin_ns) > self.JUMP_NS:
            self._origins_ns.clear()
            self._origins_ns.append(origin_ns)
            self._origin_ns = float(origin_ns)
        else:
            self._origin_ns += self.SLEW * (target_ns - self._origin_ns)


class ClockDriftCompensator:
    """Read position and rate of a stream, so that it is played on time without a step in its pitch.

    A critically damped second-order loop (a PI controller): the integral is the drift of the device's clock,
    and small errors are corrected by a change of rate of at most MAX_RATE_CHANGE, which is inaudible. Larger
    errors are corrected by a jump, and so are all errors in silence.

    Args:
        step: samples of the stream for each of the device, when both clocks are right.
        rate_hz: of the device.
    """

    GAIN = 0.3  # 1/s; a drift of 200 ppm costs 0.5 ms at worst, and is compensated after 10 s
    MAX_RATE_CHANGE = 0.002  # 3 cents, below what musicians notice
    JUMP_S = 0.03

    def __init__(self, step: float, rate_hz: float) -> None:
        self._step = step
        self._rate_hz = rate_hz
        self._position: float | None = None
        self._drift = 0.0
        self.error_s = 0.0  # delay of the audio now, positive: late
        self.jumps = 0

    @property
    def drift_ppm(self) -> float:
        """Estimated drift of the device's clock, positive: slow."""
        return 1e6 * self._drift

    def reset_position(self) -> None:
        """Continue at another position of the stream; the estimated drift remains."""
        self._position = None

    def next(self, target: float, count: int, silent: bool) -> tuple[float, float, bool]:
        """Return position and step for the next `count` samples of the device, and whether it is a jump.

        Args:
            target: sample of the stream that should be played first.
            count: samples of the device.
            silent: there is silence around the position, so that a jump is inaudible.
        """
        duration_s = count / self._rate_hz
        position = self._position
        self.error_s = 0.0 if position is None else (target - position) / (self._step * self._rate_hz)
        jump = position is None or abs(self.error_s) > self.JUMP_S
        if jump:
            self.jumps += position is not None and not silent
        else:
            self._drift = self._limit(self._drift + self.GAIN**2 / 4 * self.error_s * duration_s)
        if position is None or jump or silent:
            position, rate_change = target, self._drift
        else:
            rate_change = self._limit(self.GAIN * self.error_s + self._drift)
        step = self._step * (1.0 + rate_change)
        self._position = position + step * count
        return position, step, jump

    def _limit(self, rate_change: float) -> float:
        return min(max(rate_change, -self.MAX_RATE_CHANGE), self.MAX_RATE_CHANGE)
