# SPDX-License-Identifier: Apache-2.0
"""Make the training corpus: many voices speak the sentences, and every phone's time is known.

`splatface hear data CORPUS` writes one .npz for each sentence. Needs espeak-ng and flite (Debian) and, for
the natural voices, the packages named in `corpus_voices`; `forced_alignment` adds recordings of real people.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from splatface.models.messages import SAMPLE_RATE
from splatface.models.training.speech_corpus.corpus_voices import (
    FLITE_VOICES,
    KOKORO_VOICES,
    KokoroVoice,
    PiperJoeVoice,
    synthesize_espeak,
    synthesize_flite,
    trim_pauses,
)
from splatface.models.training.speech_corpus.phonemes import LabeledSpeech, Phone
from splatface.models.training.speech_corpus.sentences import HELD_OUT_SENTENCES, SENTENCES, pseudo_sentence

__all__ = [
    "HELD_OUT_LANGUAGES",
    "HELD_OUT_SOURCES",
    "HELD_OUT_VOICES",
    "SOURCES",
    "espeak_sentences",
    "flite_sentences",
    "is_test",
    "is_training",
    "is_validation",
    "joe_sentences",
    "kokoro_sentences",
    "make_corpus",
    "read_sentence",
    "write_sentence",
    "write_sentences",
]

# Test split: these voices, languages and sources, and the last English sentences, are never trained on.
HELD_OUT_VOICES = ("kokoro/jf_nezumi", "flite/awb")
HELD_OUT_LANGUAGES = ("it", "fi")
HELD_OUT_SOURCES = ("librivox", "cards")  # real people: the recordings of Debian's pocketsphinx-testdata
# Validation split, which sets a net's amplitude after training and is not trained on either.
VALIDATION_VOICES = ("flite/rms",)
VALIDATION_LANGUAGES = ("sv", "tr")

_ACCENTS = ("en-us", "en-gb-x-rp", "en-gb-scotland")
_VARIANTS = ("", "+f2", "+m3", "+f4", "+m7", "+f5", "+m1")
# Variants of espeak-ng that sound human; robotic, whispered and creaky ones are left out.
# fmt: off
_HUMAN_VARIANTS: Final = (
    "f1", "f2", "f3", "f4", "f5", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "klatt", "klatt2", "klatt3",
    "klatt4", "Alex", "Alicia", "Andrea", "Andy", "Annie", "Denis", "Diogo", "Gene", "Henrique", "Hugo",
    "Jacky", "Lee", "Marco", "Mario", "Michael", "Mike", "Nguyen", "Storm", "Tweaky", "adam", "anika",
    "antonio", "aunty", "belinda", "benjamin", "boris", "caleb", "david", "ed", "edward", "gustave", "iven",
    "john", "linda", "max", "michel", "miguel", "norbert", "pablo", "paul", "pedro", "quincy", "rob",
    "robert", "sandro", "shelby", "steph", "travis", "victor", "zac",
)
# Languages in which espeak-ng reads Latin letters: any language's words with the sounds of another.
_ACCENT_LANGUAGES: Final = (
    "cs", "da", "nb", "hu", "ro", "sk", "hr", "id", "ca", "et", "lv", "eu", "sq", "cy", "sw",
)
# fmt: on
_KOKORO_LANGUAGES = ("en", "en", "en", "es", "fr", "pt", "ja-romaji", "de")
_PSEUDO_SENTENCES = {"espeak": 450, "flite": 200, "joe": 170, "kokoro": 40}  # of each round


def make_corpus(
    folder: Path, sources: Sequence[str], report: Callable[[str], None], *, rounds: int | None = None
) -> None:
    """Synthesize the sentences of every source into `folder`; an old corpus there is replaced file by file.

    Args:
        folder: made where it is absent.
        sources: of SOURCES.
        report: called with the count and duration of each source.
        rounds: of each source (default: its own number).
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in sources:
        synthesize, default_rounds = SOURCES[name]
        sentences = synthesize(np.random.default_rng(5), rounds or default_rounds)
        report(write_sentences(folder, (trim_pauses(sentence) for sentence in sentences), name))


