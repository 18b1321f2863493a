"""Recordings as an encoder hears them, with the mouth that belongs to each frame."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from splatface.models.head.coefficients import MOUTH_MODES
from splatface.models.hearing.augment import Recording, recorded, silent
from splatface.models.hearing.coarticulation import mode_track
from splatface.models.hearing.corpus import held_out, read
from splatface.models.hearing.features import features

__all__ = ["Clips", "hear_corpus", "load_clips", "looking_ahead", "save_clips"]

_SILENT_SHARE = 0.12  # of all clips no one speaks in


@dataclass(frozen=True, slots=True, eq=False)
class Clips:
    """Recordings one after the other; clip i is the frames starts[i] .. starts[i + 1]."""

    encoder: str
    values: NDArray[np.float16]  # [F, D]
    modes: NDArray[np.float32]  # [F, len(MOUTH_MODES)], at the centre of each frame
    starts: NDArray[np.int64]  # [clips + 1]


def hear_corpus(corpus: Path, encoder: str, *, copies: float, seed: int = 0) -> Clips:
    """Record every training sentence `copies` times (a share of them where below 1) and hear it."""
    rng = np.random.default_rng(seed)
    voices = [said for path in sorted(corpus.glob("*.npz")) if not held_out(said := read(path))]
    order = np.concatenate([rng.permutation(len(voices)) for _ in range(int(np.ceil(copies)))])
    order = order[: round(copies * len(voices))]
    clips = []
    for i in order:
        clips.append(_clip(recorded(voices[i], voices, rng), encoder, rng))
        if rng.random() < _SILENT_SHARE:
            clips.append(_clip(silent(3.0, voices, rng), encoder, rng))
    starts = np.cumsum([0] + [len(values) for values, _ in clips])
    values = np.concatenate([values for values, _ in clips]).astype(np.float16)
    return Clips(encoder, values, np.concatenate([modes for _, modes in clips]), starts)


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
