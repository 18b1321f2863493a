"""What speaking gives: sound, and the time of every word and speech sound in it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Phoneme", "RawSpeech", "SpeechAudio", "Word", "WordTiming"]


@dataclass(frozen=True, slots=True)
class Word:
    """A word of the text and when it is heard."""

    text: str  # as written
    begin: int  # where it stands in the whole text, characters
    end: int
    start_ns: int  # since the first sample of its sentence
    end_ns: int


@dataclass(frozen=True, slots=True)
class Phoneme:
    """A speech sound and when it is heard."""

    ipa: str  # "" is a pause
    start_ns: int  # since the first sample of its sentence
    end_ns: int


@dataclass(frozen=True, slots=True, eq=False)
class SpeechAudio:
    """A sentence, ready to be played; the pause that follows it is part of the samples."""

    samples: NDArray[np.float32]  # [T], -1..1, 16 kHz
    words: tuple[Word, ...]  # in order
    phonemes: tuple[Phoneme, ...]  # in order, without overlap
    text: str
    end: int  # where the sentence ends in the whole text, characters
    speech_ns: int  # how long it is without the pause
    last: bool = False  # of its text


@dataclass(frozen=True, slots=True)
class WordTiming:
    """A word as an engine dates it."""

    begin: int  # in the sentence, characters
    end: int
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True, eq=False)
class RawSpeech:
    """A sentence as an engine gives it: its own rate and loudness, silence at both ends."""

    samples: NDArray[np.float32]  # [T], -1..1
    sample_rate: int
    tokens: tuple[WordTiming, ...]
    phonemes: tuple[tuple[str, float, float], ...]  # ipa ("" a pause), start s, end s