def write_sentences(folder: Path, sentences: Iterable[LabeledSpeech], name: str) -> str:
    """Write sentences with numbered names and return their count and duration in words."""
    count, seconds = 0, 0.0
    for sentence in sentences:
        write_sentence(folder, f"{name}_{count:05d}", sentence)
        count += 1
        seconds += len(sentence.samples) / SAMPLE_RATE
    return f"{name}: {count} sentences, {seconds / 60:.1f} min"


def write_sentence(folder: Path, name: str, sentence: LabeledSpeech) -> None:
    """Write one sentence as `<name>.npz`."""
    np.savez(
        folder / f"{name}.npz",
        samples=np.round(sentence.samples * 32767).astype(np.int16),
        ipa=np.array([phone.ipa for phone in sentence.phones]),
        times=np.array([(phone.start_s, phone.end_s, phone.stress) for phone in sentence.phones]),
        voice=sentence.voice,
        language=sentence.language,
    )


def read_sentence(path: Path) -> LabeledSpeech:
    """Read a sentence that `write_sentence` wrote."""
    with np.load(path) as file:
        labels = zip(file["ipa"], file["times"].tolist(), strict=True)
        phones = tuple(Phone(str(ipa), *times) for ipa, times in labels)
        samples = file["samples"].astype(np.float32) / 32767
        return LabeledSpeech(samples, phones, str(file["voice"]), str(file["language"]))


def is_test(sentence: LabeledSpeech) -> bool:
    """Return whether a sentence is held out to evaluate nets."""
    return (
        sentence.voice in HELD_OUT_VOICES
        or sentence.language in HELD_OUT_LANGUAGES
        or sentence.source in HELD_OUT_SOURCES
    )


def is_validation(sentence: LabeledSpeech) -> bool:
    """Return whether a sentence is held out for the last step of a training."""
    chosen = sentence.voice in VALIDATION_VOICES or sentence.language in VALIDATION_LANGUAGES
    return chosen and not is_test(sentence)


def is_training(sentence: LabeledSpeech) -> bool:
    """Return whether a sentence is trained on."""
    return not (is_test(sentence) or is_validation(sentence))


def espeak_sentences(rng: np.random.Generator, rounds: int) -> Iterator[LabeledSpeech]:
    """Synthesize every language, each round with other variants, speeds and pitches."""
    for language in (name for name in SENTENCES if name != "ja-romaji"):
        sentences = _english("") if language == "en" else SENTENCES[language]
        for _ in range(rounds):
            for text in sentences:
                variant = str(rng.choice(_VARIANTS))
                voice = str(rng.choice(_ACCENTS)) if language == "en" else language
                speed, pitch = int(rng.integers(125, 200)), int(rng.integers(30, 75))
                speech = synthesize_espeak(text, voice, variant=variant, words_per_minute=speed, pitch=pitch)
                yield replace(speech, language=language)
    excluded = {"ja-romaji", *HELD_OUT_LANGUAGES, *VALIDATION_LANGUAGES}
    training = [language for language in SENTENCES if language not in excluded]
    latin = [language for language in training if language not in ("ru", "hi", "cmn")]
    for number in range(rounds * _PSEUDO_SENTENCES["espeak"]):
        foreign = number % 3 == 0
        language = str(rng.choice(latin if foreign else training))
        text = pseudo_sentence(language, rng)
        if foreign:
            language = str(rng.choice(_ACCENT_LANGUAGES))
        voice = str(rng.choice(_ACCENTS)) if language == "en" else language
        speed, pitch = int(rng.integers(120, 210)), int(rng.integers(20, 80))
        variant = "+" + str(rng.choice(_HUMAN_VARIANTS))
        speech = synthesize_espeak(text, voice, variant=variant, words_per_minute=speed, pitch=pitch)
        yield replace(speech, language=language)


