"""Recordings as an encoder hears them, with the mouth that belongs to each frame."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio.encoder import MADE_BY
from splatface.models.errors import TrainingError
from splatface.models.head.coefficients import MOUTH_MODES
from splatface.models.hearing.augment import Recording, recorded, silent
from splatface.models.hearing.coarticulation import mode_track
from splatface.models.hearing.corpus import read, trained_on, validating
from splatface.models.hearing.features import Ear, features
from splatface.models.hearing.stretch import stretched

from .voices.spoken import Spoken

__all__ = ["PURPOSES", "Clips", "hear_corpus", "heard_once", "load_clips", "looking_ahead", "save_clips"]

PURPOSES: Final = {"train": trained_on, "validate": validating}
_SILENT_SHARE = 0.25  # after so many of the sentences comes a sound without speech
_PACE = (0.8, 1.25)
_PART = 50  # sentences between two files: a minute of whisper's work
_BABBLE = 60  # voices that may be heard far off


@dataclass(frozen=True, slots=True, eq=False)
class Clips:
    """Recordings one after the other; clip i is the frames starts[i] .. starts[i + 1]."""

    encoder: str
    values: NDArray[np.float16]  # [F, D]
    modes: NDArray[np.float32]  # [F, len(MOUTH_MODES)], at the centre of each frame
    starts: NDArray[np.int64]  # [clips + 1]


def hear_corpus(
    corpus: Path,
    encoder: str,
    purpose: str,
    *,
    copies: float,
    ear: Ear = features,
    report: Callable[[str], None] = lambda told: None,
) -> Clips:
    """Record every sentence of a purpose `copies` times (a share of them where below 1) and hear it.

    Hearing takes minutes (fsmn) to an hour (whisper), so it goes in parts that are kept in the folder `heard`
    of the corpus: stopped, it goes on there; a second training of the encoder starts at once.

    Args:
        corpus: folder of sentences; one with more sentences is heard anew.
        encoder: of `models.audio`.
        purpose: of PURPOSES.
        copies: more copies begin with the parts of fewer.
        ear: `features`, or something quicker that hears the same.
        report: is told how much of it was heard.

    Raises TrainingError when there is no such sentence.
    """
    files = [path for path in sorted(corpus.glob("*.npz")) if PURPOSES[purpose](read(path))]
    if not files:
        raise TrainingError(
            f"{corpus}: expected spoken sentences to {purpose} with, found none: splatface hear data {corpus}"
        )
    order = np.concatenate([np.random.default_rng(i).permutation(len(files)) for i in range(ceil(copies))])
    order = order[: max(round(copies * len(files)), 1)]
    parts = []
    for number, first in enumerate(range(0, len(order), _PART)):
        part = [files[i] for i in order[first : first + _PART]]
        name = f"{encoder}_{MADE_BY}_{purpose}_{len(files)}_{number:03d}_{len(part)}.npz"
        kept = corpus / "heard" / name
        if not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            others = [read(path) for path in files[:: max(len(files) // _BABBLE, 1)]]
            save_clips(kept, _heard_part([read(path) for path in part], others, (encoder, ear), number))
            report(f"{encoder} has heard {first + len(part)} of {len(order)} sentences to {purpose} with")
        parts.append(load_clips(kept))
    return _joined(parts)


def heard_once(
    corpus: Path,
    encoder: str,
    *,
    copies: float,
    ear: Ear = features,
    report: Callable[[str], None] = lambda told: None,
) -> tuple[Clips, Clips]:
    """What an encoder hears of the corpus, to train on and, each sentence once, to validate with.

    See `hear_corpus`.
    """
    train = hear_corpus(corpus, encoder, "train", copies=copies, ear=ear, report=report)
    return train, hear_corpus(corpus, encoder, "validate", copies=1, ear=ear, report=report)


def _heard_part(
    voices: Sequence[Spoken], others: Sequence[Spoken], heard_by: tuple[str, Ear], number: int
) -> Clips:
    """Each of the voices recorded once, at another pace, with sounds without speech between them."""
    rng = np.random.default_rng((0, number))
    clips = []
    for said in voices:
        paced = stretched(said, float(rng.uniform(*_PACE))) if rng.random() < 0.5 else said
        clips.append(_clip(recorded(paced, others, rng), heard_by, rng))
        if rng.random() < _SILENT_SHARE:
            clips.append(_clip(silent(3.0, others, rng), heard_by, rng))
    starts = np.cumsum([0] + [len(values) for values, _ in clips])
    values = np.concatenate([values for values, _ in clips]).astype(np.float16)
    return Clips(heard_by[0], values, np.concatenate([modes for _, modes in clips]), starts)


def _joined(parts: Sequence[Clips]) -> Clips:
    ends = np.cumsum([0] + [part.starts[-1] for part in parts])
    starts = [part.starts[:-1] + end for part, end in zip(parts, ends, strict=False)]
    return Clips(
        parts[0].encoder,
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.modes for part in parts]),
        np.concatenate([*starts, ends[-1:]]),
    )


def _clip(
    recording: Recording, heard_by: tuple[str, Ear], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    encoder, ear = heard_by
    values, centres_s = ear(encoder, recording.samples)
    if rng.random() < 0.5:
        # Pictures fall between frames: the graph interpolates, so the net must know such frames too.
        share = float(rng.random())
        values = (1 - share) * values[:-1] + np.float32(share) * values[1:]
        centres_s = centres_s[:-1] + share * np.diff(centres_s)
    if not recording.phones:
        return values, np.zeros((len(values), len(MOUTH_MODES)), np.float32)
    return values.astype(np.float32), mode_track(recording.phones, centres_s)


def looking_ahead(clips: Clips, frames: int) -> Clips:
    """The same clips with every mouth `frames` frames later: the net may wait that long before it answers."""
    later = clips.modes.copy()
    for start, end in zip(clips.starts[:-1], clips.starts[1:], strict=True):
        later[start + frames : end] = clips.modes[start : end - frames]
        later[start : start + frames] = clips.modes[start]
    return Clips(clips.encoder, clips.values, later, clips.starts)


def save_clips(path: Path, clips: Clips) -> None:
    """Keep what was heard; hearing again takes minutes."""
    np.savez(
        path,
        encoder=clips.encoder,
        values=clips.values,
        modes=clips.modes,
        starts=clips.starts,
    )


def load_clips(path: Path) -> Clips:
    """What `save_clips` kept."""
    with np.load(path) as kept:
        return Clips(str(kept["encoder"]), kept["values"], kept["modes"], kept["starts"])
