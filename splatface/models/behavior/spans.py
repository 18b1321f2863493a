"""When something goes on, such as somebody's talk: told piece by piece, asked for any moment."""

from collections import deque

from splatface.models.behavior.events import minimum_jerk_step

__all__ = ["ActivityIntervals"]

KEPT = 32


class ActivityIntervals:
    """Stretches of time; what is told changes nothing before the moment at which it is told."""

    def __init__(self) -> None:
        self.all: deque[tuple[float, float]] = deque(maxlen=KEPT)  # (begin, end) in s, in order

    def last_until(self, now_s: float, until_s: float) -> bool:
        """It goes on at `now_s` and will until `until_s` unless told otherwise; True when it begins."""
        if self.all and now_s <= self.all[-1][1]:
            begin_s, end_s = self.all[-1]
            self.all[-1] = (begin_s, max(end_s, until_s))
            return False
        self.all.append((now_s, max(until_s, now_s)))
        return True

    def end(self, at_s: float) -> None:
        """It ends at `at_s`, if that is sooner than it would."""
        if self.all and at_s < self.all[-1][1]:
            self.all[-1] = (self.all[-1][0], max(at_s, self.all[-1][0]))

    def level_at(self, time_s: float, ramp_s: float) -> float:
        """1 while it goes on, else 0, without a jolt: each change takes `ramp_s` from when it happens."""
        return sum(level for _, level in self.levels_at(time_s, ramp_s))

    def levels_at(self, time_s: float, ramp_s: float) -> list[tuple[float, float]]:
        """Each stretch that shows at a moment, (its begin, how much); together at most 1."""
        # A rise that begins before the last fall is over lags behind that fall: the sum is at most 1.
        return [
            (begin, minimum_jerk_step((time_s - begin) / ramp_s) - minimum_jerk_step((time_s - end) / ramp_s))
            for begin, end in self.all
            if begin < time_s < end + ramp_s
        ]
