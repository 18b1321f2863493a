# SPDX-License-Identifier: Apache-2.0
"""Progress of a training: a tqdm bar with the time left on a terminal, a line now and then in a log."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from tqdm import tqdm

    from splatface.models.training.optimization.training_run import TrainingProgress

__all__ = ["FractionBar", "TrainingBar", "progress_text", "training_fraction"]

_LOG_INTERVAL_S = 30.0
_BAR_FORMAT = "{percentage:3.0f}%|{bar:24}| {desc} [{elapsed}<{remaining}]"


def training_fraction(progress: "TrainingProgress") -> float:
    """Return the fraction of a run that is finished, by steps or by its budget of minutes."""
    by_steps = progress.step / max(progress.steps, 1)
    by_time = progress.seconds / max(progress.seconds + progress.seconds_left, 1e-9)
    return min(1.0, max(by_steps, by_time))


def progress_text(progress: "TrainingProgress") -> str:
    """Return stage, loss, PSNR, number of Gaussians and duration of a step."""
    validation = progress.validation_psnr_db
    held_out = f" (held out {validation:.1f})" if validation is not None else ""
    return (
        f"{progress.stage} {progress.step}  loss {progress.loss:.4f}  PSNR {progress.psnr_db:.1f}{held_out}"
        f"  {progress.gaussians} Gaussians  {progress.ms_per_step:.0f} ms"
    )


class FractionBar:
    """A tqdm bar of a fraction on a terminal; nothing in a log."""

    def __init__(self, stream: TextIO, text: str = "") -> None:
        self._stream, self._text = stream, text
        self._bar: tqdm[None] | None = None

    def __call__(self, fraction: float, text: str | None = None) -> None:
        """Show the fraction 0..1 and a text."""
        if not self._stream.isatty():
            return
        percent = 100.0 * fraction
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(total=100.0, initial=percent, file=self._stream, bar_format=_BAR_FORMAT)
        self._bar.n = percent
        self._bar.set_description_str(self._text if text is None else text)

    def end(self) -> None:
        """Leave the bar standing."""
        if self._bar is not None:
            self._bar.close()


class TrainingBar:
    """Progress of a training. Call it with each TrainingProgress."""

    def __init__(self, stream: TextIO, *, clock: Callable[[], float]) -> None:
        self._stream, self._clock = stream, clock
        self._bar = FractionBar(stream)
        self._logged_s: float | None = None
        self._validation_psnr_db: float | None = None

    def __call__(self, progress: "TrainingProgress") -> None:
        """Show the progress; in a log every half minute and at every validation."""
        validated = progress.validation_psnr_db is not None
        if validated:
            self._validation_psnr_db = progress.validation_psnr_db
        fraction = training_fraction(progress)
        text = progress_text(replace(progress, validation_psnr_db=self._validation_psnr_db))
        if self._stream.isatty():
            self._bar(fraction, text)
            return
        now_s = self._clock()
        if validated or self._logged_s is None or now_s - self._logged_s >= _LOG_INTERVAL_S:
            minutes, seconds = divmod(round(progress.seconds_left), 60)
            self._stream.write(f"{fraction:4.0%} {text}  {minutes}:{seconds:02d} left\n")
            self._stream.flush()
            self._logged_s = now_s

    def end(self) -> None:
        """Leave the last state standing."""
        self._bar.end()
