"""Two neural voices with the exact times of their phones: Kokoro-82M and Piper's joe."""

import unicodedata

import numpy as np
from numpy.typing import NDArray

from splatface.models.training.speech_corpus.phonemes import Phone, is_vowel
from splatface.models.training.speech_corpus.voices.spoken import Spoken, spoken
from splatface.models.tts.engines import kokoro, piper
from splatface.models.tts.ipa import PAUSES, ipa_of_romaji, ipa_of_text

__all__ = ["KOKORO_VOICES", "Joe", "Kokoro"]

KOKORO_VOICES = tuple(kokoro.VOICES)


def phones_of_durations(
    letters: list[str], seconds: NDArray[np.float64], *, late_s: float = 0.0
) -> list[Phone]:
    """Phones of letters that last so long: marks prolong their neighbor, stress marks the next vowel.

    `late_s` is by how much the durations run behind the sound.
    """
    phones: list[Phone] = []
    start, stress = -late_s, 0.85  # vowels without a mark are a little reduced
    for letter, length in zip(letters, seconds, strict=True):
        end = start + float(length)
        if letter in "ˈˌ":
            stress = 1.15 if letter == "ˈ" else 1.0
        said = kokoro.LETTERS.get(letter, letter)
        if (letter in "ˈˌːʰʲ^ " or unicodedata.combining(letter)) and phones:
            # The sound of a mark or of the seam between words belongs to what stands before it.
            last = phones[-1]
            phones[-1] = Phone(last.ipa, last.start_s, end, last.stress)
        elif len(said) == 2:
            # The glide of a diphthong takes its last 40 %.
            middle = start + 0.6 * float(length)
            phones += [Phone(said[0], start, middle, stress), Phone(said[1], middle, end, stress)]
            stress = 0.85
        else:
            phones.append(Phone("" if letter in PAUSES + " $" else said, start, end, stress))
            stress = 0.85 if is_vowel(said) else stress
        start = end
    return [Phone(p.ipa, max(p.start_s, 0.0), p.end_s, p.stress) for p in phones if p.end_s > 0]


class Kokoro:
    """Kokoro-82M: natural voices at 24 kHz, durations in steps of 25 ms."""

    def __init__(self) -> None:
        self._kokoro = kokoro.Kokoro()

    def say(self, text: str, language: str, blend: dict[str, float], *, speed: float = 1.0) -> Spoken:
        """Speak with a blend of voices (name to share): a mixture is a person of its own."""
        letters = [letter for letter in self.ipa(text, language) if letter in self._kokoro.vocabulary]
        wave, seconds = self._kokoro.speak(letters, blend, speed)
        phones = phones_of_durations(["$", *letters, "$"], np.array(seconds), late_s=kokoro.LATE_S)
        return spoken(wave, kokoro.RATE, phones, "kokoro/" + "+".join(blend), language)

    def ipa(self, text: str, language: str) -> str:
        """The letters Kokoro was trained on."""
        if language == "ja-romaji":
            return ipa_of_romaji(text)
        return kokoro.alphabet(ipa_of_text(text, kokoro.ESPEAK[language], tie=True), language)


class Joe:
    """Piper's voice en_US-joe-medium: 22.05 kHz, durations in steps of 11.6 ms."""

    def __init__(self) -> None:
        self._joe = piper.load("en_US-joe-medium")

    def say(self, text: str, *, speed: float = 1.0) -> Spoken:
        """Speak English."""
        said = unicodedata.normalize("NFD", ipa_of_text(text, self._joe.espeak))
        letters = ["^", *(letter for letter in said if letter in self._joe.ids), "$"]
        wave, seconds = self._joe.speak(letters, speed)
        marked = ["$" if x in "^$" else x for x in letters]
        phones = phones_of_durations(marked, np.array(seconds), late_s=piper.LATE_S)
        return spoken(wave, self._joe.rate, phones, "piper/joe", "en")
