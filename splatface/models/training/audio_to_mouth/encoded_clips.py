# SPDX-License-Identifier: Apache-2.0
"""Training clips of the audio-to-mouth nets: encoder features with the mouth modes of each frame."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio.encoder import FEATURE_VERSION
from splatface.models.audio.offline_features import FeatureExtractor, extract_features
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
from splatface.models.typing import BoolArray, Float32Array, Float64Array, Int64Array

__all__ = [
    "CACHE_FOLDER",
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
PhonesToModes: TypeAlias = Callable[[Sequence[Phone], Float64Array], Float32Array]

SPLITS: Final = {"train": is_training, "validate": is_validation}
CACHE_FOLDER: Final = "heard"  # of a corpus; an older name, kept because caches take hours to make
_NONSPEECH_FRACTION = 0.25  # of the sentences are followed by a sound without speech
_STRETCH_RANGE = (0.8, 1.25)
SENTENCES_PER_FILE = 50  # a minute of whisper's work
_MAX_BABBLE_VOICES = 60


@dataclass(frozen=True, slots=True, eq=False)
class Clips:
    """Recordings one after the other; clip i is the frames starts[i] .. starts[i + 1]."""

    encoder: str
    values: NDArray[np.float16]  # [F, D]
    modes: Float32Array  # [F, len(MOUTH_MODES)], at the center of each frame
    starts: Int64Array  # [clips + 1]
    known: BoolArray | None = None  # [F] frames whose mouth is known; None: all
    closed: BoolArray | None = None  # [F] frames in which filmed lips meet; None: unknown

    def known_frames(self) -> BoolArray:
        """Return the mask [F] of frames whose mouth is known."""
        return np.ones(len(self.values), bool) if self.known is None else self.known


@dataclass(frozen=True, slots=True, eq=False)
class EncodedClips:
    """Features of recordings with their phones; clip i is the frames starts[i] .. starts[i + 1].

    Mouth modes are not included: the rule that makes them from phones may change without encoding again.
    """

    encoder: str
    values: NDArray[np.float16]  # [F, D]
    centers_s: Float64Array  # [F] times of the frames' centers, each in its own clip
    starts: Int64Array  # [clips + 1]
    phones: tuple[tuple[Phone, ...], ...]  # of every clip; empty where nobody speaks


def train_and_validation_clips(
    corpus: Path,
    encoder: str,
    *,
    copies: float,
    extractor: FeatureExtractor = extract_features,
    report: Callable[[str], None] = lambda text: None,
) -> tuple[Clips, Clips]:
    """Return the clips to train on and, each sentence once, to validate with; see `corpus_clips`."""
    train = corpus_clips(corpus, encoder, "train", copies=copies, extractor=extractor, report=report)
    return train, corpus_clips(corpus, encoder, "validate", copies=1, extractor=extractor, report=report)


def corpus_clips(
    corpus: Path,
    encoder: str,
    split: str,
    *,
    copies: float,
    extractor: FeatureExtractor = extract_features,
    phones_to_modes: PhonesToModes = modes_from_phones,
    report: Callable[[str], None] = lambda text: None,
) -> Clips:
    """Encode the corpus as `encode_corpus` does and add the mouth modes that a rule makes from the phones."""
    encoded = encode_corpus(corpus, encoder, split, copies=copies, extractor=extractor, report=report)
    return add_modes(encoded, phones_to_modes)


def encode_corpus(
    corpus: Path,
    encoder: str,
    split: str,
    *,
    copies: float,
    extractor: FeatureExtractor = extract_features,
    report: Callable[[str], None] = lambda text: None,
) -> EncodedClips:
    """Augment every sentence of a split `copies` times (a fraction of them where below 1) and encode it.

    Encoding takes minutes (fsmn) to an hour (whisper), so it is done in parts that are cached in the corpus:
    after an interruption it continues there, and a second training of the encoder starts at once.

    Args:
        corpus: folder of sentences; one with more sentences is encoded again.
        encoder: of `models.audio`.
        split: of SPLITS.
        copies: more copies begin with the parts of fewer.
        extractor: `extract_features`, or a faster one with the same features.
        report: called with the progress.

    Raises:
        TrainingError: the split has no sentence.
    """
    files = [path for path in sorted(corpus.glob("*.npz")) if SPLITS[split](read_sentence(path))]
    if not files:
        raise TrainingError(
            f"{corpus}: expected spoken sentences to {split} with, found none: splatface hear data {corpus}"
        )
    order = np.concatenate([np.random.default_rng(i).permutation(len(files)) for i in range(ceil(copies))])
    order = order[: max(round(copies * len(files)), 1)]
    parts = []
    for number, first in enumerate(range(0, len(order), SENTENCES_PER_FILE)):
        part = [files[i] for i in order[first : first + SENTENCES_PER_FILE]]
        name = f"{encoder}_{FEATURE_VERSION}p_{split}_{len(files)}_{number:03d}_{len(part)}.npz"
        cached = corpus / CACHE_FOLDER / name
        if not cached.exists():
            cached.parent.mkdir(parents=True, exist_ok=True)
            others = [read_sentence(path) for path in files[:: max(len(files) // _MAX_BABBLE_VOICES, 1)]]
            sentences = [read_sentence(path) for path in part]
            rng = np.random.default_rng((0, number))
            save_encoded(cached, _encode_part(sentences, others, encoder, extractor, rng))
            report(f"{encoder}: encoded {first + len(part)} of {len(order)} sentences to {split} with")
        parts.append(load_encoded(cached))
    return _concatenate_encoded(parts)


def _encode_part(
    sentences: Sequence[LabeledSpeech],
    others: Sequence[LabeledSpeech],
    encoder: str,
    extractor: FeatureExtractor,
    rng: np.random.Generator,
) -> EncodedClips:
    """Augment and encode each sentence once, with sounds without speech between them."""
    recordings: list[SimulatedRecording] = []
    values, centers_s = [], []

    def encode(recording: SimulatedRecording) -> None:
        features = extractor(encoder, recording.samples)
        frames, times_s = jitter_frame_phase(features.values, features.times_s, rng)
        recordings.append(recording)
        values.append(frames)
        centers_s.append(times_s)

    for sentence in sentences:
        stretched = sentence
        if rng.random() < 0.5:
            stretched = wsola_stretch(sentence, float(rng.uniform(*_STRETCH_RANGE)))
        encode(simulate_recording(stretched, others, rng))
        if rng.random() < _NONSPEECH_FRACTION:
            encode(simulate_nonspeech(3.0, others, rng))
    return EncodedClips(
        encoder,
        np.concatenate(values).astype(np.float16),
        np.concatenate(centers_s),
        np.cumsum([0] + [len(clip) for clip in values]),
        tuple(recording.phones for recording in recordings),
    )


def jitter_frame_phase(
    values: Float32Array, times_s: Float64Array, rng: np.random.Generator
) -> tuple[Float32Array, Float64Array]:
    """Half of the time, interpolate frames [F, D] between the encoder's: the live graph does so too."""
    if rng.random() >= 0.5:
        return values, times_s
    fraction = float(rng.random())
    between = (1 - fraction) * values[:-1] + np.float32(fraction) * values[1:]
    return between.astype(np.float32), times_s[:-1] + fraction * np.diff(times_s)


