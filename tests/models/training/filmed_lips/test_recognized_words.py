"""Phones of recognized words, aligned by force; the recognizer itself is a package of its own."""

import importlib.util
from itertools import pairwise

import numpy as np
import pytest

from splatface.models.errors import SpeechError
from splatface.models.messages import SAMPLE_RATE
from splatface.models.training.filmed_lips.recognized_words import (
    SpeechRecognizer,
    Transcript,
    TranscriptWord,
    phones_from_transcript,
)
from splatface.models.training.speech_corpus.corpus_voices import synthesize_flite

TEXT = "The quick brown fox jumps over the lazy dog."


@pytest.fixture(scope="module")
def said():
    """A voice that the aligner does not use, half a second into the recording."""
    return synthesize_flite(TEXT, "awb")


def recognized(said, start_s=0.5, language="en"):
    """Words as a recognizer returns them, spread evenly over their time."""
    words = TEXT.strip(".").split()
    edges = start_s + np.linspace(said.phones[0].start_s, said.phones[-1].end_s, len(words) + 1)
    spans = zip(words, edges[:-1].tolist(), edges[1:].tolist(), strict=True)
    return Transcript(language, tuple(TranscriptWord(*span) for span in spans))


def recording(said, start_s=0.5):
    silence = np.zeros(round(start_s * SAMPLE_RATE), np.float32)
    return np.concatenate([silence, said.samples, silence])


def test_phones_are_aligned_to_another_voice(said):
    found = phones_from_transcript(recording(said), recognized(said))
    true = [phone for phone in said.phones if phone.ipa]
    assert abs(len([p for p in found if p.ipa]) - len(true)) <= 4
    vowels = [
        (p.start_s + p.end_s) / 2 + 0.5 for p in true if p.ipa in ("ɪ", "aʊ", "ɑ", "ʌ", "oʊ", "eɪ", "ɔ")
    ]
    middles = np.array([(p.start_s + p.end_s) / 2 for p in found])
    away = [np.abs(middles - at).min() for at in vowels]
    assert np.median(away) < 0.05
    assert all(a.end_s <= b.start_s + 1e-9 for a, b in pairwise(found))


def test_phrases_of_other_words_are_dropped(said):
    noise = 0.1 * np.random.default_rng(0).standard_normal(len(recording(said))).astype(np.float32)
    assert phones_from_transcript(noise, recognized(said)) == ()


def test_a_language_without_a_voice_has_no_phones(said):
    assert phones_from_transcript(recording(said), recognized(said, language="xx")) == ()
    assert phones_from_transcript(recording(said), Transcript("en", ())) == ()


def test_a_missing_recognizer_is_named(tmp_path):
    if importlib.util.find_spec("faster_whisper") is not None:
        with pytest.raises(Exception, match=r"model|file"):
            SpeechRecognizer(tmp_path / "none", tmp_path)
        return
    with pytest.raises(SpeechError, match="pip install faster-whisper"):
        SpeechRecognizer(None, tmp_path)
