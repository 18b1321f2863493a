"""Make the training data: many voices say the sentences, and every phone's time is known.

`python -m splatface.models.hearing.corpus --out CORPUS` writes one .npz a sentence. Needs espeak-ng and
flite (Debian) and, for the natural voices, the packages named in `voices.neural`.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from splatface.models.hearing.phonemes import Phone
from splatface.models.hearing.sentences import SENTENCES

from .voices.espeak import espeak_say
from .voices.flite import FLITE_VOICES, flite_say
from .voices.neural import KOKORO_VOICES, Joe, Kokoro
from .voices.pauses import trim_pauses
from .voices.spoken import Spoken

__all__ = ["HELD_OUT_LANGUAGES", "HELD_OUT_SENTENCES", "HELD_OUT_VOICES", "held_out", "read", "write"]

# What measures the nets is never trained on: these voices, these languages, these last English sentences.
HELD_OUT_VOICES = ("kokoro/jf_nezumi", "flite/awb")
HELD_OUT_LANGUAGES = ("it", "fi")
HELD_OUT_SENTENCES = 8
_VARIANTS = ("", "+f2", "+m3", "+f4", "+m7", "+f5", "+m1")


def held_out(said: Spoken) -> bool:
    """Whether a sentence is kept for measuring."""
    return said.voice in HELD_OUT_VOICES or said.language in HELD_OUT_LANGUAGES


def write(folder: Path, number: int, said: Spoken) -> None:
    """One sentence as `<source>_<number>.npz`."""
    name = f"{said.voice.split('/')[0]}_{number:05d}.npz"
    np.savez(
        folder / name,
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


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--sources", nargs="+", choices=SOURCES, default=list(SOURCES), help="default: all")
    parser.add_argument("--rounds", type=int, help="how often each says its sentences")
    options = parser.parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.sources:
        say, rounds = SOURCES[name]
        rng, seconds = np.random.default_rng(5), 0.0
        for number, said in enumerate(say(rng, options.rounds or rounds)):
            write(options.out, number, trim_pauses(said))
            seconds += len(said.samples) / 16000
        print(f"{name}: {number + 1} sentences, {seconds / 60:.1f} min", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
