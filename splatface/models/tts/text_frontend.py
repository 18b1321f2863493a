# SPDX-License-Identifier: Apache-2.0
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
    "Phrase",
    "Sentence",
    "Symbol",
    "check_text",
    "is_full_stop",
    "phonemize",
    "romaji_to_ipa",
    "split_sentences",
    "symbols_of_phrases",
    "text_to_ipa",
    "time_symbols",
]

MAX_TEXT = 200_000  # characters, about three and a half hours
_MAX_LENGTH = 220  # characters of one unit; Kokoro takes 510 phonemes
_FIRST_MAX_LENGTH = 60  # the first unit is short, where a comma allows it: less latency
_MIN_CLAUSE = 12  # characters; shorter ones would sound broken
_SENTENCE_PAUSE_MS, _PARAGRAPH_PAUSE_MS, _CLAUSE_PAUSE_MS = 350, 650, 180

_END = re.compile(
    r"""(?P<mark>[.!?…]+|[。！？।॥؟۔]+)   # what ends a sentence
        (?P<close>["'”’»)\]」』]*)        # with the quotes that close behind it
        (?=\s|$|(?<=[。！？।॥۔」』]))""",
    re.VERBOSE,
)
_CLAUSE = re.compile(r"[,;:،、，；：—–]+[\"'”’»)\]]*(?=\s|(?<=[、，；：]))|\s[-–—](?=\s)")
# Abbreviations with a full stop within a sentence; the engine expands them.
_ABBREVIATION_LIST = """
    mr mrs ms dr prof st jr sr vs approx ca inc ltd co corp gen col lt sgt capt rev hon e.g i.e
    z.b d.h u.a u.s usw bzw evtl ggf inkl str hr fr tel vgl sog m mme mlle mm p.ex env
    sra srta ud uds av dott sig ing p.es ecc д.р т.е т.д г ул стр
"""
# Abbreviations only before a number: "No. 5", but "No."
_NUMBERED = frozenset(["no", "nr", "fig", "eq", "abs", "bd", "kap", "pág", "núm", "p", "s"])
# Words after an ordinal with a full stop: "am 3. Mai".
_AFTER_ORDINAL_LIST = """
    januar februar märz april mai juni juli august september oktober november dezember
    jahrhundert klasse stock
"""
_ABBREVIATIONS, _AFTER_ORDINAL = frozenset(_ABBREVIATION_LIST.split()), frozenset(_AFTER_ORDINAL_LIST.split())


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence, or a part of a long one, that is spoken without a pause."""

    text: str
    begin: int  # in the whole text, characters
    pause_ms: int  # after it
    last: bool = False  # of its text

    @property
    def end(self) -> int:
        """End in the whole text, characters."""
        return self.begin + len(self.text)


def check_text(text: str) -> None:
    """Refuse a text that cannot be read aloud.

    Raises:
        SpeechError: for an empty text, one without a letter or digit, one that is binary, a too long one.
    """
    if not text.strip():
        raise SpeechError("text: expected something to say, found none: give a sentence")
    if len(text) > MAX_TEXT:
        raise SpeechError(
            f"text: expected up to {MAX_TEXT} characters, found {len(text)}: say it in several goals"
        )
    invalid = sum(char == "\ufffd" or _is_binary(char) for char in text)
    if invalid:
        raise SpeechError(
            f"text: expected text, found {invalid} control or broken characters (binary data?): "
            "give readable UTF-8"
        )
    if not any(char.isalnum() for char in text):
        raise SpeechError(f"text: expected a letter or a digit, found only {text.strip()[:20]!r}: add a word")


def _is_binary(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cs", "Cn") and char not in "\t\n\r\x0b\x0c\x85"


def split_sentences(text: str) -> Iterator[Sentence]:
    """Yield the units of a text in order; each has a letter or digit."""
    previous: Sentence | None = None
    for sentence in _split_units(text):
        if previous is not None:
            yield previous
        previous = sentence
    if previous is not None:
        yield replace(previous, last=True)


def _split_units(text: str) -> Iterator[Sentence]:
    limit = _FIRST_MAX_LENGTH
    for begin, end in _sentence_spans(text):
        for start, stop, is_last in _split_long(text, begin, end, limit):
            unit = text[start:stop]
            if any(char.isalnum() for char in unit):
                yield Sentence(unit, start, _pause_ms(text, stop, is_last))
                limit = _MAX_LENGTH


def _sentence_spans(text: str) -> Iterator[tuple[int, int]]:
    """Yield begin and end of each sentence without the white space around it."""
    begin = 0
    for match in re.finditer(rf"(?:{_END.pattern})|\n\s*\n|\n(?=\s*[-*•\d])", text, re.VERBOSE):
        if match.group("mark") == "." and not is_full_stop(text, match.start()):
            continue
        yield from _strip(text, begin, match.end())
        begin = match.end()
    yield from _strip(text, begin, len(text))


def is_full_stop(text: str, index: int) -> bool:
    """Return whether the dot at an index ends its sentence, rather than an abbreviation or a number."""
    before = re.search(r"\S*$", text[:index])
    word = (before.group() if before else "").lower().lstrip("(\"'“„«")
    rest = text[index + 1 : index + 24]
    after = rest.lstrip("\"'”’»)]").lstrip()
    if rest[:1].isalnum() or word in _ABBREVIATIONS or (len(word) == 1 and word.isalpha()):
        return False
    if word in _NUMBERED and after[:1].isdigit():
        return False
    if word.isdigit() and re.split(r"\W", after.lower())[0] in _AFTER_ORDINAL:
        return False
    return not after[:1].islower()


def _strip(text: str, begin: int, end: int) -> Iterator[tuple[int, int]]:
    while begin < end and text[begin].isspace():
        begin += 1
    while begin < end and text[end - 1].isspace():
        end -= 1
    if begin < end:
        yield begin, end


def _split_long(text: str, begin: int, end: int, max_length: int) -> Iterator[tuple[int, int, bool]]:
    """Yield parts of a sentence that are not too long: cut at a comma if there is one, else at a space."""
    while end - begin > max_length:
        cut = _cut_at_clause(text, begin, begin + max_length)
        if cut is None and max_length < _MAX_LENGTH:
            max_length = _MAX_LENGTH  # no comma early enough: the first unit is as long as any
            continue
        cut = cut if cut is not None else _cut_at_space(text, begin, begin + max_length)
        for start, stop in _strip(text, begin, cut):
            yield start, stop, False
        begin, max_length = cut, _MAX_LENGTH
    for start, stop in _strip(text, begin, end):
        yield start, stop, True


def _cut_at_clause(text: str, begin: int, limit: int) -> int | None:
    """Return the end of the last clause before the limit that is long enough, None if there is none."""
    ends = [match.end() for match in _CLAUSE.finditer(text, begin, limit)]
    return next((end for end in reversed(ends) if end - begin >= _MIN_CLAUSE), None)


def _cut_at_space(text: str, begin: int, limit: int) -> int:
    space = text.rfind(" ", begin + 1, limit)
    return space if space > begin else limit


def _pause_ms(text: str, end: int, is_last: bool) -> int:
    if is_last:
        after = re.match(r"\s*", text[end:])
        paragraph = after is not None and after.group().count("\n") >= 2
        return _PARAGRAPH_PAUSE_MS if paragraph else _SENTENCE_PAUSE_MS
    return _CLAUSE_PAUSE_MS if not text[end - 1].isalnum() else 0


PAUSES = ",.;:!?"
_MARK = re.compile(r"(?:[,.;:!?…]+(?=\W|$)|[।，。？！、；：]+)")
_TO_ASCII_PUNCTUATION = str.maketrans("।，。？！、；：…", ".,.?!,;:.")
# fmt: off
_ROMAJI = (
    ("ssh", "ɕɕ"), ("cch", "ʨʨ"), ("sh", "ɕ"), ("ch", "ʨ"), ("tts", "tʦ"), ("ts", "ʦ"), ("j", "ʥ"),
    ("f", "ɸ"), ("y", "j"), ("r", "ɾ"), ("g", "ɡ"), ("u", "ɯ"),
)
# fmt: on


@dataclass(frozen=True, slots=True)
class Phrase:
    """The words between two pauses."""

    ipa: str  # words separated by spaces
    mark: str  # the punctuation after it, one of PAUSES or ""
    begin: int  # in the text, characters
    end: int


def phonemize(text: str, espeak_voice: str, *, tie: bool = False) -> list[Phrase]:
    """Return the phrases of a text; `tie` joins the two halves of affricates and diphthongs by ^.

    Raises:
        SpeechError: when the program espeak-ng is absent or fails.
    """
    out, begin = [], 0
    for match in [*_MARK.finditer(text), None]:
        end = match.start() if match else len(text)
        mark = match.group().translate(_TO_ASCII_PUNCTUATION) if match else ""
        if mark == "." and not is_full_stop(text, end):
            continue
        if any(char.isalnum() for char in text[begin:end]):
            out.append(Phrase(_espeak_ipa(text[begin:end], espeak_voice, tie), mark[:1], begin, end))
        begin = match.end() if match else end
    return out


def _espeak_ipa(words: str, espeak_voice: str, tie: bool) -> str:
    # On stdin, because a text may begin with a dash.
    command = ["espeak-ng", "-q", "--ipa", "-v", espeak_voice, "--stdin", *(["--tie=^"] if tie else [])]
    try:
        result = subprocess.run(command, input=words.encode(), capture_output=True, check=True)
    except FileNotFoundError:
        raise SpeechError(
            "expected the program espeak-ng, which reads text for this voice, found none: "
            "apt-get install espeak-ng"
        ) from None
    except subprocess.CalledProcessError as error:
        raise SpeechError(f"espeak-ng: {error.stderr.decode(errors='replace').strip()}") from None
    # espeak marks a change of language by (en)
    return re.sub(r"\([^)]*\)", "", " ".join(result.stdout.decode().split()))


def text_to_ipa(text: str, espeak_voice: str, *, tie: bool = False) -> str:
    """Return the IPA of a text with its punctuation."""
    return " ".join(phrase.ipa + phrase.mark for phrase in phonemize(text, espeak_voice, tie=tie))


def romaji_to_ipa(text: str) -> str:
    """Convert Japanese in Latin letters (long vowels written twice) to the IPA that Kokoro's voices know."""
    for latin, ipa in _ROMAJI:
        text = text.replace(latin, ipa)
    return re.sub(r"n(?![aieoɯj])", "ɴ", text)