def flite_sentences(rng: np.random.Generator, rounds: int) -> Iterator[LabeledSpeech]:
    """Synthesize English by four speakers; pseudo-sentences only by those of the training split."""
    for voice in FLITE_VOICES:
        for _ in range(rounds):
            for text in _english(f"flite/{voice}"):
                yield synthesize_flite(text, voice, stretch=float(rng.uniform(0.85, 1.35)))
    excluded = (*HELD_OUT_VOICES, *VALIDATION_VOICES)
    training = [voice for voice in FLITE_VOICES if f"flite/{voice}" not in excluded]
    for number in range(rounds * _PSEUDO_SENTENCES["flite"]):
        text = pseudo_sentence("en", rng)
        voice = training[number % len(training)]
        yield synthesize_flite(text, voice, stretch=float(rng.uniform(0.85, 1.35)))


def joe_sentences(rng: np.random.Generator, rounds: int) -> Iterator[LabeledSpeech]:
    """Synthesize English by Piper's joe."""
    joe = PiperJoeVoice()
    for _ in range(rounds):
        for text in _english("piper/joe"):
            yield joe.synthesize(text, speed=float(rng.uniform(0.75, 1.15)))
    for _ in range(rounds * _PSEUDO_SENTENCES["joe"]):
        yield joe.synthesize(pseudo_sentence("en", rng), speed=float(rng.uniform(0.75, 1.2)))


def kokoro_sentences(rng: np.random.Generator, rounds: int) -> Iterator[LabeledSpeech]:
    """Synthesize seven languages by mixtures of the training voices, and by the held-out voice."""
    kokoro = KokoroVoice()
    training = [voice for voice in KOKORO_VOICES if f"kokoro/{voice}" not in HELD_OUT_VOICES]
    for text in _english(HELD_OUT_VOICES[0]):
        yield kokoro.synthesize(text, "en", {"jf_nezumi": 1.0})
    for number in range(rounds):
        for language in ("en", "ja-romaji", "es", "fr", "it", "pt"):
            if language in HELD_OUT_LANGUAGES and number:
                continue
            for text in _english("") if language == "en" else SENTENCES[language]:
                first, second = (str(name) for name in rng.choice(training, 2, replace=False))
                weight = float(rng.choice([1.0, 0.75, 0.5]))
                blend = {first: weight, second: 1 - weight} if weight < 1 else {first: 1.0}
                yield kokoro.synthesize(text, language, blend, speed=float(rng.uniform(0.8, 1.2)))
    for _ in range(rounds * _PSEUDO_SENTENCES["kokoro"]):
        language = str(rng.choice(_KOKORO_LANGUAGES))
        blend = _extrapolated_blend(training, rng)
        text = pseudo_sentence(language, rng)
        yield kokoro.synthesize(text, language, blend, speed=float(rng.uniform(0.75, 1.25)))


def _english(voice: str) -> tuple[str, ...]:
    """Return the English sentences of a voice: the held-out ones or the others."""
    if voice in HELD_OUT_VOICES:
        return SENTENCES["en"][-HELD_OUT_SENTENCES:]
    return SENTENCES["en"][:-HELD_OUT_SENTENCES]


def _extrapolated_blend(voices: list[str], rng: np.random.Generator) -> dict[str, float]:
    """Return weights of two voices, of which one may be negative."""
    first, second = (str(name) for name in rng.choice(voices, 2, replace=False))
    weight = float(rng.uniform(0.5, 1.4))
    return {first: weight, second: 1 - weight}


# Sources with their default rounds.
SOURCES: Final = {
    "espeak": (espeak_sentences, 2),
    "flite": (flite_sentences, 2),
    "joe": (joe_sentences, 2),
    "kokoro": (kokoro_sentences, 5),
}
