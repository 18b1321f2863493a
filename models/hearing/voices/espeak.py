"""The voices of espeak-ng: robotic, in many languages, with phoneme events.

The library (GPL-3.0) is loaded only by the script that makes training data, never by what is shipped.
"""

import ctypes
import ctypes.util
import unicodedata
from functools import cache

import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import AudioError
from splatface.models.hearing.phonemes import Phone, is_vowel
from splatface.models.hearing.voices.spoken import Spoken, spoken

__all__ = ["espeak_say"]

_SYNCHRONOUS, _PHONEME_EVENTS, _IPA_EVENTS = 2, 1, 2
_END_OF_LIST, _PHONEME = 0, 7
_UTF8 = 1
_WPM, _PITCH = 1, 3
_MARKS = "ˈˌːʰʲ"
_SWITCHES = ("en", "base")  # names of languages between phonemes


class _Id(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),  # ms
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    )


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


@cache
def _library() -> tuple[ctypes.CDLL, int]:
    """The library, started, and its sample rate."""
    try:
        library = ctypes.CDLL("libespeak-ng.so.1")
    except OSError:
        raise AudioError(
            "expected the library libespeak-ng.so.1, found none: apt-get install espeak-ng"
        ) from None
    return library, library.espeak_Initialize(_SYNCHRONOUS, 0, None, _PHONEME_EVENTS | _IPA_EVENTS)


def espeak_say(
    text: str, language: str, *, variant: str = "", words_per_minute: int = 165, pitch: int = 50
) -> Spoken:
    """Speak with the voice of a language and a variant ("+f2", "+m3", ...); pitch 0..99."""
    library, rate = _library()
    pieces: list[NDArray[np.int16]] = []
    marks: list[tuple[float, str]] = []

    def receive(
        wave: "ctypes._Pointer[ctypes.c_short]", count: int, events: "ctypes._Pointer[_Event]"
    ) -> int:
        if count > 0:
            pieces.append(np.ctypeslib.as_array(wave, (count,)).copy())
        i = 0
        while events[i].type != _END_OF_LIST:
            if events[i].type == _PHONEME:
                marks.append((events[i].audio_position / 1000, events[i].id.string.decode("utf-8", "ignore")))
            i += 1
        return 0

    callback = _Callback(receive)
    library.espeak_SetSynthCallback(callback)
    if library.espeak_SetVoiceByName((language + variant).encode()):
        raise AudioError(f"expected a voice of espeak-ng, found {language + variant}: see espeak-ng --voices")
    library.espeak_SetParameter(_WPM, words_per_minute, 0)
    library.espeak_SetParameter(_PITCH, pitch, 0)
    data = text.encode() + b"\0"
    library.espeak_Synth(data, len(data), 0, 1, 0, _UTF8, None, None)
    samples = np.concatenate(pieces).astype(np.float32) / np.float32(32768)
    phones = _phones(marks, len(samples) / rate)
    return spoken(samples, rate, phones, f"espeak/{language}{variant}", language)


def _phones(marks: list[tuple[float, str]], end_s: float) -> list[Phone]:
    """Phones of the starts and names of espeak's phonemes."""
    phones: list[Phone] = []
    stops = [start for start, _ in marks[1:]] + [end_s]
    for (start, name), end in zip(marks, stops, strict=True):
        letters = [x for x in name if x.isalpha() and x not in _MARKS and not unicodedata.combining(x)]
        ipa = "".join(letters)
        stress = 1.15 if "ˈ" in name else 1.0 if "ˌ" in name else 0.85
        if end <= start or ipa in _SWITCHES:
            continue
        if not ipa and end - start < 0.08 and phones:  # a seam, not a pause
            last = phones[-1]
            phones[-1] = Phone(last.ipa, last.start_s, end, last.stress)
        elif len(letters) == 2 and is_vowel(letters[0]) and is_vowel(letters[1]):
            middle = start + 0.6 * (end - start)
            phones += [Phone(letters[0], start, middle, stress), Phone(letters[1], middle, end, stress)]
        elif is_vowel(ipa[:1]):
            phones.append(Phone(ipa, start, end, stress))
        else:
            # Of an affricate (tʃ, dʒ, ts) the second letter is what the lips show.
            phones.append(Phone(ipa[-1:], start, end, stress))
    return _with_closures(phones)


def _with_closures(phones: list[Phone]) -> list[Phone]:
    """Espeak dates a stop from its burst and leaves the closure to the sound before: give it back."""
    out: list[Phone] = []
    for phone in phones:
        if phone.ipa and phone.ipa in "pbtdkɡcɟ" and phone.end_s - phone.start_s < 0.06 and out:
            last = out[-1]
            start = phone.start_s - min(0.06, 0.45 * (last.end_s - last.start_s))
            out[-1] = Phone(last.ipa, last.start_s, start, last.stress)
            out.append(Phone(phone.ipa, start, phone.end_s, phone.stress))
        else:
            out.append(phone)
    return out
