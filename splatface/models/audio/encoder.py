"""Speech encoders: sound in chunks of any size becomes one feature frame every 20 ms."""

from typing import Protocol

from splatface.models.audio.heard import StreamAnnotator
from splatface.models.audio.stream import Features, StreamEncoder
from splatface.models.errors import EncoderError
from splatface.models.messages import AudioChunk, AudioFrame

__all__ = ["ENCODERS", "FEATURE_VERSION", "Encoder", "encoder"]

FEATURE_VERSION = (
    "2"  # raise it when an encoder gives other features of the same sound: what is kept is heard anew
)
ENCODERS = ("logmel", "fsmn", "whisper")


class Encoder(Protocol):
    """A streaming speech encoder.

    The same frames, bit for bit, come out however the sound was cut into chunks.
    """

    @property
    def name(self) -> str:
        """One of `ENCODERS`, or the name of a user's own."""
        ...

    @property
    def dim(self) -> int:
        """Length of `AudioFrame.values`."""
        ...

    @property
    def rate_hz(self) -> int:
        """Frames per second of sound: 50."""
        ...

    @property
    def lookahead_ms(self) -> float:
        """Most sound heard after a frame's center before the frame comes out."""
        ...

    @property
    def nonfinite_samples(self) -> int:
        """NaN or infinite samples met so far, each heard as 0."""
        ...

    def push(self, chunk: AudioChunk) -> list[AudioFrame]:
        """Hear a chunk; return the frames it completes, in order of time."""
        ...

    def reset(self) -> None:
        """Forget the stream."""
        ...


def _features(name: str) -> Features:
    if name == "logmel":
        from splatface.models.audio.logmel import LogMel

        return LogMel()
    if name == "fsmn":
        from splatface.models.audio.fsmn import Fsmn

        return Fsmn()
    if name == "whisper":
        from splatface.models.audio.whisper import Whisper

        return Whisper()
    raise EncoderError(f"encoder '{name}' is unknown: choose one of {', '.join(ENCODERS)}")


def encoder(name: str) -> Encoder:
    """The encoder called `name`, its network loaded and ready.

    Raises EncoderError when the name is unknown or what it needs is not installed; AudioError when the
    voice detector is not.
    """
    return StreamEncoder(_features(name), StreamAnnotator())
