"""Make the training data: many voices say the sentences, and every phone's time is known.

`splatface hear data CORPUS` writes one .npz a sentence. Needs espeak-ng and flite (Debian) and, for the
natural voices, the packages named in `voices.neural`; `recordings` adds real people.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from splatface.models.messages import SAMPLE_RATE
from splatface.models.training.speech_corpus.phonemes import Phone
from splatface.models.training.speech_corpus.purpose import (
    HELD_OUT_LANGUAGES,
    HELD_OUT_SENTENCES,
    HELD_OUT_SOURCES,
    HELD_OUT_VOICES,
    is_test,
    is_validation,
    trained_on,
)
from splatface.models.training.speech_corpus.speakers import say_espeak, say_flite, say_joe, say_kokoro
from splatface.models.training.speech_corpus.voices.pauses import trim_pauses
from splatface.models.training.speech_corpus.voices.spoken import Spoken

__all__ = [
    "HELD_OUT_LANGUAGES",
    "HELD_OUT_SENTENCES",
    "HELD_OUT_SOURCES",
    "HELD_OUT_VOICES",
    "SOURCES",
    "is_test",
    "is_validation",
    "make_corpus",
    "read",
    "trained_on",
    "write",
    "write_all",
]


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


# How often each says its sentences, and as many times a number of phrases.
SOURCES = {"espeak": (say_espeak, 2), "flite": (say_flite, 2), "joe": (say_joe, 2), "kokoro": (say_kokoro, 5)}


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