_MODIFIERS = "ˈˌːʰʲ^ "


@dataclass(frozen=True, slots=True)
class Symbol:
    """A symbol of a voice's alphabet."""

    symbol: str
    word: tuple[int, int] | None  # begin and end in the text, None for pauses and gaps between words


def symbols_of_phrases(phrases: Iterable[Phrase], text: str, alphabet: Collection[str]) -> list[Symbol]:
    """Return the symbols of phrases, without those that are not in the voice's alphabet."""
    out: list[Symbol] = []
    for phrase in phrases:
        if out:
            out.append(Symbol(" ", None))
        spoken = phrase.ipa.split()
        written = [match.span() for match in re.finditer(r"\S+", text[phrase.begin : phrase.end])]
        for i, word in enumerate(spoken):
            if i:
                out.append(Symbol(" ", None))
            # "25" is one written word and two spoken ones: the written ones are distributed evenly.
            begin, end = written[i * len(written) // len(spoken)]
            span = (phrase.begin + begin, phrase.begin + end)
            out += [Symbol(char, span) for char in word]
        out += [Symbol(mark, None) for mark in phrase.mark]
    return [symbol for symbol in out if symbol.symbol in alphabet]


def time_symbols(
    symbols: list[Symbol], durations_s: list[float], *, late_s: float
) -> tuple[tuple[WordTiming, ...], tuple[tuple[str, float, float], ...]]:
    """Return words and phonemes (ipa, start s, end s) of symbols with these durations.

    `late_s` is the delay of the durations relative to the audio.
    """
    word_times: dict[tuple[int, int], tuple[float, float]] = {}
    phonemes: list[tuple[str, float, float]] = []
    start = -late_s
    for symbol, duration_s in zip(symbols, durations_s, strict=True):
        end = start + duration_s
        if symbol.word is not None:
            word_times[symbol.word] = (word_times.get(symbol.word, (start, end))[0], end)
        if (symbol.symbol in _MODIFIERS or unicodedata.combining(symbol.symbol)) and phonemes:
            # The time of a modifier or of the gap between words belongs to the phoneme before it.
            phonemes[-1] = (*phonemes[-1][:2], end)
        elif symbol.symbol not in _MODIFIERS:
            phonemes.append(("" if symbol.symbol in PAUSES + "$" else symbol.symbol, start, end))
        start = end
    words = (WordTiming(*span, max(times[0], 0.0), times[1]) for span, times in sorted(word_times.items()))
    return tuple(words), tuple((ipa, max(a, 0.0), b) for ipa, a, b in phonemes if b > 0)
