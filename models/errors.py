"""Every error splatface raises on purpose.

A message says what was expected, what was found and what to do next.
"""

__all__ = [
    "AudioError",
    "EncoderError",
    "HeadError",
    "LaunchError",
    "RecordingError",
    "RenderError",
    "SplatfaceError",
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
    """A picture cannot be drawn as asked."""


class RecordingError(SplatfaceError):
    """A recording cannot be written or read."""


class LaunchError(SplatfaceError):
    """A launch file says something that cannot be carried out."""
