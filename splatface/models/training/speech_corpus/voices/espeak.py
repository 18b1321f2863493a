"""The voices of espeak-ng: robotic, in many languages, with the exact times of their phones."""

import unicodedata

from splatface.models.training.speech_corpus.phonemes import Phone, is_vowel
from splatface.models.training.speech_corpus.voices.spoken import Spoken, spoken
from splatface.models.tts.engines import espeak

__all__ = ["espeak_say"]

_MARKS = "ˈˌːʰʲ"
_SWITCHES = ("en", "base")  # names of languages between phonemes


def espeak_say(
    text: str, language: str, *, variant: str = "", words_per_minute: int = 165, pitch: int = 50
) -> Spoken:
    """Speak with the voice of a language and a variant ("+f2", "+m3", ...); pitch 0..99."""
    voice = language + variant
    head, samples = espeak.raw(text, voice, words_per_minute=words_per_minute, pitch=pitch)
    marks = [(start, name) for name, start in head["phonemes"]]
    phones = _phones(marks, len(samples) / head["rate"])
    return spoken(samples, head["rate"], phones, f"espeak/{voice}", language)


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
