"""Audio augmentation: simulated recordings, non-speech sounds and time stretching."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import soxr
from numpy.typing import NDArray

from splatface.models.messages import SAMPLE_RATE
from splatface.models.training.speech_corpus.phonemes import LabeledSpeech, Phone
from splatface.models.typing import Float32Array

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
_SPEECH_DB = -23.0  # RMS of speech as voices are played: noise at 5 dB stands 5 dB below it


def nonspeech_sound(
    kind: str, count: int, others: Sequence[LabeledSpeech], rng: np.random.Generator
) -> Float32Array:
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
    count: int, others: Sequence[LabeledSpeech], rng: np.random.Generator, *, babble: bool = False
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


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedRecording:
    """Sound as a microphone might give it, and the phones in it."""

    samples: Float32Array  # [T], 16 kHz
    phones: tuple[Phone, ...]


@dataclass(frozen=True, slots=True, eq=False)
class AugmentedAudio:
    """A sound recorded again elsewhere: its time t is heard at before_s + t / rate."""

    samples: Float32Array  # [T], 16 kHz
    before_s: float
    rate: float


def simulate_recording(
    said: LabeledSpeech, others: Sequence[LabeledSpeech], rng: np.random.Generator
) -> SimulatedRecording:
    """A spoken sentence, recorded somewhere; `others` give the babble behind it."""
    again = augment_audio(said.samples, others, rng)
    phones = tuple(
        Phone(p.ipa, again.before_s + p.start_s / again.rate, again.before_s + p.end_s / again.rate, p.stress)
        for p in said.phones
    )
    return SimulatedRecording(again.samples, phones)


def augment_audio(
    samples: Float32Array, others: Sequence[LabeledSpeech], rng: np.random.Generator
) -> AugmentedAudio:
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
    return AugmentedAudio(np.clip(samples * np.float32(gain), -1, 1), float(before_s), rate)


def simulate_nonspeech(
    seconds: float, others: Sequence[LabeledSpeech], rng: np.random.Generator
) -> SimulatedRecording:
    """No one speaks: any of UNVOICED, most often what is most like speech. The mouth rests."""
    count = round(seconds * SAMPLE_RATE)
    kinds = (*NONSPEECH_KINDS, "babble", "babble", "music", "laughter")
    return SimulatedRecording(nonspeech_sound(str(rng.choice(kinds)), count, others, rng), ())


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


_FRAME, _HOP, _SEARCH = 480, 240, 120  # samples: 30 ms, half of it, 7.5 ms either way


def wsola_stretch(said: LabeledSpeech, factor: float) -> LabeledSpeech:
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
    return LabeledSpeech(out[:there], phones, said.voice, said.language)


def _best_shift(sound: NDArray[np.float32], follows: int, wanted: int) -> int:
    """By how much the frame at `wanted` must move to look like what would have followed."""
    pattern = sound[follows : follows + _HOP]
    if len(pattern) < _HOP:
        return 0
    region = sound[wanted - _SEARCH : wanted + _SEARCH + _HOP]
    likeness = np.correlate(region, pattern, "valid")
    power = np.convolve(region**2, np.ones(_HOP, np.float32), "valid")
    return int(np.argmax(likeness / np.sqrt(power + 1e-6))) - _SEARCH