def add_modes(encoded: EncodedClips, phones_to_modes: PhonesToModes = modes_from_phones) -> Clips:
    """Add the mouth modes that a rule makes from the phones; at rest where nobody speaks."""
    modes = np.zeros((len(encoded.values), len(MOUTH_MODES)), np.float32)
    spans = zip(encoded.starts[:-1], encoded.starts[1:], encoded.phones, strict=True)
    for start, end, phones in spans:
        if phones:
            modes[start:end] = phones_to_modes(phones, encoded.centers_s[start:end])
    return Clips(encoded.encoder, encoded.values, modes, encoded.starts)


def delay_modes(clips: Clips, frames: int) -> Clips:
    """Move the mouth of every clip `frames` frames later: the look-ahead that the net is given."""
    modes, known = clips.modes.copy(), clips.known_frames().copy()
    closed = None if clips.closed is None else clips.closed.copy()
    for start, end in zip(clips.starts[:-1], clips.starts[1:], strict=True):
        modes[start + frames : end] = clips.modes[start : end - frames]
        modes[start : start + frames] = clips.modes[start]
        known[start + frames : end] = clips.known_frames()[start : end - frames]
        if closed is not None and clips.closed is not None:
            closed[start + frames : end] = clips.closed[start : end - frames]
            closed[start : start + frames] = clips.closed[start]
    return replace(clips, modes=modes, known=known, closed=closed)


def concatenate_clips(parts: Sequence[Clips]) -> Clips:
    """Concatenate clips of one encoder; `closed` is known where every part knows it."""
    closed = [part.closed for part in parts if part.closed is not None]
    return Clips(
        parts[0].encoder,
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.modes for part in parts]),
        _concatenate_starts(part.starts for part in parts),
        np.concatenate([part.known_frames() for part in parts]),
        np.concatenate(closed) if len(closed) == len(parts) else None,
    )


def _concatenate_encoded(parts: Sequence[EncodedClips]) -> EncodedClips:
    return EncodedClips(
        parts[0].encoder,
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.centers_s for part in parts]),
        _concatenate_starts(part.starts for part in parts),
        tuple(phones for part in parts for phones in part.phones),
    )


def _concatenate_starts(starts: Iterable[Int64Array]) -> Int64Array:
    """Return the first frames of concatenated clips, and the end of the last."""
    joined = [np.zeros(1, np.int64)]
    for part in starts:
        joined.append(part[1:] + joined[-1][-1])
    return np.concatenate(joined)


def save_encoded(path: Path, encoded: EncodedClips) -> None:
    """Write encoded clips as .npz."""
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
    """Read clips that `save_encoded` wrote."""
    with np.load(path) as file:
        centers_s = file["centers_s" if "centers_s" in file else "centres_s"]  # older files
        labels = zip(file["ipa"].tolist(), file["times"].tolist(), strict=True)
        phones = [Phone(ipa, *times) for ipa, times in labels]
        ends = np.cumsum(file["phone_counts"]).tolist()
        clips = tuple(tuple(phones[a:b]) for a, b in zip([0, *ends[:-1]], ends, strict=True))
        return EncodedClips(str(file["encoder"]), file["values"], centers_s, file["starts"], clips)
