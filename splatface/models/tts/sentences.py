"""A text cut into what is spoken in one breath, with the pause that follows."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace

from splatface.models.errors import SpeechError

__all__ = ["MAX_TEXT", "Sentence", "check_text", "is_full_stop", "sentences"]

MAX_TEXT = 200_000  # characters, about three and a half hours
LONGEST = 220  # characters in one breath; Kokoro takes 510 phonemes
FIRST = 60  # the first breath is short, where a comma allows it: sound comes sooner
SENTENCE_MS, PARAGRAPH_MS, CLAUSE_MS, SEAM_MS = 350, 650, 180, 0

_END = re.compile(
    r"""(?P<mark>[.!?…]+|[。！？।॥؟۔]+)   # what ends a sentence
        (?P<close>["'”’»)\]」』]*)        # with the quotes that close behind it
        (?=\s|$|(?<=[。！？।॥۔」』]))""",
    re.VERBOSE,
)
_CLAUSE = re.compile(r"[,;:،、，；：—–]+[\"'”’»)\]]*(?=\s|(?<=[、，；：]))|\s[-–—](?=\s)")
# Words that carry a full stop within a sentence. What is read in their place is the engine's affair.
_SHORT_FORMS = """
    mr mrs ms dr prof st jr sr vs approx ca inc ltd co corp gen col lt sgt capt rev hon e.g i.e
    z.b d.h u.a u.s usw bzw evtl ggf inkl str hr fr tel vgl sog m mme mlle mm p.ex env
    sra srta ud uds av dott sig ing p.es ecc д.р т.е т.д г ул стр
"""
# What carries one only before a number: "No. 5", but "No."
_NUMBERED = frozenset(["no", "nr", "fig", "eq", "abs", "bd", "kap", "pág", "núm", "p", "s"])
# What a number with a full stop stands before: "am 3. Mai".
_AFTER_ORDINALS = """
    januar februar märz april mai juni juli august september oktober november dezember
    jahrhundert klasse stock
"""
_SHORT, _ORDINAL = frozenset(_SHORT_FORMS.split()), frozenset(_AFTER_ORDINALS.split())


@dataclass(frozen=True, slots=True)
class Sentence:
    """One breath."""

    text: str
    begin: int  # in the whole text, characters
    pause_ms: int
    last: bool = False  # of its text

    @property
    def end(self) -> int:
        """Where it ends in the whole text, characters."""
        return self.begin + len(self.text)


def check_text(text: str) -> None:
    """Refuse what nobody could read aloud.

    Raises:
        SpeechError: for an empty text, one without a letter or digit, one that is binary, a too long one.
    """
    if not text.strip():
        raise SpeechError("text: expected something to say, found none: give a sentence")
    if len(text) > MAX_TEXT:
        raise SpeechError(
            f"text: expected up to {MAX_TEXT} characters, found {len(text)}: say it in several goals"
        )
    strange = sum(letter == "\ufffd" or _is_binary(letter) for letter in text)
    if strange:
        raise SpeechError(
            f"text: expected text, found {strange} control or broken characters (binary data?): "
            "give readable UTF-8"
        )
    if not any(letter.isalnum() for letter in text):
        raise SpeechError(f"text: expected a letter or a digit, found only {text.strip()[:20]!r}: add a word")


def _is_binary(letter: str) -> bool:
    return unicodedata.category(letter) in ("Cc", "Cs", "Cn") and letter not in "\t\n\r\x0b\x0c\x85"


def sentences(text: str) -> Iterator[Sentence]:
    """The breaths of a text in order; none is empty or without a letter or digit."""
    waiting: Sentence | None = None
    for sentence in _sentences(text):
        if waiting is not None:
            yield waiting
        waiting = sentence
    if waiting is not None:
        yield replace(waiting, last=True)


def _sentences(text: str) -> Iterator[Sentence]:
    first = True
    for begin, end in _whole_sentences(text):
        for start, stop, is_last in _breaths(text, begin, end, FIRST if first else LONGEST):
            piece = text[start:stop]
            if any(letter.isalnum() for letter in piece):
                yield Sentence(piece, start, _pause_ms(text, stop, is_last))
                first = False


def _whole_sentences(text: str) -> Iterator[tuple[int, int]]:
    """Begin and end of each sentence, white space left out at both ends."""
    begin = 0
    for found in re.finditer(rf"(?:{_END.pattern})|\n\s*\n|\n(?=\s*[-*•\d])", text, re.VERBOSE):
        if found.group("mark") == "." and not is_full_stop(text, found.start()):
            continue
        yield from _stripped(text, begin, found.end())
        begin = found.end()
    yield from _stripped(text, begin, len(text))


def is_full_stop(text: str, at: int) -> bool:
    """Whether the dot at a place ends its sentence; a short form, an ordinal or a number may hold it."""
    before = re.search(r"\S*$", text[:at])
    word = (before.group() if before else "").lower().lstrip("(\"'“„«")
    rest = text[at + 1 : at + 24]
    after = rest.lstrip("\"'”’»)]").lstrip()
    if rest[:1].isalnum() or word in _SHORT or (len(word) == 1 and word.isalpha()):
        return False
    if word in _NUMBERED and after[:1].isdigit():
        return False
    if word.isdigit() and re.split(r"\W", after.lower())[0] in _ORDINAL:
        return False
    return not after[:1].islower()


def _stripped(text: str, begin: int, end: int) -> Iterator[tuple[int, int]]:
    while begin < end and text[begin].isspace():
        begin += 1
    while begin < end and text[end - 1].isspace():
        end -= 1
    if begin < end:
        yield begin, end


def _breaths(text: str, begin: int, end: int, longest: int) -> Iterator[tuple[int, int, bool]]:
    """Cut a sentence that is too long for one breath: at a comma if there is one, else at a space."""
    while end - begin > longest:
        cut = _cut(text, begin, begin + longest)
        if cut is None and longest < LONGEST:
            longest = LONGEST  # no comma early enough: the first breath is as long as any
            continue
        cut = cut if cut is not None else _space(text, begin, begin + longest)
        for start, stop in _stripped(text, begin, cut):
            yield start, stop, False
        begin, longest = cut, LONGEST
    for start, stop in _stripped(text, begin, end):
        yield start, stop, True


def _cut(text: str, begin: int, limit: int) -> int | None:
    """Behind the last clause that ends before the limit; nothing so short that it would sound broken."""
    ends = [found.end() for found in _CLAUSE.finditer(text, begin, limit)]
    return next((end for end in reversed(ends) if end - begin >= 12), None)


def _space(text: str, begin: int, limit: int) -> int:
    found = text.rfind(" ", begin + 1, limit)
    return found if found > begin else limit


def _pause_ms(text: str, end: int, is_last: bool) -> int:
    if is_last:
        after = re.match(r"\s*", text[end:])
        paragraph = after is not None and after.group().count("\n") >= 2
        return PARAGRAPH_MS if paragraph else SENTENCE_MS
    return CLAUSE_MS if not text[end - 1].isalnum() else SEAM_MS
