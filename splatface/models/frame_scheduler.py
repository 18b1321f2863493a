# SPDX-License-Identifier: Apache-2.0
"""Schedule of images: which to draw, and when, from times that are passed in.

Images lie on a fixed grid, image k at k / fps since the epoch of media time, so that a restart, a
second renderer or a replay renders the same moments.
"""

from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

from splatface.models.messages import NS_PER_S

__all__ = ["FrameGrid", "LiveScheduler", "LockstepScheduler", "PresentationQueue"]

T = TypeVar("T")
FAR_NS = 2 * NS_PER_S  # beyond its delay: from another time than ours (a replay began, the clock was set)
MAX_QUEUED = 600  # images: the longest delay, 5 s, at the highest rate


@dataclass(frozen=True, slots=True)
class FrameGrid:
    """The time grid of frames."""

    fps: float  # 1..240

    def time_ns(self, index: int) -> int:
        """Return the media time of frame `index`."""
        return round(index * NS_PER_S / self.fps)

    def first_at(self, time_ns: int) -> int:
        """Return the index of the first frame at or after a time."""
        index = int(time_ns * self.fps / NS_PER_S) - 1
        while self.time_ns(index) < time_ns:
            index += 1
        return index

    def last_at(self, time_ns: int) -> int:
        """Return the index of the last frame at or before a time."""
        return self.first_at(time_ns + 1) - 1


class LockstepScheduler:
    """Schedules one frame for every grid time that the stream covers, none skipped (`clock: features`)."""

    def __init__(self, grid: FrameGrid) -> None:
        self.grid = grid
        self._next: int | None = None

    def begin(self, time_ns: int) -> None:
        """Start the stream at a time, also a second time."""
        self._next = self.grid.first_at(time_ns)

    def due(self, covered_ns: int) -> list[int]:
        """Return the media times of the frames that the stream now covers, each once."""
        if self._next is None:
            return []
        last = self.grid.last_at(covered_ns)
        times = [self.grid.time_ns(index) for index in range(self._next, last + 1)]
        self._next = max(self._next, last + 1)
        return times


class LiveScheduler:
    """Schedules the newest frames worth rendering; late ones are skipped and counted.

    An image is due when the stream covers it, or `patience` after its moment when no sound comes, so that a
    face without sound goes on living. Of several due at once only those within `backlog` of the newest
    are rendered.
    """

    def __init__(self, grid: FrameGrid, patience_ns: int, backlog_ns: int) -> None:
        self.grid = grid
        self.patience_ns = patience_ns
        self.backlog_ns = backlog_ns
        self.dropped = 0
        self._next: int | None = None

    def begin(self, time_ns: int) -> None:
        """Start at a time, also a second time."""
        self._next = self.grid.first_at(time_ns)

    def due(self, covered_ns: int | None, now_ns: int) -> list[int]:
        """Media times to draw now, oldest first.

        Args:
            covered_ns: up to where the stream allows images, None without a stream.
            now_ns: the present, media time.
        """
        limit_ns = now_ns - self.patience_ns
        if covered_ns is not None:
            limit_ns = max(limit_ns, min(covered_ns, now_ns))
        last = self.grid.last_at(limit_ns)
        if self._next is None or last - self._next > 100 * self.grid.fps:
            self._next = last  # just begun, or the clock jumped ahead
        if last < self._next:
            if self.grid.time_ns(self._next) - limit_ns > NS_PER_S:
                self._next = last  # the clock was set back
            return []
        oldest = self.grid.first_at(limit_ns - self.backlog_ns)
        start = min(max(self._next, oldest), last)
        self.dropped += start - self._next
        self._next = last + 1
        return [self.grid.time_ns(index) for index in range(start, last + 1)]

    def redraw_times(self, from_ns: int) -> list[int]:
        """Return the media times from `from_ns` on that an interruption invalidated."""
        if self._next is None:
            return []
        first = max(self.grid.first_at(from_ns), self._next - MAX_QUEUED)
        return [self.grid.time_ns(index) for index in range(first, self._next)]


class PresentationQueue(Generic[T]):
    """Frames waiting for their time + delay.

    One that is not newer than the newest replaces what it contradicts: everything from its time on. So
    whoever renders a face that was interrupted takes back what had not been shown.

    Args:
        delay_ns: from an image's own time to when it is to be seen.
    """

    def __init__(self, delay_ns: int) -> None:
        self.delay_ns = delay_ns
        self.skipped = 0  # never shown, because a newer one was due as well
        self._queue: deque[tuple[int, T]] = deque(maxlen=MAX_QUEUED)

    def push(self, time_ns: int, frame: T) -> None:
        """Add a frame."""
        while self._queue and self._queue[-1][0] >= time_ns:
            self._queue.pop()
        self._queue.append((time_ns, frame))

    def due(self, now_ns: int) -> T | None:
        """Return the frame to show now, None when the shown one is still right."""
        due_frame = None
        while self._queue and not 0 < self._wait_ns(now_ns) <= self.delay_ns + FAR_NS:
            self.skipped += due_frame is not None
            due_frame = self._queue.popleft()[1]
        return due_frame

    def wait_ns(self, now_ns: int) -> int | None:
        """Return the time until the next frame is due; None when there is none."""
        return self._wait_ns(now_ns) if self._queue else None

    def _wait_ns(self, now_ns: int) -> int:
        return self._queue[0][0] + self.delay_ns - now_ns
