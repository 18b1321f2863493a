"""Sounds that no one hears are pauses: phone times are trimmed by the sound itself."""

import numpy as np
from numpy.typing import NDArray

from splatface.models.messages import SAMPLE_RATE
from splatface.models.training.speech_corpus.phonemes import Phone
from splatface.models.training.speech_corpus.voices.spoken import Spoken

__all__ = ["trim_pauses"]

_HOP = SAMPLE_RATE // 100


def trim_pauses(said: Spoken, *, below_db: float = -40.0, longer_s: float = 0.15) -> Spoken:
    """Cut every stretch that is `below_db` under the loudest for `longer_s` out of the phones.

    Synthesisers stretch the last sound before a pause over the pause; no closure lasts that long.
    """
    quiet = _quiet_stretches(said.samples, below_db, longer_s)
    phones = []
    for phone in said.phones:
        start, end = phone.start_s, phone.end_s
        for quiet_start, quiet_end in quiet:
            if start < quiet_end and quiet_start < end:
                before, after = quiet_start - start, end - quiet_end
                start, end = (start, quiet_start) if before >= after else (quiet_end, end)
        if end - start > 0.005:
            phones.append(Phone(phone.ipa, start, end, phone.stress))
    return Spoken(said.samples, tuple(phones), said.voice, said.language)


def _quiet_stretches(
    samples: NDArray[np.float32], below_db: float, longer_s: float
) -> list[tuple[float, float]]:
    """Starts and ends of quiet stretches, s."""
    power = np.square(samples[: len(samples) // _HOP * _HOP].reshape(-1, _HOP)).mean(axis=1)
    quiet = 10 * np.log10(power + 1e-12) < 10 * np.log10(power.max(initial=1e-9)) + below_db
    edges = np.flatnonzero(np.diff(np.concatenate([[False], quiet, [False]]).astype(np.int8)))
    stretches = edges.reshape(-1, 2) * (_HOP / SAMPLE_RATE)
    return [(float(a), float(b)) for a, b in stretches if b - a >= longer_s]
