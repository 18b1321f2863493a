"""Every sentence has one purpose: to be trained on, to choose and scale a net, or to measure it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
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

# What measures the nets is never trained on: these voices, these languages, these last English sentences.
HELD_OUT_VOICES = ("kokoro/jf_nezumi", "flite/awb")
HELD_OUT_LANGUAGES = ("it", "fi")
HELD_OUT_SOURCES = ("librivox", "cards")  # real people: the recordings of Debian's pocketsphinx-testdata
# What sets a net's amplitude after training, and is not trained on either.
VALIDATION_VOICES = ("flite/rms",)
VALIDATION_LANGUAGES = ("sv", "tr")


def is_test(said: LabeledSpeech) -> bool:
    """Whether a sentence is kept for measuring."""
    source = said.voice.split("/")[0]
    return said.voice in HELD_OUT_VOICES or said.language in HELD_OUT_LANGUAGES or source in HELD_OUT_SOURCES


def is_validation(said: LabeledSpeech) -> bool:
    """Whether a sentence is kept for the last step of a training."""
    chosen = said.voice in VALIDATION_VOICES or said.language in VALIDATION_LANGUAGES
    return chosen and not is_test(said)


def is_training(said: LabeledSpeech) -> bool:
    """Whether a sentence is trained on."""
    return not (is_test(said) or is_validation(said))


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


def espeak_sentences(rng: np.random.Generator, rounds: int) -> Iterator[LabeledSpeech]:
    """Every language, each round with other variants, speeds and pitches."""
    for language in (name for name in SENTENCES if name != "ja-romaji"):
        sentences = _english("") if language == "en" else SENTENCES[language]
        for _ in range(rounds):
            for text in sentences:
                variant = str(rng.choice(_VARIANTS))
                voice = str(rng.choice(_ACCENTS)) if language == "en" else language
                pace, pitch = int(rng.integers(125, 200)), int(rng.integers(30, 75))
                said = synthesize_espeak(text, voice, variant=variant, words_per_minute=pace, pitch=pitch)
                yield LabeledSpeech(said.samples, said.phones, said.voice, language)
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
        said = synthesize_espeak(text, voice, variant=variant, words_per_minute=pace, pitch=pitch)
        yield LabeledSpeech(said.samples, said.phones, said.voice, language)


def flite_sentences(rng: np.random.Generator, rounds: int) -> Iterator[LabeledSpeech]:
    """English by four speakers; phrases only by those that are trained on."""
    for voice in FLITE_VOICES:
        for _ in range(rounds):
            for text in _english(f"flite/{voice}"):
                yield synthesize_flite(text, voice, stretch=float(rng.uniform(0.85, 1.35)))
    apart = (*HELD_OUT_VOICES, *VALIDATION_VOICES)
    known = [voice for voice in FLITE_VOICES if f"flite/{voice}" not in apart]
    for turn in range(rounds * _PHRASES["flite"]):
        text = pseudo_sentence("en", rng)
        yield synthesize_flite(text, known[turn % len(known)], stretch=float(rng.uniform(0.85, 1.35)))


def joe_sentences(rng: np.random.Generator, rounds: int) -> Iterator[LabeledSpeech]:
    """English by Piper's joe."""
    joe = PiperJoeVoice()
    for _ in range(rounds):
        for text in _english("piper/joe"):
            yield joe.say(text, speed=float(rng.uniform(0.75, 1.15)))
    for _ in range(rounds * _PHRASES["joe"]):
        yield joe.say(pseudo_sentence("en", rng), speed=float(rng.uniform(0.75, 1.2)))


def kokoro_sentences(rng: np.random.Generator, rounds: int) -> Iterator[LabeledSpeech]:
    """Seven languages by mixtures of the trained voices, and by the held-out voice."""
    kokoro = KokoroVoice()
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


def write_sentence(folder: Path, name: str, said: LabeledSpeech) -> None:
    """One sentence as `<name>.npz`."""
    np.savez(
        folder / f"{name}.npz",
        samples=np.round(said.samples * 32767).astype(np.int16),
        ipa=np.array([phone.ipa for phone in said.phones]),
        times=np.array([(phone.start_s, phone.end_s, phone.stress) for phone in said.phones]),
        voice=said.voice,
        language=said.language,
    )


def read_sentence(path: Path) -> LabeledSpeech:
    """A sentence of the corpus."""
    with np.load(path) as kept:
        times = kept["times"].tolist()
        phones = tuple(Phone(str(ipa), *row) for ipa, row in zip(kept["ipa"], times, strict=True))
        samples = kept["samples"].astype(np.float32) / 32767
        return LabeledSpeech(samples, phones, str(kept["voice"]), str(kept["language"]))


# How often each says its sentences, and as many times a number of phrases.
SOURCES = {
    "espeak": (espeak_sentences, 2),
    "flite": (flite_sentences, 2),
    "joe": (joe_sentences, 2),
    "kokoro": (kokoro_sentences, 5),
}


def make_corpus(
    folder: Path, sources: Sequence[str], report: Callable[[str], None], *, rounds: int | None = None
) -> None:
    """Let every source say its sentences into `folder`; an old corpus there is replaced file by file.

    Args:
        folder: made where it is absent.
        sources: of SOURCES.
        report: is told what each source gave.
        rounds: how often each says its sentences (default: its own number).
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in sources:
        say, usual = SOURCES[name]
        spoken = (trim_pauses(said) for said in say(np.random.default_rng(5), rounds or usual))
        report(write_sentences(folder, spoken, name))


def write_sentences(folder: Path, spoken: Iterable[LabeledSpeech], name: str) -> str:
    """Write them numbered; says how many there were."""
    count, seconds = 0, 0.0
    for said in spoken:
        write_sentence(folder, f"{name}_{count:05d}", said)
        count += 1
        seconds += len(said.samples) / SAMPLE_RATE
    return f"{name}: {count} sentences, {seconds / 60:.1f} min"
