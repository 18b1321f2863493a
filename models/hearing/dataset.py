"""Recordings as an encoder hears them, with the mouth that belongs to each frame."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import TrainingError
from splatface.models.head.coefficients import MOUTH_MODES
from splatface.models.hearing.augment import Recording, recorded, silent
from splatface.models.hearing.coarticulation import mode_track
from splatface.models.hearing.corpus import read, trained_on, validating
from splatface.models.hearing.features import features

from .voices.spoken import Spoken

__all__ = ["Clips", "hear_corpus", "heard_once", "load_clips", "looking_ahead", "save_clips"]

_SILENT_SHARE = 0.12  # of all clips no one speaks in


@dataclass(frozen=True, slots=True, eq=False)
class Clips:
    """Recordings one after the other; clip i is the frames starts[i] .. starts[i + 1]."""

    encoder: str
    values: NDArray[np.float16]  # [F, D]
    modes: NDArray[np.float32]  # [F, len(MOUTH_MODES)], at the centre of each frame
    starts: NDArray[np.int64]  # [clips + 1]


def hear_corpus(
    corpus: Path, encoder: str, chosen: Callable[[Spoken], bool], *, copies: float, seed: int = 0
) -> Clips:
    """Record every chosen sentence `copies` times (a share of them where below 1) and hear it.

    Raises TrainingError when none is chosen.
    """
    rng = np.random.default_rng(seed)
    voices = [said for path in sorted(corpus.glob("*.npz")) if chosen(said := read(path))]
    if not voices:
        raise TrainingError(
            f"{corpus}: expected spoken sentences, found none to use: splatface hear data {corpus}"
        )
    order = np.concatenate([rng.permutation(len(voices)) for _ in range(int(np.ceil(copies)))])
    order = order[: max(round(copies * len(voices)), 1)]
    clips = []
    for i in order:
        clips.append(_clip(recorded(voices[i], voices, rng), encoder, rng))
        if rng.random() < _SILENT_SHARE:
            clips.append(_clip(silent(3.0, voices, rng), encoder, rng))
    starts = np.cumsum([0] + [len(values) for values, _ in clips])
    values = np.concatenate([values for values, _ in clips]).astype(np.float16)
    return Clips(encoder, values, np.concatenate([modes for _, modes in clips]), starts)


def heard_once(corpus: Path, encoder: str, *, copies: float) -> tuple[Clips, Clips]:
    """What an encoder hears of the corpus, to train on and to validate with.

    It is kept in the folder `heard` of the corpus: a second training of the encoder starts at once.
    """
    found = []
    for name, chosen in (("train", trained_on), ("validate", validating)):
        kept = corpus / "heard" / f"{encoder}_{copies:g}_{name}.npz"
        if not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            save_clips(kept, hear_corpus(corpus, encoder, chosen, copies=copies))
        found.append(load_clips(kept))
    return found[0], found[1]


def _clip(
    recording: Recording, encoder: str, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    values, centres_s = features(encoder, recording.samples)
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
