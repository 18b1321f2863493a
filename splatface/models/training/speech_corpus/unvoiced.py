"""Sounds without speech, made: silence, noise, hum, music, breath, laughter, far babble, knocks, signals.

A face must not talk to any of them. Nothing here is recorded, so nothing needs a license.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from splatface.models.messages import SAMPLE_RATE
from splatface.models.training.speech_corpus.voices.spoken import Spoken
from splatface.models.typing import Float32Array

__all__ = ["NONSPEECH_KINDS", "chord", "noise", "unvoiced"]


NONSPEECH_KINDS: Final = (
    "silence",
    "noise",
    "noise_5db",
    "music",
    "breath",
    "laughter",
    "babble",
    "knocks",
    "tones",
)
_SPEECH_DB = -23.0  # RMS of speech as voices are played: noise at 5 dB stands 5 dB below it


def unvoiced(kind: str, count: int, others: Sequence[Spoken], rng: np.random.Generator) -> Float32Array:
    """`count` samples of one of UNVOICED at a level of its own; `others` speak in the babble."""
    if kind == "silence":
        return np.zeros(count, np.float32)
    if kind == "noise_5db":
        return noise(count, (), rng) * _gain(_SPEECH_DB - 5)
    if kind == "noise":
        return noise(count, (), rng) * _gain(float(rng.uniform(-75, -28)))
    if kind == "music":
        return chord(count, rng) * _gain(float(rng.uniform(-60, -22)))
    if kind == "breath":
        return _bursts(count, rng, every_s=(1.5, 3.0), lasting_s=(0.5, 1.2), voiced=False)
    if kind == "laughter":
        return _bursts(count, rng, every_s=(0.18, 0.26), lasting_s=(0.08, 0.13), voiced=True)
    if kind == "knocks":
        return _bursts(count, rng, every_s=(0.1, 0.9), lasting_s=(0.01, 0.04), voiced=False) * _gain(15)
    if kind == "tones":
        return _tones(count, rng) * _gain(float(rng.uniform(-60, -25)))
    # Far babble is quiet, or no one could tell it from a voice.
    return noise(count, others, rng, babble=True) * _gain(float(rng.uniform(-75, -48)))


def noise(
    count: int, others: Sequence[Spoken], rng: np.random.Generator, *, babble: bool = False
) -> Float32Array:
    """Noise of RMS 1: white to brown, sometimes with hum, or a babble of six of the others."""
    if babble and others:
        sum_of_six = np.zeros(count, np.float32)
        for i in rng.integers(0, len(others), 6):
            sum_of_six += np.resize(np.roll(others[i].samples, int(rng.integers(0, SAMPLE_RATE))), count)
        return _even(sum_of_six)
    hz = np.fft.rfftfreq(count, 1 / SAMPLE_RATE)
    spectrum = rng.standard_normal(len(hz)) + 1j * rng.standard_normal(len(hz))
    sound = _even(np.fft.irfft(spectrum * np.maximum(hz, 50) ** -float(rng.uniform(0, 1.3)), count))
    if rng.random() < 0.3:
        t = np.arange(count) / SAMPLE_RATE
        hum = np.sin(2 * np.pi * float(rng.choice([50, 60, 100, 120])) * t)
        sound += (float(rng.uniform(0.3, 1.5)) * hum).astype(np.float32)
    return sound


def chord(count: int, rng: np.random.Generator) -> Float32Array:
    """Music of a sort, RMS 1: notes that change every half second."""
    t = np.arange(count) / SAMPLE_RATE
    sound = np.zeros(count)
    for _ in range(3):
        notes = 110 * 2 ** (rng.integers(0, 30, count // 8000 + 1) / 12)
        phase = np.cumsum(np.repeat(notes, 8000)[:count]) / SAMPLE_RATE
        sound += sum(np.sin(2 * np.pi * k * phase) / k**2 for k in (1, 2, 3))
    return _even(sound * (0.7 + 0.3 * np.cos(2 * np.pi * 2 * t)))


def _tones(count: int, rng: np.random.Generator) -> Float32Array:
    """A signal, RMS 1: one pitch, held, beeping or sliding up and down as a siren does."""
    t = np.arange(count) / SAMPLE_RATE
    often, depth = float(rng.uniform(0.3, 4)), float(rng.choice([0.0, 0.0, 0.3]))
    hz = float(rng.uniform(200, 2500)) * 2 ** (depth * np.sin(2 * np.pi * often * t))
    sound = np.sin(2 * np.pi * np.cumsum(hz) / SAMPLE_RATE)
    if rng.random() < 0.5:
        sound = sound * (np.sin(2 * np.pi * often * t) > 0)
    return _even(sound)


def _bursts(
    count: int,
    rng: np.random.Generator,
    *,
    every_s: tuple[float, float],
    lasting_s: tuple[float, float],
    voiced: bool,
) -> Float32Array:
    """Breath (slow), laughter (quick, with a falling pitch), knocks (sharp): formed noise that swells."""
    t = np.arange(count) / SAMPLE_RATE
    rough = noise(count, (), rng)
    if voiced:
        pitch = float(rng.uniform(140, 320)) * np.exp(-0.12 * t)
        rough = rough + 3 * np.sign(np.sin(2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE)).astype(np.float32)
    spectrum, hz = np.fft.rfft(rough), np.fft.rfftfreq(count, 1 / SAMPLE_RATE)
    center, width = float(rng.uniform(700, 2200)), float(rng.uniform(400, 1500))
    formed = np.fft.irfft(spectrum / (1 + ((hz - center) / width) ** 2), count)
    swell, at = np.zeros(count), float(rng.uniform(0, min(every_s[0], 0.5 * t[-1])))
    while at < count / SAMPLE_RATE:
        last = float(rng.uniform(*lasting_s))
        swell += np.exp(-(((t - at) / (0.4 * last)) ** 2))
        at += float(rng.uniform(*every_s))
    return _even(formed * swell) * _gain(float(rng.uniform(-60, -34)))


def _even(sound: NDArray[np.floating]) -> Float32Array:
    level = np.sqrt(np.square(sound).mean() + 1e-12)
    evened: Float32Array = (sound / level).astype(np.float32)
    return evened


def _gain(db: float) -> np.float32:
    return np.float32(10 ** (db / 20))
