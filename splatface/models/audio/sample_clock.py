"""When was sample n heard: a straight line through late and jittery measurements."""

from collections import deque

from splatface.models.messages import NS_PER_S

__all__ = ["SampleClock"]


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
