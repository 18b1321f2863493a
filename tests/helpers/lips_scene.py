"""Synthetic filmed mouths: random phones, their modes, and audio as loud as the opening."""

import numpy as np

from splatface.models.training.filmed_lips.filmed_mouth import FilmedMouth
from splatface.models.training.speech_corpus.coarticulation import modes_from_phones
from splatface.models.training.speech_corpus.phonemes import Phone

SOUNDS = list("pabumitʃokalɛmeɔbə")


def phones_of(seed, seconds):
    """Syllables of 80 to 160 ms with pauses now and then."""
    rng = np.random.default_rng(seed)
    phones, at = [], 0.4
    while at < seconds - 0.5:
        length = float(rng.uniform(0.08, 0.16))
        phones.append(Phone(str(rng.choice(SOUNDS)), at, at + length))
        at += length
        if rng.random() < 0.06:
            at += 0.6
    return tuple(phones)


def filmed(seed=0, *, seconds=12.0, fps=25.0, rule=None, gain=1.0):
    """A clip whose sound carries the opening as loudness, and its gap as the opening."""
    rng = np.random.default_rng(seed)
    phones = phones_of(seed, seconds)
    times_s = np.arange(round(seconds * fps)) / fps
    modes = gain * modes_from_phones(phones, times_s, rule).astype(np.float64)
    loud = np.interp(np.arange(round(seconds * 16000)) / 16000, times_s, np.maximum(modes[:, 0], 0.0))
    samples = (0.3 * loud * rng.standard_normal(len(loud))).astype(np.float32)
    gap = 0.3 * np.maximum(modes[:, 0], 0.0) + 0.001
    return FilmedMouth(f"clip{seed}", f"person{seed}", "CC0-1.0", samples, times_s, modes, gap, phones)
