# SPDX-License-Identifier: Apache-2.0
"""Audio augmentation: simulated recordings, non-speech sounds and time stretching.

Audio is mono float32 at 16 kHz; random numbers come from the generator passed in. Non-speech sounds are
synthetic, so none of them needs a license.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import soxr

from splatface.models.messages import SAMPLE_RATE
from splatface.models.training.speech_corpus.phonemes import LabeledSpeech, Phone
from splatface.models.typing import Float32Array, Float64Array, FloatArray

__all__ = [
    "NONSPEECH_KINDS",
    "AugmentedAudio",
    "SimulatedRecording",
    "augment_audio",
    "chord",
    "noise",
    "nonspeech_sound",
    "simulate_nonspeech",
    "simulate_recording",
    "wsola_stretch",
]

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
_SPEECH_DB = -23.0  # RMS of speech as voices are played
_NOTE_SAMPLES = 8000  # half a second
_BLOCK = 320  # samples, 20 ms
_WSOLA_FRAME, _WSOLA_HOP, _WSOLA_SEARCH = 480, 240, 120  # samples: 30 ms, half of it, 7.5 ms either way


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedRecording:
    """Audio as a microphone might give it, and the phones in it."""

    samples: Float32Array  # [T], 16 kHz
    phones: tuple[Phone, ...]


@dataclass(frozen=True, slots=True, eq=False)
class AugmentedAudio:
    """Augmented audio: time t of the original is at before_s + t / rate."""

    samples: Float32Array  # [T], 16 kHz
    before_s: float
    rate: float


def simulate_recording(
    sentence: LabeledSpeech, others: Sequence[LabeledSpeech], rng: np.random.Generator
) -> SimulatedRecording:
    """Augment a sentence with its phones; `others` are the babble behind it."""
    audio = augment_audio(sentence.samples, others, rng)

    def moved(time_s: float) -> float:
        return audio.before_s + time_s / audio.rate

    phones = (replace(p, start_s=moved(p.start_s), end_s=moved(p.end_s)) for p in sentence.phones)
    return SimulatedRecording(audio.samples, tuple(phones))


def augment_audio(
    samples: Float32Array, others: Sequence[LabeledSpeech], rng: np.random.Generator
) -> AugmentedAudio:
    """Change speed and pitch, room, microphone, noise and level of samples [T]; `others` are the babble."""
    rate = float(rng.uniform(0.84, 1.18)) if rng.random() < 0.6 else 1.0
    samples = np.asarray(soxr.resample(samples, SAMPLE_RATE * rate, SAMPLE_RATE), np.float32)
    before_s, after_s = rng.uniform(0.3, 1.0, 2)
    samples = np.pad(samples, (round(before_s * SAMPLE_RATE), round(after_s * SAMPLE_RATE)))
    if rng.random() < 0.4:
        samples = _add_reverberation(samples, rng)
    if rng.random() < 0.5:
        samples = _color_spectrum(samples, rng)
    if rng.random() < 0.7:
        background = noise(len(samples), others, rng, babble=bool(rng.random() < 0.3))
        snr_db = float(rng.uniform(5, 40))
        samples = samples + background * (_speech_rms(samples) * np.float32(10 ** (-snr_db / 20)))
    # Recordings peak anywhere between -36 and -1 dBFS.
    gain = 10 ** (float(rng.uniform(-36, -1)) / 20) / max(float(np.abs(samples).max()), 1e-6)
    return AugmentedAudio(np.clip(samples * np.float32(gain), -1, 1), float(before_s), rate)


def simulate_nonspeech(
    seconds: float, others: Sequence[LabeledSpeech], rng: np.random.Generator
) -> SimulatedRecording:
    """Make a recording without speech, most often of the kinds that resemble speech most."""
    kinds = (*NONSPEECH_KINDS, "babble", "babble", "music", "laughter")
    kind = str(rng.choice(kinds))
    return SimulatedRecording(nonspeech_sound(kind, round(seconds * SAMPLE_RATE), others, rng), ())


def _speech_rms(samples: Float32Array) -> np.float32:
    """Compute the RMS of the louder half of the audio."""
    power = np.square(samples[: len(samples) // _BLOCK * _BLOCK].reshape(-1, _BLOCK)).mean(axis=1)
    return np.float32(np.sqrt(np.sort(power)[len(power) // 2 :].mean() + 1e-12))


def _add_reverberation(samples: Float32Array, rng: np.random.Generator) -> Float32Array:
    """Add a decaying tail with a reverberation time (60 dB) of 0.1 to 0.6 s."""
    rt60_s = float(rng.uniform(0.1, 0.6))
    t = np.arange(round(rt60_s * SAMPLE_RATE)) / SAMPLE_RATE
    tail = rng.standard_normal(len(t)) * 10 ** (-3 * t / rt60_s)
    tail *= float(rng.uniform(0.1, 0.6)) / np.sqrt(np.square(tail).sum())
    size = 1 << int(len(samples) + len(tail)).bit_length()
    wet = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(tail, size), size)[: len(samples)]
    return (samples + wet).astype(np.float32)


def _color_spectrum(samples: Float32Array, rng: np.random.Generator) -> Float32Array:
    """Tilt and band-limit the spectrum as cheap microphones and telephones do."""
    spectrum = np.fft.rfft(samples)
    hz = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    db = float(rng.uniform(-4, 4)) * np.log2(np.maximum(hz, 100) / 1000)
    low_hz, high_hz = float(rng.uniform(20, 280)), float(rng.uniform(3400, 9000))
    band = np.sqrt((1 + (low_hz / np.maximum(hz, 1)) ** 4) * (1 + (hz / high_hz) ** 8))
    return np.fft.irfft(spectrum * (10 ** (db / 20) / band), len(samples)).astype(np.float32)


def nonspeech_sound(
    kind: str, count: int, others: Sequence[LabeledSpeech], rng: np.random.Generator
) -> Float32Array:
    """Make `count` samples of one of NONSPEECH_KINDS at a random level; `others` speak in the babble."""
    if kind == "silence":
        return np.zeros(count, np.float32)
    if kind == "noise_5db":  # of signal to noise
        return noise(count, (), rng) * _gain(_SPEECH_DB - 5)
    if kind == "noise":
        return noise(count, (), rng) * _gain(float(rng.uniform(-75, -28)))
    if kind == "music":
        return chord(count, rng) * _gain(float(rng.uniform(-60, -22)))
    if kind == "breath":
        return _bursts(count, rng, interval_s=(1.5, 3.0), duration_s=(0.5, 1.2), voiced=False)
    if kind == "laughter":
        return _bursts(count, rng, interval_s=(0.18, 0.26), duration_s=(0.08, 0.13), voiced=True)
    if kind == "knocks":
        return _bursts(count, rng, interval_s=(0.1, 0.9), duration_s=(0.01, 0.04), voiced=False) * _gain(15)
    if kind == "tones":
        return _tones(count, rng) * _gain(float(rng.uniform(-60, -25)))
    # Far babble is quiet, or nothing distinguishes it from a voice.
    return noise(count, others, rng, babble=True) * _gain(float(rng.uniform(-75, -48)))


def noise(
    count: int, others: Sequence[LabeledSpeech], rng: np.random.Generator, *, babble: bool = False
) -> Float32Array:
    """Make noise of RMS 1: white to brown, sometimes with hum, or a babble of six of the others."""
    if babble and others:
        voices = np.zeros(count, np.float32)
        for i in rng.integers(0, len(others), 6):
            voices += np.resize(np.roll(others[i].samples, int(rng.integers(0, SAMPLE_RATE))), count)
        return _normalize_rms(voices)
    hz = np.fft.rfftfreq(count, 1 / SAMPLE_RATE)
    spectrum = rng.standard_normal(len(hz)) + 1j * rng.standard_normal(len(hz))
    audio = _normalize_rms(np.fft.irfft(spectrum * np.maximum(hz, 50) ** -float(rng.uniform(0, 1.3)), count))
    if rng.random() < 0.3:
        t = np.arange(count) / SAMPLE_RATE
        hum = np.sin(2 * np.pi * float(rng.choice([50, 60, 100, 120])) * t)
        audio += (float(rng.uniform(0.3, 1.5)) * hum).astype(np.float32)
    return audio


def chord(count: int, rng: np.random.Generator) -> Float32Array:
    """Make simple music of RMS 1: three notes that change every half second."""
    t = np.arange(count) / SAMPLE_RATE
    audio = np.zeros(count)
    for _ in range(3):
        notes_hz = 110 * 2 ** (rng.integers(0, 30, count // _NOTE_SAMPLES + 1) / 12)
        phase = np.cumsum(np.repeat(notes_hz, _NOTE_SAMPLES)[:count]) / SAMPLE_RATE
        audio += sum(np.sin(2 * np.pi * k * phase) / k**2 for k in (1, 2, 3))
    return _normalize_rms(audio * (0.7 + 0.3 * np.cos(2 * np.pi * 2 * t)))


def _tones(count: int, rng: np.random.Generator) -> Float32Array:
    """Make a signal tone of RMS 1: constant, beeping, or sweeping up and down as a siren does."""
    t = np.arange(count) / SAMPLE_RATE
    rate_hz, depth = float(rng.uniform(0.3, 4)), float(rng.choice([0.0, 0.0, 0.3]))
    hz = float(rng.uniform(200, 2500)) * 2 ** (depth * np.sin(2 * np.pi * rate_hz * t))
    audio = np.sin(2 * np.pi * np.cumsum(hz) / SAMPLE_RATE)
    if rng.random() < 0.5:
        audio = audio * (np.sin(2 * np.pi * rate_hz * t) > 0)
    return _normalize_rms(audio)


def _bursts(
    count: int,
    rng: np.random.Generator,
    *,
    interval_s: tuple[float, float],
    duration_s: tuple[float, float],
    voiced: bool,
) -> Float32Array:
    """Make bursts of filtered noise: breath (slow), laughter (fast, falling pitch), knocks (short)."""
    t = np.arange(count) / SAMPLE_RATE
    source = noise(count, (), rng)
    if voiced:
        pitch_hz = float(rng.uniform(140, 320)) * np.exp(-0.12 * t)
        square_wave = np.sign(np.sin(2 * np.pi * np.cumsum(pitch_hz) / SAMPLE_RATE))
        source = source + 3 * square_wave.astype(np.float32)
    spectrum, hz = np.fft.rfft(source), np.fft.rfftfreq(count, 1 / SAMPLE_RATE)
    center_hz, width_hz = float(rng.uniform(700, 2200)), float(rng.uniform(400, 1500))
    filtered = np.fft.irfft(spectrum / (1 + ((hz - center_hz) / width_hz) ** 2), count)
    envelope, at_s = np.zeros(count), float(rng.uniform(0, min(interval_s[0], 0.5 * t[-1])))
    while at_s < count / SAMPLE_RATE:
        burst_s = float(rng.uniform(*duration_s))
        envelope += np.exp(-(((t - at_s) / (0.4 * burst_s)) ** 2))
        at_s += float(rng.uniform(*interval_s))
    return _normalize_rms(filtered * envelope) * _gain(float(rng.uniform(-60, -34)))


def _normalize_rms(audio: FloatArray) -> Float32Array:
    rms = np.sqrt(np.square(audio).mean() + 1e-12)
    normalized: Float32Array = (audio / rms).astype(np.float32)
    return normalized


def _gain(db: float) -> np.float32:
    return np.float32(10 ** (db / 20))


def wsola_stretch(sentence: LabeledSpeech, factor: float) -> LabeledSpeech:
    """Change the speaking rate, not the pitch, by a factor of 0.5 to 2; above 1 is slower.

    Waveform similarity overlap-add, Verhelst & Roelands, "An overlap-add technique based on waveform
    similarity (WSOLA) for high quality time-scale modification of speech" (1993).
    """
    count = int(len(sentence.samples) * factor) // _WSOLA_HOP * _WSOLA_HOP
    if count < 4 * _WSOLA_FRAME:
        return sentence
    audio = np.pad(sentence.samples, (_WSOLA_SEARCH, 2 * _WSOLA_FRAME + 2 * _WSOLA_SEARCH))
    window = np.hanning(_WSOLA_FRAME + 1)[:-1].astype(np.float32)
    output = np.zeros(count + _WSOLA_FRAME, np.float32)
    at, last = _WSOLA_SEARCH, len(sentence.samples) + _WSOLA_SEARCH
    for start in range(0, count, _WSOLA_HOP):
        nominal = min(round(start / factor) + _WSOLA_SEARCH, last)
        if start:
            at = nominal + _best_offset(audio, at + _WSOLA_HOP, nominal)
        output[start : start + _WSOLA_FRAME] += window * audio[at : at + _WSOLA_FRAME]
    phones = (replace(p, start_s=p.start_s * factor, end_s=p.end_s * factor) for p in sentence.phones)
    return replace(sentence, samples=output[:count], phones=tuple(phones))


def _best_offset(audio: Float32Array, continuation: int, nominal: int) -> int:
    """Return the offset of the frame at `nominal` that best matches the natural continuation."""
    pattern = audio[continuation : continuation + _WSOLA_HOP]
    if len(pattern) < _WSOLA_HOP:
        return 0
    region = audio[nominal - _WSOLA_SEARCH : nominal + _WSOLA_SEARCH + _WSOLA_HOP]
    similarity: Float64Array = np.correlate(region, pattern, "valid")
    power = np.convolve(region**2, np.ones(_WSOLA_HOP, np.float32), "valid")
    return int(np.argmax(similarity / np.sqrt(power + 1e-6))) - _WSOLA_SEARCH
