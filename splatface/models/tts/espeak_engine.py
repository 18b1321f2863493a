# SPDX-License-Identifier: Apache-2.0
"""espeak-ng (GPL-3.0, in a process of its own): robotic, in more than a hundred languages, very fast."""

import re
import unicodedata
from functools import cache
from typing import Any

import numpy as np

from splatface.models.errors import SpeechError
from splatface.models.tts.engine import EngineProcess, RawSpeech, Voice, WordTiming
from splatface.models.typing import Float32Array

__all__ = ["INSTALL", "has_voice", "say", "synthesize", "voices"]

INSTALL = "apt-get install libespeak-ng1"
_SEX = ("", "male", "female")
_VARIANTS = {"": "", "+f2": "female", "+m3": "male"}  # the plain voice, and two listed beside it
_WPM, _PITCH = 165, 50
_MODIFIERS = "ˈˌʰʲ"
_LANGUAGE_SWITCHES = ("en", "base")  # names of languages between phonemes
_process = EngineProcess("espeak")


@cache
def voices() -> tuple[Voice, ...]:
    """Return one voice for each language, and variants of the English one.

    Any name may be followed by a variant of espeak-ng: espeak/de+f2.
    """
    try:
        listed = _process.request(list=True)[0]["voices"]
    except SpeechError:
        return ()
    out = []
    for language, _, gender in listed:
        for variant, sex in _VARIANTS.items() if language == "en-us" else [("", "")]:
            name = f"espeak/{language}{variant}"
            out.append(Voice(name, "espeak", language, sex or _SEX[gender % 3], "GPL-3.0", 22_050))
    return tuple(out)


def has_voice(voice: str) -> bool:
    """Return whether this language, with or without a variant, is installed."""
    return any(listed.name == f"espeak/{voice.partition('+')[0]}" for listed in voices())


def synthesize(
    text: str, voice: str, *, words_per_minute: int = _WPM, pitch: int = _PITCH
) -> tuple[dict[str, Any], Float32Array]:
    """Return espeak's own answer, {"rate", "phonemes", "words"} (see `native_worker.py`), and the samples."""
    return _process.request(text=text, voice=voice, words_per_minute=words_per_minute, pitch=pitch)


def say(text: str, voice: str, rate: float) -> RawSpeech:
    """Synthesize a sentence.

    Raises:
        SpeechError: when espeak-ng has no such voice.
    """
    head, samples = synthesize(text, voice, words_per_minute=round(float(np.clip(_WPM * rate, 80, 450))))
    end_s = len(samples) / head["rate"]
    return RawSpeech(
        samples,
        head["rate"],
        tuple(_words(text, head["words"], end_s)),
        tuple(_phonemes(head["phonemes"], end_s)),
    )


def _words(text: str, words: list[tuple[int, int, float]], end_s: float) -> list[WordTiming]:
    """Return the words of the text, each with the time of all words it is read as ("25" is two)."""
    spans = [match.span() for match in re.finditer(r"\S+", text)]
    starts: dict[tuple[int, int], float] = {}
    for begin, _, start_s in words:
        span = next((span for span in spans if span[0] <= begin < span[1]), None)
        if span is not None and (not starts or span > max(starts)):
            starts[span] = start_s
    stops = [*list(starts.values())[1:], end_s]
    return [WordTiming(*span, start, stop) for (span, start), stop in zip(starts.items(), stops, strict=True)]


def _phonemes(starts: list[tuple[str, float]], end_s: float) -> list[tuple[str, float, float]]:
    stops = [start for _, start in starts[1:]] + [end_s]
    out = []
    for (name, start), end in zip(starts, stops, strict=True):
        symbols = (x for x in name if x.isalpha() and x not in _MODIFIERS and not unicodedata.combining(x))
        ipa = "".join(symbols).replace("ː", "")
        if end > start and ipa not in _LANGUAGE_SWITCHES:
            out.append((ipa, start, end))
    return out
