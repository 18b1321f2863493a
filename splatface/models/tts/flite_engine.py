# SPDX-License-Identifier: Apache-2.0
"""flite (CMU, BSD-like): English voices built from recordings of real speakers; small, fast, no download."""

import unicodedata
from functools import cache
from typing import Any

from splatface.models.errors import SpeechError
from splatface.models.messages import SAMPLE_RATE
from splatface.models.tts.engine import EngineProcess, RawSpeech, Voice, WordTiming
from splatface.models.typing import Float32Array

__all__ = ["EARLY_S", "INSTALL", "IPA", "has_voice", "say", "synthesize", "voices"]

INSTALL = "apt-get install libflite1"
_SEX = {"slt": "female", "rms": "male", "awb": "male", "kal16": "male"}
_LANGUAGE = {"awb": "en-gb-scotland"}
EARLY_S = 0.008  # lead of the times relative to the audio, measured by correlating loudness with vowels
_TO_ASCII = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": "-", "…": "."})
# fmt: off
IPA = {
    "aa": "ɑ", "ae": "æ", "ah": "ʌ", "ao": "ɔ", "aw": "aʊ", "ax": "ə", "axr": "ɚ", "ay": "aɪ", "b": "b",
    "ch": "ʧ", "d": "d", "dh": "ð", "dx": "ɾ", "eh": "ɛ", "el": "l", "em": "m", "en": "n", "er": "ɝ",
    "ey": "eɪ", "f": "f", "g": "ɡ", "hh": "h", "hv": "h", "ih": "ɪ", "iy": "i", "jh": "ʤ", "k": "k",
    "l": "l", "m": "m", "n": "n", "nx": "n", "ng": "ŋ", "ow": "oʊ", "oy": "ɔɪ", "p": "p", "r": "ɹ",
    "s": "s", "sh": "ʃ", "t": "t", "th": "θ", "uh": "ʊ", "uw": "u", "v": "v", "w": "w", "y": "j", "z": "z",
    "zh": "ʒ", "pau": "", "ssil": "",
}
# fmt: on
_process = EngineProcess("flite")


@cache
def voices() -> tuple[Voice, ...]:
    """Return the voices whose libraries are installed."""
    try:
        names = _process.request(list=list(_SEX))[0]["voices"]
    except SpeechError:
        return ()
    return tuple(
        Voice(
            f"flite/{name}", "flite", _LANGUAGE.get(name, "en-us"), _SEX[name], "BSD-like (CMU)", SAMPLE_RATE
        )
        for name in names
    )


def has_voice(voice: str) -> bool:
    """Return whether this voice is installed."""
    return any(listed.name == f"flite/{voice}" for listed in voices())


def synthesize(text: str, voice: str, stretch: float) -> tuple[dict[str, Any], Float32Array]:
    """Return flite's own answer, {"rate", "segments", "words"} (see `native_worker.py`), and the samples."""
    return _process.request(text=text, voice=voice, stretch=stretch)


def say(text: str, voice: str, rate: float) -> RawSpeech:
    """Synthesize an English sentence; letters that flite does not know are replaced by similar ones.

    Raises:
        SpeechError: when no letter of it is left.
    """
    ascii_text = _to_ascii(text)
    if not any(letter.isalnum() for letter in ascii_text):
        raise SpeechError(
            f"flite/{voice}: expected English text, found {text[:40]!r}: use a voice of its language"
        )
    head, samples = synthesize(ascii_text, voice, 1 / rate)
    phonemes = [(IPA.get(name, ""), start + EARLY_S, end + EARLY_S) for name, start, end in head["segments"]]
    return RawSpeech(samples, head["rate"], tuple(_words(ascii_text, head["words"])), tuple(phonemes))


def _to_ascii(text: str) -> str:
    """Convert to ASCII of the same length, so that indices in it are indices in the text."""
    out = []
    for letter in text.translate(_TO_ASCII):
        first = unicodedata.normalize("NFKD", letter)[:1]
        out.append(first if first.isascii() and first.isprintable() else " ")
    return "".join(out)


def _words(text: str, words: list[tuple[str, float, float]]) -> list[WordTiming]:
    out, end_of_last = [], 0
    for name, start, end in words:
        begin = text.find(name, end_of_last)
        if begin >= 0:
            end_of_last = begin + len(name)
            out.append(WordTiming(begin, end_of_last, start + EARLY_S, end + EARLY_S))
    return out
