# SPDX-License-Identifier: Apache-2.0
"""Progress of long commands: a line that is rewritten on a terminal, or now and then a new line in a log."""

from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from splatface.models.training.tracking.stage_cache import TrackingProgress

__all__ = ["CountProgress", "ProgressLine", "StageProgress", "VideoProgress"]

_BAR_WIDTH = 24
_CLEAR_LINE = "\r\x1b[K"


class ProgressLine:
    """Output of progress texts to a terminal or a log.

    Args:
        stream: where to write.
        clock: seconds, steady.
        terminal_interval_s: least time between two texts on a terminal.
        log_interval_s: least time between two lines in a log, where each line stays.
    """

    def __init__(
        self,
        stream: TextIO,
        clock: Callable[[], float],
        *,
        terminal_interval_s: float = 0.0,
        log_interval_s: float = 10.0,
    ) -> None:
        self._stream = stream
        self._clock = clock
        self._is_terminal = stream.isatty()
        self.interval_s = terminal_interval_s if self._is_terminal else log_interval_s
        self._last_s: float | None = None

    def show(self, text: str, *, force: bool = False) -> None:
        """Write the text, unless one was written less than the interval ago and `force` is False."""
        now_s = self._clock()
        if not force and self._last_s is not None and now_s - self._last_s < self.interval_s:
            return
        self._last_s = now_s
        self._stream.write(f"{_CLEAR_LINE}{text}" if self._is_terminal else f"{text}\n")
        self._stream.flush()

    def end(self, *, keep: bool = True) -> None:
        """Leave the terminal's last line standing, or clear it."""
        if self._is_terminal:
            self._stream.write("\n" if keep else _CLEAR_LINE)
            self._stream.flush()


class VideoProgress:
    """Progress of a video that is rendered: length, fraction, speed and time left."""

    def __init__(self, stream: TextIO, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._start_s = clock()
        self._line = ProgressLine(stream, clock, terminal_interval_s=0.5)

    def show(self, video_s: float, fraction: float) -> None:
        """Show the progress, unless the last one is less than the interval old.

        Args:
            video_s: length of the video so far, s.
            fraction: of its audio that this is, 0..1.
        """
        elapsed_s = self._clock() - self._start_s
        if elapsed_s < self._line.interval_s:
            return
        text = f"{video_s:.0f} s of video, {fraction:.0%}, {video_s / elapsed_s:.1f} times real time"
        if fraction > 0.0:
            left_s = round(elapsed_s * (1.0 / fraction - 1.0))
            text += f", {left_s // 60}:{left_s % 60:02d} left"
        self._line.show(text)

    def end(self) -> None:
        """Clear the line."""
        self._line.end(keep=False)


class StageProgress:
    """Progress of tracking: a bar, the stage and the time left. Call it with each TrackingProgress."""

    def __init__(self, stream: TextIO, *, clock: Callable[[], float]) -> None:
        self._line = ProgressLine(stream, clock, log_interval_s=15.0)
        self._stage = ""

    def __call__(self, progress: "TrackingProgress") -> None:
        """Show the progress; in a log at every new stage and every 15 s."""
        filled = round(_BAR_WIDTH * progress.fraction)
        is_known = progress.seconds_left == progress.seconds_left  # not NaN
        left = f"  {progress.seconds_left:.0f} s left" if is_known else ""
        bar = f"{'█' * filled}{'░' * (_BAR_WIDTH - filled)}"
        self._line.show(
            f"{bar} {progress.fraction:4.0%} {progress.stage}{left}", force=progress.stage != self._stage
        )
        self._stage = progress.stage

    def end(self) -> None:
        """Leave the last line standing."""
        self._line.end()


class CountProgress:
    """Progress that counts items. Call it with the count so far and the total."""

    def __init__(self, stream: TextIO, clock: Callable[[], float], *, verb: str, noun: str = "items") -> None:
        self._clock = clock
        self._start_s = clock()
        self._label = f"{noun} {verb}"
        self._line = ProgressLine(stream, clock, terminal_interval_s=0.2)

    def __call__(self, done: int, total: int) -> None:
        """Show the count and the time left; leave the line at the end."""
        left_s = (self._clock() - self._start_s) / max(done, 1) * (total - done)
        text = f"{done}/{total} {self._label}, {left_s / 60:.1f} min left"
        self._line.show(text, force=done == total)
        if done == total:
            self._line.end()
