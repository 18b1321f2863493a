"""Recordings as an encoder hears them, with the mouth that belongs to each frame."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio.encoder import FEATURE_VERSION
from splatface.models.audio.offline_features import FeatureExtractor, features
from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES
from splatface.models.errors import TrainingError
from splatface.models.training.speech_corpus.augmentation import (
    SimulatedRecording,
    simulate_nonspeech,
    simulate_recording,
    wsola_stretch,
)
from splatface.models.training.speech_corpus.coarticulation import modes_from_phones
from splatface.models.training.speech_corpus.corpus import is_training, is_validation, read_sentence
from splatface.models.training.speech_corpus.phonemes import LabeledSpeech, Phone

__all__ = [
    "SPLITS",
    "Clips",
    "EncodedClips",
    "PhonesToModes",
    "add_modes",
    "concatenate_clips",
    "corpus_clips",
    "delay_modes",
    "encode_corpus",
    "jitter_frame_phase",
    "load_encoded",
    "save_encoded",
    "train_and_validation_clips",
]

# (phones, times [T] in s) -> mouth modes [T, len(MOUTH_MODES)]
PhonesToModes = Callable[[Sequence[Phone], NDArray[np.float64]], NDArray[np.float32]]

SPLITS: Final = {"train": is_training, "validate": is_validation}
_SILENT_SHARE = 0.25  # after so many of the sentences comes a sound without speech
_PACE = (0.8, 1.25)
_PART = 50  # sentences between two files: a minute of whisper's work
_BABBLE = 60  # voices that may be heard far off


@dataclass(frozen=True, slots=True, eq=False)
class Clips:
    """Recordings one after the other; clip i is the frames starts[i] .. starts[i + 1]."""

    encoder: str
    values: NDArray[np.float16]  # [F, D]
    modes: NDArray[np.float32]  # [F, len(MOUTH_MODES)], at the center of each frame
    starts: NDArray[np.int64]  # [clips + 1]
    known: NDArray[np.bool_] | None = None  # [F] frames whose mouth is known; None: all
    closed: NDArray[np.bool_] | None = None  # [F] frames in which lips were seen to meet; None: not looked at

    def known_frames(self) -> NDArray[np.bool_]:
        """[F] frames whose mouth is known."""
        return np.ones(len(self.values), bool) if self.known is None else self.known


@dataclass(frozen=True, slots=True, eq=False)
class EncodedClips:
    """Features of recordings with the phones that are said; clip i is starts[i] .. starts[i + 1].

    The mouth is not in it: the rule that makes it of the phones may change without encoding again.
    """

    encoder: str
    values: NDArray[np.float16]  # [F, D]
    centers_s: NDArray[np.float64]  # [F] times of the frames' centers, each in its own clip
    starts: NDArray[np.int64]  # [clips + 1]
    phones: tuple[tuple[Phone, ...], ...]  # of every clip; empty where nobody speaks


def corpus_clips(
    corpus: Path,
    encoder: str,
    purpose: str,
    *,
    copies: float,
    ear: FeatureExtractor = features,
    mouth: PhonesToModes = modes_from_phones,
    report: Callable[[str], None] = lambda told: None,
) -> Clips:
    """Encode the corpus as `encode_corpus` does and add the mouth that a rule makes of the phones."""
    return add_modes(encode_corpus(corpus, encoder, purpose, copies=copies, ear=ear, report=report), mouth)


def encode_corpus(
    corpus: Path,
    encoder: str,
    purpose: str,
    *,
    copies: float,
    ear: FeatureExtractor = features,
    report: Callable[[str], None] = lambda told: None,
) -> EncodedClips:
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
    files = [path for path in sorted(corpus.glob("*.npz")) if SPLITS[purpose](read_sentence(path))]
    if not files:
        raise TrainingError(
            f"{corpus}: expected spoken sentences to {purpose} with, found none: splatface hear data {corpus}"
        )
    order = np.concatenate([np.random.default_rng(i).permutation(len(files)) for i in range(ceil(copies))])
    order = order[: max(round(copies * len(files)), 1)]
    parts = []
    for number, first in enumerate(range(0, len(order), _PART)):
        part = [files[i] for i in order[first : first + _PART]]
        name = f"{encoder}_{FEATURE_VERSION}p_{purpose}_{len(files)}_{number:03d}_{len(part)}.npz"
        kept = corpus / "heard" / name
        if not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            others = [read_sentence(path) for path in files[:: max(len(files) // _BABBLE, 1)]]
            save_encoded(
                kept, _encoded_part([read_sentence(path) for path in part], others, (encoder, ear), number)
            )
            report(f"{encoder} has heard {first + len(part)} of {len(order)} sentences to {purpose} with")
        parts.append(load_encoded(kept))
    return _joined(parts)


def add_modes(encoded: EncodedClips, mouth: PhonesToModes = modes_from_phones) -> Clips:
    """The clips with the mouth modes that a rule makes of their phones; at rest where nobody speaks."""
    modes = np.zeros((len(encoded.values), len(MOUTH_MODES)), np.float32)
    spans = zip(encoded.starts[:-1], encoded.starts[1:], encoded.phones, strict=True)
    for start, end, phones in spans:
        if phones:
            modes[start:end] = mouth(phones, encoded.centers_s[start:end])
    return Clips(encoded.encoder, encoded.values, modes, encoded.starts)


def concatenate_clips(parts: Sequence[Clips]) -> Clips:
    """Clips of one encoder, one after the other."""
    return Clips(
        parts[0].encoder,
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.modes for part in parts]),
        _joined_starts(part.starts for part in parts),
        np.concatenate([part.known_frames() for part in parts]),
    )


def train_and_validation_clips(
    corpus: Path,
    encoder: str,
    *,
    copies: float,
    ear: FeatureExtractor = features,
    report: Callable[[str], None] = lambda told: None,
) -> tuple[Clips, Clips]:
    """What an encoder hears of the corpus, to train on and, each sentence once, to validate with.

    See `hear_corpus`.
    """
    train = corpus_clips(corpus, encoder, "train", copies=copies, ear=ear, report=report)
    return train, corpus_clips(corpus, encoder, "validate", copies=1, ear=ear, report=report)


def _encoded_part(
    voices: Sequence[LabeledSpeech],
    others: Sequence[LabeledSpeech],
    heard_by: tuple[str, FeatureExtractor],
    number: int,
) -> EncodedClips:
    """Each of the voices recorded once, at another pace, with sounds without speech between them."""
    rng = np.random.default_rng((0, number))
    clips = []
    for said in voices:
        paced = wsola_stretch(said, float(rng.uniform(*_PACE))) if rng.random() < 0.5 else said
        clips.append(_clip(simulate_recording(paced, others, rng), heard_by, rng))
        if rng.random() < _SILENT_SHARE:
            clips.append(_clip(simulate_nonspeech(3.0, others, rng), heard_by, rng))
    values, centers_s, phones = zip(*clips, strict=True)
    starts = np.cumsum([0] + [len(each) for each in values])
    halves = np.concatenate(values).astype(np.float16)
    return EncodedClips(heard_by[0], halves, np.concatenate(centers_s), starts, phones)


def _joined(parts: Sequence[EncodedClips]) -> EncodedClips:
    return EncodedClips(
        parts[0].encoder,
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.centers_s for part in parts]),
        _joined_starts(part.starts for part in parts),
        tuple(phones for part in parts for phones in part.phones),
    )


def _joined_starts(starts: Iterable[NDArray[np.int64]]) -> NDArray[np.int64]:
    """First frames of clips that come one after the other, and the end of the last."""
    joined = [np.zeros(1, np.int64)]
    for part in starts:
        joined.append(part[1:] + joined[-1][-1])
    return np.concatenate(joined)


def _clip(
    recording: SimulatedRecording, heard_by: tuple[str, FeatureExtractor], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float64], tuple[Phone, ...]]:
    encoder, ear = heard_by
    values, centers_s = jitter_frame_phase(*ear(encoder, recording.samples), rng)
    return values, centers_s, recording.phones


def jitter_frame_phase(
    values: NDArray[np.float32], centers_s: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Half of the time, frames between the encoder's: the graph interpolates, so a net must know them too."""
    if rng.random() >= 0.5:
        return values, centers_s
    share = float(rng.random())
    between = (1 - share) * values[:-1] + np.float32(share) * values[1:]
    return between.astype(np.float32), centers_s[:-1] + share * np.diff(centers_s)


