# SPDX-License-Identifier: Apache-2.0
"""Every error splatface raises on purpose.

A message says what was expected, what was found and what to do next.
"""

import sys
from typing import TYPE_CHECKING

__all__ = [
    "ActorError",
    "AudioError",
    "DatasetError",
    "EncoderError",
    "HeadError",
    "LaunchError",
    "MetricError",
    "RecordingError",
    "RenderError",
    "SpeechError",
    "SplatfaceError",
    "TrackingError",
    "TrainingError",
    "VideoError",
    "silence_unraisable_on_interrupt",
]


class SplatfaceError(Exception):
    """Base of all errors a user can meet."""


class AudioError(SplatfaceError):
    """A microphone, a sound file or a stream of samples cannot be used."""


class EncoderError(SplatfaceError):
    """A speech encoder is unknown, not installed or does not fit."""


class HeadError(SplatfaceError):
    """A head folder is missing, damaged, of another version or made for something else."""


class RenderError(SplatfaceError):
    """An image cannot be rendered as asked."""


class RecordingError(SplatfaceError):
    """A recording cannot be written or read."""


class LaunchError(SplatfaceError):
    """A launch file says something that cannot be carried out."""


class DatasetError(SplatfaceError):
    """A data set is missing, damaged, of another version or does not hold what is asked of it."""


class TrainingError(SplatfaceError):
    """A head cannot be trained as asked, or a run cannot go on."""


class ActorError(SplatfaceError):
    """A synthetic actor cannot be made or cannot play as asked."""


class TrackingError(SplatfaceError):
    """A face cannot be found or followed."""


class MetricError(SplatfaceError):
    """A quality cannot be measured."""


class SpeechError(SplatfaceError):
    """A text cannot be spoken as asked."""


class VideoError(SplatfaceError):
    """A video cannot be made as asked."""


if TYPE_CHECKING:
    from sys import UnraisableHookArgs


def silence_unraisable_on_interrupt() -> None:
    """Suppress tracebacks of objects that Ctrl-C interrupted in `__init__`.

    llvmlite's, for one, miss in `__del__` what their `__init__` had not set. All other errors that
    nobody can catch are printed as before.
    """
    sys.unraisablehook = _all_but_half_made


def _all_but_half_made(unraisable: "UnraisableHookArgs") -> None:
    in_del = getattr(unraisable.object, "__name__", "") == "__del__"
    if not in_del and not issubclass(unraisable.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)
