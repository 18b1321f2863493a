"""The same voice at another pace: time is stretched, pitch and throat stay.

Waveform similarity overlap-add, Verhelst & Roelands, "An overlap-add technique based on waveform similarity
(WSOLA) for high quality time-scale modification of speech" (1993).
"""

import numpy as np
from numpy.typing import NDArray

from splatface.models.training.speech_corpus.phonemes import Phone
from splatface.models.training.speech_corpus.voices.spoken import Spoken

__all__ = ["wsola_stretch"]

_FRAME, _HOP, _SEARCH = 480, 240, 120  # samples: 30 ms, half of it, 7.5 ms either way


def wsola_stretch(said: Spoken, factor: float) -> Spoken:
    """`factor` above 1 is slower; the phones go with the sound. For factors of 0.5 to 2."""
    there = int(len(said.samples) * factor) // _HOP * _HOP
    if there < 4 * _FRAME:
        return said
    sound = np.pad(said.samples, (_SEARCH, 2 * _FRAME + 2 * _SEARCH))
    window = np.hanning(_FRAME + 1)[:-1].astype(np.float32)
    out = np.zeros(there + _FRAME, np.float32)
    at, last = _SEARCH, len(said.samples) + _SEARCH
    for start in range(0, there, _HOP):
        wanted = min(round(start / factor) + _SEARCH, last)
        if start:
            at = wanted + _best_shift(sound, at + _HOP, wanted)
        out[start : start + _FRAME] += window * sound[at : at + _FRAME]
    phones = tuple(Phone(p.ipa, p.start_s * factor, p.end_s * factor, p.stress) for p in said.phones)
    return Spoken(out[:there], phones, said.voice, said.language)


def _best_shift(sound: NDArray[np.float32], follows: int, wanted: int) -> int:
    """By how much the frame at `wanted` must move to look like what would have followed."""
    pattern = sound[follows : follows + _HOP]
    if len(pattern) < _HOP:
        return 0
    region = sound[wanted - _SEARCH : wanted + _SEARCH + _HOP]
    likeness = np.correlate(region, pattern, "valid")
    power = np.convolve(region**2, np.ones(_HOP, np.float32), "valid")
    return int(np.argmax(likeness / np.sqrt(power + 1e-6))) - _SEARCH
