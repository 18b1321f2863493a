# SPDX-License-Identifier: Apache-2.0
"""Values by time, looked up between their neighbors: what lets the rate of images be free."""

from bisect import bisect_right
from collections.abc import Callable
from typing import Generic, TypeVar

from splatface.models.messages import NS_PER_S, HeadControl
from splatface.models.rotations import slerp

__all__ = ["Timeline", "control_between"]

T = TypeVar("T")


class Timeline(Generic[T]):
    """The last `span_s` seconds of values in the order of their time; bounded for any input."""

    def __init__(self, time_of: Callable[[T], int], span_s: float = 4.0) -> None:
        self._time_of = time_of
        self._span_ns = round(span_s * NS_PER_S)
        self._times: list[int] = []
        self._values: list[T] = []

    def __len__(self) -> int:
        return len(self._values)

    @property
    def values(self) -> list[T]:
        """All values, oldest first."""
        return self._values

    @property
    def latest_ns(self) -> int | None:
        """Time of the newest value."""
        return self._times[-1] if self._times else None

    def clear(self) -> None:
        """Remove all values."""
        self._times.clear()
        self._values.clear()

    def push(self, value: T) -> None:
        """Add a value.

        One that is not newer than the newest replaces what it contradicts: everything from its time on.
        So a recording played again, or simulated time set back, starts a new line.
        """
        time_ns = self._time_of(value)
        if self._times and time_ns <= self._times[-1]:
            keep = bisect_right(self._times, time_ns - 1)
            del self._times[keep:], self._values[keep:]
        self._times.append(time_ns)
        self._values.append(value)
        old = bisect_right(self._times, time_ns - self._span_ns)
        if old > 64:  # in lumps: moving the list for every value would be wasteful
            del self._times[:old], self._values[:old]

    def around(self, time_ns: int) -> tuple[T, T, float] | None:
        """Return the values before and after a time and the fraction between them (0..1).

        Outside the line the nearest value stands on both sides. None when there is no value.
        """
        if not self._times:
            return None
        after = bisect_right(self._times, time_ns)
        if after == 0:
            return self._values[0], self._values[0], 0.0
        if after == len(self._times):
            return self._values[-1], self._values[-1], 0.0
        before_ns, after_ns = self._times[after - 1], self._times[after]
        fraction = (time_ns - before_ns) / (after_ns - before_ns)
        return self._values[after - 1], self._values[after], fraction


def control_between(a: HeadControl, b: HeadControl, fraction: float) -> HeadControl:
    """Interpolate from control `a` to `b` at `fraction` (0..1); rotations along the shorter arc."""
    if fraction <= 0.0 or a is b:
        return a

    def mix(x: float, y: float) -> float:
        return x + fraction * (y - x)

    weights_a, weights_b = dict(a.expression), dict(b.expression)
    names = list(dict.fromkeys([*weights_a, *weights_b]))
    return HeadControl(
        time_ns=round(mix(a.time_ns, b.time_ns)),
        quat_world_head=slerp(a.quat_world_head, b.quat_world_head, fraction),
        translation_m=a.translation_m + fraction * (b.translation_m - a.translation_m),
        blink_left=mix(a.blink_left, b.blink_left),
        blink_right=mix(a.blink_right, b.blink_right),
        gaze_yaw_rad=mix(a.gaze_yaw_rad, b.gaze_yaw_rad),
        gaze_pitch_rad=mix(a.gaze_pitch_rad, b.gaze_pitch_rad),
        expression=tuple((n, mix(weights_a.get(n, 0.0), weights_b.get(n, 0.0))) for n in names),
    )
