"""Text frontend: sentence splitting, phonemes by espeak-ng, timing of words and phonemes."""

import re
import subprocess
import unicodedata
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace

from splatface.models.errors import SpeechError
from splatface.models.tts.engine import WordTiming

__all__ = [
    "MAX_TEXT",
    "PAUSES",
    "Letter",
    "Phrase",
    "Sentence",
    "check_text",
    "dated",
    "ipa_of_romaji",
    "ipa_of_text",
    "is_full_stop",
    "phrases",
    "sentences",
    "spelling",
]

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


PAUSES = ",.;:!?"
_MARK = re.compile(r"(?:[,.;:!?…]+(?=\W|$)|[।，。？！、；：]+)")
_WIDE = str.maketrans("।，。？！、；：…", ".,.?!,;:.")
# fmt: off
_ROMAJI = (
    ("ssh", "ɕɕ"), ("cch", "ʨʨ"), ("sh", "ɕ"), ("ch", "ʨ"), ("tts", "tʦ"), ("ts", "ʦ"), ("j", "ʥ"),
    ("f", "ɸ"), ("y", "j"), ("r", "ɾ"), ("g", "ɡ"), ("u", "ɯ"),
)
# fmt: on


@dataclass(frozen=True, slots=True)
class Phrase:
    """What stands between two pauses."""

    ipa: str  # words parted by spaces
    mark: str  # the punctuation behind it, one of PAUSES or ""
    begin: int  # in the text, characters
    end: int


def phrases(text: str, espeak_voice: str, *, tie: bool = False) -> list[Phrase]:
    """The phrases of a text; `tie` joins the two halves of affricates and diphthongs by ^.

    Raises:
        SpeechError: when the program espeak-ng is absent or refuses.
    """
    out, begin = [], 0
    for found in [*_MARK.finditer(text), None]:
        end = found.start() if found else len(text)
        mark = found.group().translate(_WIDE) if found else ""
        if mark == "." and not is_full_stop(text, end):
            continue
        if any(letter.isalnum() for letter in text[begin:end]):
            out.append(Phrase(_ipa(text[begin:end], espeak_voice, tie), mark[:1], begin, end))
        begin = found.end() if found else end
    return out


def _ipa(words: str, espeak_voice: str, tie: bool) -> str:
    # On stdin, because a text may begin with a dash.
    command = ["espeak-ng", "-q", "--ipa", "-v", espeak_voice, "--stdin", *(["--tie=^"] if tie else [])]
    try:
        done = subprocess.run(command, input=words.encode(), capture_output=True, check=True)
    except FileNotFoundError:
        raise SpeechError(
            "expected the program espeak-ng, which reads text for this voice, found none: "
            "apt-get install espeak-ng"
        ) from None
    except subprocess.CalledProcessError as error:
        raise SpeechError(f"espeak-ng: {error.stderr.decode(errors='replace').strip()}") from None
    # espeak marks a change of language by (en)
    return re.sub(r"\([^)]*\)", "", " ".join(done.stdout.decode().split()))


def ipa_of_text(text: str, espeak_voice: str, *, tie: bool = False) -> str:
    """IPA of a text with its punctuation."""
    return " ".join(phrase.ipa + phrase.mark for phrase in phrases(text, espeak_voice, tie=tie))


def ipa_of_romaji(text: str) -> str:
    """Japanese in Latin letters (long vowels written twice) to the IPA that Kokoro's voices know."""
    for latin, ipa in _ROMAJI:
        text = text.replace(latin, ipa)
    return re.sub(r"n(?![aieoɯj])", "ɴ", text)


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
