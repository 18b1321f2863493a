"""One line on the terminal that says how far a film is and how long it will take."""

from collections.abc import Callable
from typing import TextIO

__all__ = ["FilmLine"]

_EVERY_S = 0.5  # on a terminal
_SELDOM_S = 10.0  # in a log, where each line stays


class FilmLine:
    """Shows media time, share, speed and time left."""

    def __init__(self, out: TextIO, clock: Callable[[], float]) -> None:
        self._out = out
        self._clock = clock
        self._begun_s = self._shown_s = clock()
        self._live = out.isatty()

    def show(self, film_s: float, share: float) -> None:
        """Tell, if it was not told just now.

        Args:
            film_s: how long the film is so far.
            share: how much of its sound that is, 0..1.
        """
        now_s = self._clock()
        if now_s - self._shown_s < (_EVERY_S if self._live else _SELDOM_S):
            return
        self._shown_s = now_s
        spent_s = now_s - self._begun_s
        text = f"{film_s:.0f} s of film, {share:.0%}, {film_s / spent_s:.1f} times real time"
        if share > 0.0:
            left_s = round(spent_s * (1.0 / share - 1.0))
            text += f", {left_s // 60}:{left_s % 60:02d} left"
        self._out.write(f"\r\x1b[K{text}" if self._live else f"{text}\n")
        self._out.flush()

    def end(self) -> None:
        """Leave the terminal clean."""
        if self._live:
            self._out.write("\r\x1b[K")
            self._out.flush()
