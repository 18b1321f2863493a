"""flite (CMU, BSD-like): English voices built from recordings of real speakers; small, fast, no download."""

import unicodedata
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import SpeechError
from splatface.models.messages import SAMPLE_RATE
from splatface.models.tts.engine import EngineProcess, RawSpeech, Voice, WordTiming

__all__ = ["EARLY_S", "INSTALL", "IPA", "has_voice", "raw", "say", "voices"]

INSTALL = "apt-get install libflite1"
_SEX = {"slt": "female", "rms": "male", "awb": "male", "kal16": "male"}
_LANGUAGE = {"awb": "en-gb-scotland"}
EARLY_S = 0.008  # the times run ahead of the sound: measured by correlating loudness with vowels
_PLAIN = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": "-", "…": "."})
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
_child = EngineProcess("flite")


@cache
def voices() -> tuple[Voice, ...]:
    """The voices whose libraries are there."""
    try:
        found = _child.ask(list=list(_SEX))[0]["voices"]
    except SpeechError:
        return ()
    return tuple(
        Voice(
            f"flite/{name}", "flite", _LANGUAGE.get(name, "en-us"), _SEX[name], "BSD-like (CMU)", SAMPLE_RATE
        )
        for name in found
    )


def has_voice(voice: str) -> bool:
    """Whether this voice is installed."""
    return any(listed.name == f"flite/{voice}" for listed in voices())


def raw(text: str, voice: str, stretch: float) -> tuple[dict[str, Any], NDArray[np.float32]]:
    """flite's own answer, {"rate", "segments", "words"} (see `native_worker.py`), and the samples."""
    return _child.ask(text=text, voice=voice, stretch=stretch)


def say(text: str, voice: str, rate: float) -> RawSpeech:
    """Speak one English sentence; letters that flite does not know are read as their nearest.

    Raises:
        SpeechError: when no letter of it is left.
    """
    plain = _plain(text)
    if not any(letter.isalnum() for letter in plain):
        raise SpeechError(
            f"flite/{voice}: expected English text, found {text[:40]!r}: use a voice of its language"
        )
    head, samples = raw(plain, voice, 1 / rate)
    phonemes = [(IPA.get(name, ""), start + EARLY_S, end + EARLY_S) for name, start, end in head["segments"]]
    return RawSpeech(samples, head["rate"], tuple(_tokens(plain, head["words"])), tuple(phonemes))


def _plain(text: str) -> str:
    """ASCII of the same length, so that a place in it is a place in the text."""
    out = []
    for letter in text.translate(_PLAIN):
        first = unicodedata.normalize("NFKD", letter)[:1]
        out.append(first if first.isascii() and first.isprintable() else " ")
    return "".join(out)


def _tokens(text: str, words: list[tuple[str, float, float]]) -> list[WordTiming]:
    out, reached = [], 0
    for name, start, end in words:
        at = text.find(name, reached)
        if at >= 0:
            reached = at + len(name)
            out.append(WordTiming(at, reached, start + EARLY_S, end + EARLY_S))
    return out
