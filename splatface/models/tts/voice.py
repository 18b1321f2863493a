"""A voice and its name."""

from dataclasses import dataclass
from typing import Protocol

from splatface.models.tts.spoken import RawSpeech

__all__ = ["Engine", "Voice"]


@dataclass(frozen=True, slots=True)
class Voice:
    """A voice that is installed."""

    name: str  # "engine/voice", such as "flite/slt"
    engine: str
    language: str  # "en-us", "de", ...
    sex: str  # "female", "male" or "" where it is not said
    license: str  # of the voice and its engine
    sample_rate: int  # of the engine; what is spoken comes at 16 kHz


class Engine(Protocol):
    """What each module of `engines` offers."""

    INSTALL: str  # the command that installs it

    def voices(self) -> tuple[Voice, ...]:
        """The voices that are installed, none when the engine is not."""
        ...

    def has_voice(self, voice: str) -> bool:
        """Whether it has a voice of this name (without the engine); more than the listed ones may be."""
        ...

    def say(self, text: str, voice: str, rate: float) -> RawSpeech:
        """Speak one sentence; `voice` is the name without the engine, `rate` 1 is its own pace."""
        ...
