"""Text without end: known words in a new order, and words that could be of the language but are not.

A net that hears the same sentences again and again learns the sentences; sounds must meet in every order.
"""

from collections import defaultdict
from functools import cache

import numpy as np

from splatface.models.training.speech_corpus.purpose import HELD_OUT_SENTENCES
from splatface.models.training.speech_corpus.sentences import SENTENCES

__all__ = ["pseudo_sentence"]

_WORDS = (4, 10)
_INVENTED = 0.5  # share of the words
_LONGEST = 10  # letters of an invented word
_MARKS = ".,;:!?，。？！"
_START, _END = "\x02", "\x03"


def pseudo_sentence(language: str, rng: np.random.Generator) -> str:
    """Four to nine words of one of the languages of SENTENCES, which together say nothing."""
    words, chain = _known(language)
    if language == "cmn":  # its writing knows no letters: its clauses are shuffled
        return "，".join(str(word) for word in rng.choice(words, 2)) + "。"
    said = [
        _invented(chain, rng) if rng.random() < _INVENTED else str(rng.choice(words))
        for _ in range(int(rng.integers(*_WORDS)))
    ]
    if len(said) > 5 and rng.random() < 0.5:
        said[len(said) // 2] += ","
    return " ".join(said) + str(rng.choice([".", ".", "?"]))


@cache
def _known(language: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """The language's words, and after every two letters the letters that may follow, as often as they do."""
    sentences = SENTENCES[language]
    if language == "en":
        sentences = sentences[:-HELD_OUT_SENTENCES]
    if language == "cmn":
        return tuple(clause for text in sentences for clause in text.strip(_MARKS).split("，")), {}
    words = [word.strip(_MARKS) for text in sentences for word in text.lower().split()]
    chain: dict[str, str] = defaultdict(str)
    for word in words:
        letters = _START * 2 + word + _END
        for i in range(2, len(letters)):
            chain[letters[i - 2 : i]] += letters[i]
    return tuple(words), dict(chain)


def _invented(chain: dict[str, str], rng: np.random.Generator) -> str:
    word = _START * 2
    while not word.endswith(_END) and len(word) < _LONGEST + 2:
        following = chain[word[-2:]]
        word += following[int(rng.integers(len(following)))]
    return word.strip(_START + _END)
