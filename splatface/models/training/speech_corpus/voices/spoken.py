"""What every voice of the training data gives: sound with the exact times of its phones."""

from dataclasses import dataclass

import numpy as np
import soxr
from numpy.typing import NDArray

from splatface.models.messages import SAMPLE_RATE
from splatface.models.training.speech_corpus.phonemes import Phone

__all__ = ["Spoken", "spoken"]


@dataclass(frozen=True, slots=True, eq=False)
class Spoken:
    """A spoken sentence."""

    samples: NDArray[np.float32]  # [T], -1..1, 16 kHz
    phones: tuple[Phone, ...]  # in order, without overlap
    voice: str  # "kokoro/jf_alpha", "espeak/de", ...
    language: str  # "en", ...


def spoken(
    samples: NDArray[np.float32], sample_rate: int, phones: list[Phone], voice: str, language: str
) -> Spoken:
    """A Spoken at 16 kHz with its loudest sample at 0.5."""
    mono = np.asarray(soxr.resample(samples, sample_rate, SAMPLE_RATE), np.float32)
    peak = max(float(np.abs(mono).max(initial=0.0)), 1e-6)
    return Spoken(mono * np.float32(0.5 / peak), tuple(phones), voice, language)
