"""Who says what for the training data: sentences first, then phrases that no one has said before."""

from collections.abc import Iterator
from typing import Final

import numpy as np

from splatface.models.training.speech_corpus.phrases import pseudo_sentence
from splatface.models.training.speech_corpus.purpose import (
    HELD_OUT_LANGUAGES,
    HELD_OUT_SENTENCES,
    HELD_OUT_VOICES,
    VALIDATION_LANGUAGES,
    VALIDATION_VOICES,
)
from splatface.models.training.speech_corpus.sentences import SENTENCES
from splatface.models.training.speech_corpus.voices.espeak import espeak_say
from splatface.models.training.speech_corpus.voices.flite import FLITE_VOICES, flite_say
from splatface.models.training.speech_corpus.voices.neural import KOKORO_VOICES, Joe, Kokoro
from splatface.models.training.speech_corpus.voices.spoken import Spoken

__all__ = ["say_espeak", "say_flite", "say_joe", "say_kokoro"]

_ACCENTS = ("en-us", "en-gb-x-rp", "en-gb-scotland")
_VARIANTS = ("", "+f2", "+m3", "+f4", "+m7", "+f5", "+m1")
# Throats of espeak-ng that sound like a person's; its robots, whisperers and croakers are left out.
# fmt: off
_THROATS: Final = (
    "f1", "f2", "f3", "f4", "f5", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "klatt", "klatt2", "klatt3",
    "klatt4", "Alex", "Alicia", "Andrea", "Andy", "Annie", "Denis", "Diogo", "Gene", "Henrique", "Hugo",
    "Jacky", "Lee", "Marco", "Mario", "Michael", "Mike", "Nguyen", "Storm", "Tweaky", "adam", "anika",
    "antonio", "aunty", "belinda", "benjamin", "boris", "caleb", "david", "ed", "edward", "gustave", "iven",
    "john", "linda", "max", "michel", "miguel", "norbert", "pablo", "paul", "pedro", "quincy", "rob",
    "robert", "sandro", "shelby", "steph", "travis", "victor", "zac",
)
# Languages that espeak-ng reads Latin letters in: any language's words, with the sounds of another.
_READERS: Final = ("cs", "da", "nb", "hu", "ro", "sk", "hr", "id", "ca", "et", "lv", "eu", "sq", "cy", "sw")
# fmt: on
_KOKORO_LANGUAGES = ("en", "en", "en", "es", "fr", "pt", "ja-romaji", "de")
_PHRASES = {"espeak": 450, "flite": 200, "joe": 170, "kokoro": 40}  # a round


def _english(voice: str) -> tuple[str, ...]:
    if voice in HELD_OUT_VOICES:
        return SENTENCES["en"][-HELD_OUT_SENTENCES:]
    return SENTENCES["en"][:-HELD_OUT_SENTENCES]


def say_espeak(rng: np.random.Generator, rounds: int) -> Iterator[Spoken]:
    """Every language, each round with other variants, speeds and pitches."""
    for language in (name for name in SENTENCES if name != "ja-romaji"):
        sentences = _english("") if language == "en" else SENTENCES[language]
        for _ in range(rounds):
            for text in sentences:
                variant = str(rng.choice(_VARIANTS))
                voice = str(rng.choice(_ACCENTS)) if language == "en" else language
                pace, pitch = int(rng.integers(125, 200)), int(rng.integers(30, 75))
                said = espeak_say(text, voice, variant=variant, words_per_minute=pace, pitch=pitch)
                yield Spoken(said.samples, said.phones, said.voice, language)
    apart = {"ja-romaji", *HELD_OUT_LANGUAGES, *VALIDATION_LANGUAGES}
    known = [language for language in SENTENCES if language not in apart]
    latin = [language for language in known if language not in ("ru", "hi", "cmn")]
    for turn in range(rounds * _PHRASES["espeak"]):
        foreign = turn % 3 == 0
        language = str(rng.choice(latin if foreign else known))
        text = pseudo_sentence(language, rng)
        if foreign:
            language = str(rng.choice(_READERS))
        voice = str(rng.choice(_ACCENTS)) if language == "en" else language
        pace, pitch = int(rng.integers(120, 210)), int(rng.integers(20, 80))
        variant = "+" + str(rng.choice(_THROATS))
        said = espeak_say(text, voice, variant=variant, words_per_minute=pace, pitch=pitch)
        yield Spoken(said.samples, said.phones, said.voice, language)


def say_flite(rng: np.random.Generator, rounds: int) -> Iterator[Spoken]:
    """English by four speakers; phrases only by those that are trained on."""
    for voice in FLITE_VOICES:
        for _ in range(rounds):
            for text in _english(f"flite/{voice}"):
                yield flite_say(text, voice, stretch=float(rng.uniform(0.85, 1.35)))
    apart = (*HELD_OUT_VOICES, *VALIDATION_VOICES)
    known = [voice for voice in FLITE_VOICES if f"flite/{voice}" not in apart]
    for turn in range(rounds * _PHRASES["flite"]):
        text = pseudo_sentence("en", rng)
        yield flite_say(text, known[turn % len(known)], stretch=float(rng.uniform(0.85, 1.35)))


def say_joe(rng: np.random.Generator, rounds: int) -> Iterator[Spoken]:
    """English by Piper's joe."""
    joe = Joe()
    for _ in range(rounds):
        for text in _english("piper/joe"):
            yield joe.say(text, speed=float(rng.uniform(0.75, 1.15)))
    for _ in range(rounds * _PHRASES["joe"]):
        yield joe.say(pseudo_sentence("en", rng), speed=float(rng.uniform(0.75, 1.2)))


def say_kokoro(rng: np.random.Generator, rounds: int) -> Iterator[Spoken]:
    """Seven languages by mixtures of the trained voices, and by the held-out voice."""
    kokoro = Kokoro()
    known = [voice for voice in KOKORO_VOICES if f"kokoro/{voice}" not in HELD_OUT_VOICES]
    for text in _english(HELD_OUT_VOICES[0]):
        yield kokoro.say(text, "en", {"jf_nezumi": 1.0})
    for turn in range(rounds):
        for language in ("en", "ja-romaji", "es", "fr", "it", "pt"):
            if language in HELD_OUT_LANGUAGES and turn:
                continue
            for text in _english("") if language == "en" else SENTENCES[language]:
                pair = [str(name) for name in rng.choice(known, 2, replace=False)]
                share = float(rng.choice([1.0, 0.75, 0.5]))
                blend = {pair[0]: share, pair[1]: 1 - share} if share < 1 else {pair[0]: 1.0}
                yield kokoro.say(text, language, blend, speed=float(rng.uniform(0.8, 1.2)))
    for _ in range(rounds * _PHRASES["kokoro"]):
        language = str(rng.choice(_KOKORO_LANGUAGES))
        blend = _mixture(known, rng)
        text = pseudo_sentence(language, rng)
        yield kokoro.say(text, language, blend, speed=float(rng.uniform(0.75, 1.25)))


def _mixture(known: list[str], rng: np.random.Generator) -> dict[str, float]:
    """Someone between two voices, or beyond one of them as seen from the other."""
    one, other = (str(name) for name in rng.choice(known, 2, replace=False))
    share = float(rng.uniform(0.5, 1.4))
    return {one: share, other: 1 - share}
