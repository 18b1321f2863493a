"""espeak-ng (GPL-3.0, in a process of its own): robotic, in more than a hundred languages, very fast."""

import re
import unicodedata
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import SpeechError
from splatface.models.tts.engine import EngineProcess, RawSpeech, Voice, WordTiming

__all__ = ["INSTALL", "has_voice", "raw", "say", "voices"]

INSTALL = "apt-get install libespeak-ng1"
_SEX = ("", "male", "female")
_VARIANTS = {"": "", "+f2": "female", "+m3": "male"}  # the plain voice, and two listed beside it
_WPM, _PITCH = 165, 50
_MARKS = "ˈˌʰʲ"
_SWITCHES = ("en", "base")  # names of languages between phonemes
_child = EngineProcess("espeak")


@cache
def voices() -> tuple[Voice, ...]:
    """One voice for each language, and English ones with other throats.

    Any name may be followed by a variant of espeak-ng: espeak/de+f2.
    """
    try:
        found = _child.ask(list=True)[0]["voices"]
    except SpeechError:
        return ()
    out = []
    for language, _, gender in found:
        for variant, sex in _VARIANTS.items() if language == "en-us" else [("", "")]:
            name = f"espeak/{language}{variant}"
            out.append(Voice(name, "espeak", language, sex or _SEX[gender % 3], "GPL-3.0", 22_050))
    return tuple(out)


def has_voice(voice: str) -> bool:
    """Whether this language, with or without a variant, is installed."""
    return any(listed.name == f"espeak/{voice.partition('+')[0]}" for listed in voices())


def raw(
    text: str, voice: str, *, words_per_minute: int = _WPM, pitch: int = _PITCH
) -> tuple[dict[str, Any], NDArray[np.float32]]:
    """espeak's own answer, {"rate", "phonemes", "words"} (see `native_worker.py`), and the samples."""
    return _child.ask(text=text, voice=voice, words_per_minute=words_per_minute, pitch=pitch)


def say(text: str, voice: str, rate: float) -> RawSpeech:
    """Speak one sentence.

    Raises:
        SpeechError: when espeak-ng has no such voice.
    """
    head, samples = raw(text, voice, words_per_minute=round(float(np.clip(_WPM * rate, 80, 450))))
    end_s = len(samples) / head["rate"]
    return RawSpeech(
        samples,
        head["rate"],
        tuple(_tokens(text, head["words"], end_s)),
        tuple(_phonemes(head["phonemes"], end_s)),
    )


def _tokens(text: str, words: list[tuple[int, int, float]], end_s: float) -> list[WordTiming]:
    """Words of the text, each with the time of all that espeak makes of it ("25" is two words)."""
    spans = [found.span() for found in re.finditer(r"\S+", text)]
    starts: dict[tuple[int, int], float] = {}
    for begin, _, start_s in words:
        span = next((span for span in spans if span[0] <= begin < span[1]), None)
        if span is not None and (not starts or span > max(starts)):
            starts[span] = start_s
    stops = [*list(starts.values())[1:], end_s]
    return [WordTiming(*span, start, stop) for (span, start), stop in zip(starts.items(), stops, strict=True)]


def _phonemes(marks: list[tuple[str, float]], end_s: float) -> list[tuple[str, float, float]]:
    stops = [start for _, start in marks[1:]] + [end_s]
    out = []
    for (name, start), end in zip(marks, stops, strict=True):
        letters = (x for x in name if x.isalpha() and x not in _MARKS and not unicodedata.combining(x))
        ipa = "".join(letters).replace("ː", "")
        if end > start and ipa not in _SWITCHES:
            out.append((ipa, start, end))
    return out