def delay_modes(clips: Clips, frames: int) -> Clips:
    """The same clips with every mouth `frames` frames later: the net may wait that long before it answers."""
    later, known = clips.modes.copy(), clips.known_frames().copy()
    for start, end in zip(clips.starts[:-1], clips.starts[1:], strict=True):
        later[start + frames : end] = clips.modes[start : end - frames]
        later[start : start + frames] = clips.modes[start]
        known[start + frames : end] = clips.known_frames()[start : end - frames]
    closed = None
    if clips.closed is not None:
        closed = np.concatenate([np.zeros(frames, bool), clips.closed[: len(clips.closed) - frames]])
    return replace(clips, modes=later, known=known, closed=closed)


def save_encoded(path: Path, encoded: EncodedClips) -> None:
    """Keep what was encoded; encoding again takes minutes."""
    phones = [phone for clip in encoded.phones for phone in clip]
    np.savez(
        path,
        encoder=encoded.encoder,
        values=encoded.values,
        centers_s=encoded.centers_s,
        starts=encoded.starts,
        phone_counts=np.array([len(clip) for clip in encoded.phones], np.int64),
        ipa=np.array([phone.ipa for phone in phones], np.str_),
        times=np.array([(p.start_s, p.end_s, p.stress) for p in phones], np.float64).reshape(-1, 3),
    )


def load_encoded(path: Path) -> EncodedClips:
    """Read what `save_encoded` wrote."""
    with np.load(path) as kept:
        centers_s = kept["centers_s" if "centers_s" in kept else "centres_s"]  # older files
        rows = zip(kept["ipa"].tolist(), kept["times"].tolist(), strict=True)
        phones = [Phone(ipa, *times) for ipa, times in rows]
        ends = np.cumsum(kept["phone_counts"]).tolist()
        clips = tuple(tuple(phones[a:b]) for a, b in zip([0, *ends[:-1]], ends, strict=True))
        return EncodedClips(str(kept["encoder"]), kept["values"], centers_s, kept["starts"], clips)
