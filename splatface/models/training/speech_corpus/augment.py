"""One clean voice becomes many recordings: another throat, room, color, noise, level, silence around it.

Every function takes and gives mono float32 at 16 kHz; randomness comes from the generator passed in.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import soxr

from splatface.models.messages import SAMPLE_RATE
from splatface.models.training.speech_corpus.phonemes import Phone
from splatface.models.training.speech_corpus.unvoiced import NONSPEECH_KINDS, noise, unvoiced
from splatface.models.training.speech_corpus.voices.spoken import Spoken
from splatface.models.typing import Float32Array

__all__ = ["Recording", "Rerecording", "rerecorded", "silent", "simulate_recording"]


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """Sound as a microphone might give it, and the phones in it."""

    samples: Float32Array  # [T], 16 kHz
    phones: tuple[Phone, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Rerecording:
    """A sound recorded again elsewhere: its time t is heard at before_s + t / rate."""

    samples: Float32Array  # [T], 16 kHz
    before_s: float
    rate: float


def simulate_recording(said: Spoken, others: Sequence[Spoken], rng: np.random.Generator) -> Recording:
    """A spoken sentence, recorded somewhere; `others` give the babble behind it."""
    again = rerecorded(said.samples, others, rng)
    phones = tuple(
        Phone(p.ipa, again.before_s + p.start_s / again.rate, again.before_s + p.end_s / again.rate, p.stress)
        for p in said.phones
    )
    return Recording(again.samples, phones)


def rerecorded(samples: Float32Array, others: Sequence[Spoken], rng: np.random.Generator) -> Rerecording:
    """Samples [T] with another throat, room, color, noise and level; `others` give the babble behind."""
    rate = float(rng.uniform(0.84, 1.18)) if rng.random() < 0.6 else 1.0
    samples = np.asarray(soxr.resample(samples, SAMPLE_RATE * rate, SAMPLE_RATE), np.float32)
    before_s, after_s = rng.uniform(0.3, 1.0, 2)
    samples = np.pad(samples, (round(before_s * SAMPLE_RATE), round(after_s * SAMPLE_RATE)))
    if rng.random() < 0.4:
        samples = _room(samples, rng)
    if rng.random() < 0.5:
        samples = _color(samples, rng)
    if rng.random() < 0.7:
        background = noise(len(samples), others, rng, babble=bool(rng.random() < 0.3))
        snr_db = float(rng.uniform(5, 40))
        samples = samples + background * (_loudness(samples) * np.float32(10 ** (-snr_db / 20)))
    # Recordings peak anywhere between -36 and -1 dBFS.
    gain = 10 ** (float(rng.uniform(-36, -1)) / 20) / max(float(np.abs(samples).max()), 1e-6)
    return Rerecording(np.clip(samples * np.float32(gain), -1, 1), float(before_s), rate)


def silent(seconds: float, others: Sequence[Spoken], rng: np.random.Generator) -> Recording:
    """No one speaks: any of UNVOICED, most often what is most like speech. The mouth rests."""
    count = round(seconds * SAMPLE_RATE)
    kinds = (*NONSPEECH_KINDS, "babble", "babble", "music", "laughter")
    return Recording(unvoiced(str(rng.choice(kinds)), count, others, rng), ())


def _loudness(samples: Float32Array) -> np.float32:
    """RMS of the louder half of the sound."""
    frames = np.square(samples[: len(samples) // 320 * 320].reshape(-1, 320)).mean(axis=1)
    return np.float32(np.sqrt(np.sort(frames)[len(frames) // 2 :].mean() + 1e-12))


def _room(samples: Float32Array, rng: np.random.Generator) -> Float32Array:
    """Add a decaying tail: 60 dB down after 0.1 to 0.6 s."""
    rt60_s = float(rng.uniform(0.1, 0.6))
    t = np.arange(round(rt60_s * SAMPLE_RATE)) / SAMPLE_RATE
    tail = rng.standard_normal(len(t)) * 10 ** (-3 * t / rt60_s)
    tail *= float(rng.uniform(0.1, 0.6)) / np.sqrt(np.square(tail).sum())
    size = 1 << int(len(samples) + len(tail)).bit_length()
    wet = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(tail, size), size)[: len(samples)]
    return (samples + wet).astype(np.float32)


def _color(samples: Float32Array, rng: np.random.Generator) -> Float32Array:
    """Tilt the spectrum and cut it as cheap microphones and telephones do."""
    spectrum = np.fft.rfft(samples)
    hz = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    db = float(rng.uniform(-4, 4)) * np.log2(np.maximum(hz, 100) / 1000)
    low, high = float(rng.uniform(20, 280)), float(rng.uniform(3400, 9000))
    shape = 10 ** (db / 20) / np.sqrt((1 + (low / np.maximum(hz, 1)) ** 4) * (1 + (hz / high) ** 8))
    return np.fft.irfft(spectrum * shape, len(samples)).astype(np.float32)
