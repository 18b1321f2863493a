"""Recordings as an encoder hears them, with the mouth that belongs to each frame."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..head.coefficients import MOUTH_MODES
from .augment import Recording, recorded, silent
from .coarticulation import mode_track
from .corpus import held_out, read
from .features import features
from .voices.spoken import Spoken

__all__ = ["Clips", "hear_corpus", "load_clips", "save_clips"]

_SILENT_SHARE = 0.12  # of all clips no one speaks in


@dataclass(frozen=True, slots=True, eq=False)
class Clips:
    """Recordings one after the other; clip i is the frames starts[i] .. starts[i + 1]."""

    encoder: str
    lookahead_ms: float  # a frame's centre minus the time of its mouth
    values: NDArray[np.float16]  # [F, D]
    modes: NDArray[np.float32]  # [F, len(MOUTH_MODES)]
    starts: NDArray[np.int64]  # [clips + 1]


def hear_corpus(corpus: Path, encoder: str, *, lookahead_ms: float, copies: float, seed: int = 0) -> Clips:
    """Record every training sentence `copies` times (a share of them where below 1) and hear it."""
    rng = np.random.default_rng(seed)
    voices = [said for path in sorted(corpus.glob("*.npz")) if not held_out(said := read(path))]
    order = np.concatenate([rng.permutation(len(voices)) for _ in range(int(np.ceil(copies)))])
    order = order[: round(copies * len(voices))]
    clips = []
    for i in order:
        clips.append(_clip(recorded(voices[i], voices, rng), encoder, lookahead_ms, rng))
        if rng.random() < _SILENT_SHARE:
            clips.append(_clip(silent(3.0, voices, rng), encoder, lookahead_ms, rng))
    starts = np.cumsum([0] + [len(values) for values, _ in clips])
    values = np.concatenate([values for values, _ in clips]).astype(np.float16)
    return Clips(encoder, lookahead_ms, values, np.concatenate([modes for _, modes in clips]), starts)


def _clip(
    recording: Recording, encoder: str, lookahead_ms: float, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    values, centres_s = features(encoder, recording.samples)
    if rng.random() < 0.5:
        # Pictures fall between frames: the graph interpolates, so the net must know such frames too.
        share = float(rng.random())
        values = (1 - share) * values[:-1] + np.float32(share) * values[1:]
        centres_s = centres_s[:-1] + share * np.diff(centres_s)
    if not recording.phones:
        return values, np.zeros((len(values), len(MOUTH_MODES)), np.float32)
    return values.astype(np.float32), mode_track(recording.phones, centres_s - lookahead_ms / 1000)


def kept_voices(corpus: Path) -> Sequence[Spoken]:
    """The sentences that only measure."""
    return [said for path in sorted(corpus.glob("*.npz")) if held_out(said := read(path))]


def save_clips(path: Path, clips: Clips) -> None:
    """Keep what was heard; hearing again takes minutes."""
    np.savez(
        path,
        encoder=clips.encoder,
        lookahead_ms=clips.lookahead_ms,
        values=clips.values,
        modes=clips.modes,
        starts=clips.starts,
    )


def load_clips(path: Path) -> Clips:
    """What `save_clips` kept."""
    with np.load(path) as kept:
        return Clips(
            str(kept["encoder"]), float(kept["lookahead_ms"]), kept["values"], kept["modes"], kept["starts"]
        )
