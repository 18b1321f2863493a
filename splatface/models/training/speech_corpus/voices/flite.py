"""The voices of flite, with the exact times of their phones."""

from splatface.models.training.speech_corpus.phonemes import Phone, is_vowel
from splatface.models.training.speech_corpus.voices.spoken import Spoken, spoken
from splatface.models.tts.engines import flite

__all__ = ["FLITE_VOICES", "flite_say"]

FLITE_VOICES = ("awb", "rms", "slt", "kal16")


def flite_say(text: str, voice: str, *, stretch: float = 1.0) -> Spoken:
    """Speak English; `stretch` above 1 is slower."""
    head, samples = flite.raw(text, voice, stretch)
    return spoken(samples, head["rate"], _phones(head["segments"]), f"flite/{voice}", "en")


def _phones(segments: list[tuple[str, float, float]]) -> list[Phone]:
    """Phones of (name, start s, end s)."""
    phones = [Phone("", 0.0, flite.EARLY_S)]
    for name, start_s, end_s in segments:
        start, end = start_s + flite.EARLY_S, end_s + flite.EARLY_S
        ipa = flite.IPA.get(name, "")
        if len(ipa) == 2:
            middle = start + 0.6 * (end - start)
            phones += [Phone(ipa[0], start, middle), Phone(ipa[1], middle, end)]
        else:
            phones.append(Phone(ipa, start, end, 0.9 if name == "ax" or not is_vowel(ipa) else 1.0))
    return phones
