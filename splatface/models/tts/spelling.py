"""What a neural voice reads: letters of IPA, and which word of the text each belongs to."""

import re
import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from splatface.models.tts.ipa import PAUSES, Phrase
from splatface.models.tts.spoken import WordTiming

__all__ = ["Letter", "dated", "spelling"]

_MARKS = "ˈˌːʰʲ^ "


@dataclass(frozen=True, slots=True)
class Letter:
    """A letter that the voice knows."""

    letter: str
    word: tuple[int, int] | None  # begin and end in the text, None for pauses and seams


def spelling(phrases: Iterable[Phrase], text: str, known: Collection[str]) -> list[Letter]:
    """The letters of phrases, without those that the voice does not know."""
    out: list[Letter] = []
    for phrase in phrases:
        if out:
            out.append(Letter(" ", None))
        said = phrase.ipa.split()
        written = [found.span() for found in re.finditer(r"\S+", text[phrase.begin : phrase.end])]
        for i, word in enumerate(said):
            if i:
                out.append(Letter(" ", None))
            # "25" is one word written and two said: the written ones are spread evenly.
            begin, end = written[i * len(written) // len(said)]
            span = (phrase.begin + begin, phrase.begin + end)
            out += [Letter(letter, span) for letter in word]
        out += [Letter(mark, None) for mark in phrase.mark]
    return [letter for letter in out if letter.letter in known]


def dated(
    letters: list[Letter], seconds: list[float], *, late_s: float
) -> tuple[tuple[WordTiming, ...], tuple[tuple[str, float, float], ...]]:
    """Words and phonemes (ipa, start s, end s) of letters that last so long.

    `late_s` is by how much the durations run behind the sound.
    """
    spans: dict[tuple[int, int], tuple[float, float]] = {}
    phonemes: list[tuple[str, float, float]] = []
    start = -late_s
    for letter, length in zip(letters, seconds, strict=True):
        end = start + length
        if letter.word is not None:
            spans[letter.word] = (spans.get(letter.word, (start, end))[0], end)
        if (letter.letter in _MARKS or unicodedata.combining(letter.letter)) and phonemes:
            # The sound of a mark or of the seam between words belongs to what stands before it.
            phonemes[-1] = (*phonemes[-1][:2], end)
        elif letter.letter not in _MARKS:
            phonemes.append(("" if letter.letter in PAUSES + "$" else letter.letter, start, end))
        start = end
    tokens = (WordTiming(*span, max(times[0], 0.0), times[1]) for span, times in sorted(spans.items()))
    return tuple(tokens), tuple((ipa, max(a, 0.0), b) for ipa, a, b in phonemes if b > 0)
