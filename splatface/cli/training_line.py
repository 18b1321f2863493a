"""The line that tells how far a training is: renewed on a terminal, one now and then in a log."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from splatface.models.training.optimization.training_run import TrainingProgress

__all__ = ["TrainingLine", "line_of"]

_BAR = 24
_QUIET_S = 30.0  # between lines where nobody watches


def line_of(progress: "TrainingProgress") -> str:
    """A bar, the stage, loss, PSNR, Gaussians, time of a step, time left."""
    share = progress.step / max(progress.steps, 1)
    budget = progress.seconds / max(progress.seconds + progress.seconds_left, 1e-9)
    through = min(1.0, max(share, budget))
    full = round(_BAR * through)
    validation = progress.validation_psnr_db
    seen = f" (unseen {validation:.1f})" if validation is not None else ""
    return (
        f"{'█' * full}{'░' * (_BAR - full)} {through:4.0%} {progress.stage} {progress.step}"
        f"  loss {progress.loss:.4f}  PSNR {progress.psnr_db:.1f}{seen}  {progress.gaussians} Gaussians"
        f"  {progress.ms_per_step:.0f} ms  {_clock(progress.seconds_left)} left"
    )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class TrainingLine:
    """Shows each progress it is called with."""

    def __init__(self, stream: TextIO, *, clock: Callable[[], float]) -> None:
        self._stream, self._clock = stream, clock
        self._renews = stream.isatty()
        self._shown_s: float | None = None
        self._last: TrainingProgress | None = None
        self._seen: float | None = None

    def __call__(self, progress: "TrainingProgress") -> None:
        """Show it; where nobody watches, only each half minute and at every validation."""
        if progress.validation_psnr_db is not None:
            self._seen = progress.validation_psnr_db
        self._last = progress
        now = self._clock()
        quiet = self._shown_s is not None and now - self._shown_s < _QUIET_S
        if self._renews:
            self._stream.write(f"\r\x1b[K{self._text()}")
        elif not quiet or progress.validation_psnr_db is not None:
            self._stream.write(self._text() + "\n")
            self._shown_s = now
        self._stream.flush()

    def end(self) -> None:
        """Leave the last line standing."""
        if self._renews and self._last is not None:
            self._stream.write("\n")
            self._stream.flush()

    def _text(self) -> str:
        assert self._last is not None
        return line_of(replace(self._last, validation_psnr_db=self._seen))
