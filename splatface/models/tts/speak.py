# SPDX-License-Identifier: Apache-2.0
"""Speak a text: sentence by sentence, each as soon as it is ready."""

import importlib
import math
import re
from collections.abc import Iterator

import numpy as np
import soxr

from splatface.models.errors import SpeechError
from splatface.models.messages import NS_PER_S, SAMPLE_RATE
from splatface.models.tts.engine import Engine, Phoneme, RawSpeech, SpeechAudio, Voice, Word, WordTiming
from splatface.models.tts.text_frontend import Sentence, check_text, split_sentences
from splatface.models.typing import Float32Array, Float64Array

__all__ = ["ENGINES", "check_voice", "default_voice", "engine", "speak", "voices"]

# In the order of preference for a default: the small ones, which always work, first.
ENGINES = ("flite", "espeak", "piper", "kokoro")
_MIN_RATE, _MAX_RATE = 0.5, 2.5
_TARGET_DBFS = -23.0  # RMS of the blocks that are loud enough to be speech
_MAX_PEAK = 0.9
_PUNCTUATION = ",.;:!?…\"'“”‘’«»()[]¿¡-–—、。，！？।"  # around a word
_BLOCK = SAMPLE_RATE // 100  # 10 ms
_SILENCE_DB = -45.0  # relative to the loudest block: silence at an end
_SPEECH_DB = -25.0  # relative to the loudest block: still speech
_LEAD_IN, _LEAD_OUT = 2 * _BLOCK, 4 * _BLOCK  # of the silence at the ends that remains


def speak(text: str, voice: str = "", rate: float = 1.0) -> Iterator[SpeechAudio]:
    """Synthesize a text of any length, sentence by sentence; the arguments are checked before this returns.

    Args:
        text: with punctuation, which makes the pauses; numbers and abbreviations are read by the engine.
        voice: see `check_voice`; empty for the default.
        rate: 0.5..2.5; 1 (or 0) is the voice's normal speed.

    Raises:
        SpeechError: for a text without a letter or digit, a binary one, an unknown voice, a voice whose
            engine is not installed, a rate out of range; later, when an engine fails.
    """
    check_text(text)
    name = check_voice(voice)
    rate = rate or 1.0
    if not (math.isfinite(rate) and _MIN_RATE <= rate <= _MAX_RATE):
        raise SpeechError(
            f"rate: expected {_MIN_RATE} to {_MAX_RATE}, 1 is the voice's own pace, found {rate:g}"
        )
    return _synthesize(text, name, rate)


def _synthesize(text: str, name: str, rate: float) -> Iterator[SpeechAudio]:
    engine_name, _, voice = name.partition("/")
    synthesizer, loudness = engine(engine_name), _LoudnessNormalizer()
    for sentence in split_sentences(text):
        speech = synthesizer.say(sentence.text, voice, rate)
        yield _postprocess(speech, sentence, loudness, sentence.pause_ms / rate)


def engine(name: str) -> Engine:
    """Return an engine by its name; it is imported now, and loads its voices when first used.

    Raises:
        SpeechError: for another name.
    """
    if name not in ENGINES:
        raise SpeechError(f"engine: expected one of {', '.join(ENGINES)}, found {name[:40]!r}")
    module: Engine = importlib.import_module(f"splatface.models.tts.{name}_engine")
    return module


def voices() -> tuple[Voice, ...]:
    """Return all installed voices, in the order of ENGINES."""
    return tuple(voice for name in ENGINES for voice in engine(name).voices())


def default_voice() -> Voice:
    """Return the first installed voice that speaks English.

    Raises:
        SpeechError: when there is none.
    """
    for name in ENGINES:
        for voice in engine(name).voices():
            if voice.language == "en-us":
                return voice
    raise SpeechError(f"voice: expected an installed one, found none: {engine(ENGINES[0]).INSTALL}")


def check_voice(name: str) -> str:
    """Return the name of an available voice, the default's if it is empty.

    Besides the listed names, espeak/LANGUAGE+VARIANT and kokoro/VOICE+VOICE@LANGUAGE are voices.

    Raises:
        SpeechError: for an unknown voice or one whose engine is not installed, with the remedy.
    """
    if not name:
        return default_voice().name
    engine_name, _, voice = name.partition("/")
    if engine_name not in ENGINES or not voice:
        raise SpeechError(
            f"voice: expected engine/voice with an engine of {', '.join(ENGINES)}, found {name[:60]!r}: "
            "splatface voices lists them"
        )
    synthesizer = engine(engine_name)
    known = [listed.name for listed in synthesizer.voices()]
    if not known:
        raise SpeechError(
            f"voice {name[:60]}: expected {engine_name} to be installed, found none: {synthesizer.INSTALL}"
        )
    if not synthesizer.has_voice(voice):
        raise SpeechError(
            f"voice: expected one of {engine_name} such as {', '.join(known[:6])}, found {name[:60]!r}: "
            "splatface voices lists them"
        )
    return name


class _LoudnessNormalizer:
    """One gain for a voice, from all its speech so far, so that a single word is not amplified too much."""

    def __init__(self) -> None:
        self._energy = 0.0
        self._blocks = 0

    def apply(self, samples: Float32Array) -> Float32Array:
        """Scale the samples to the target level, peaks below _MAX_PEAK."""
        power = _block_power(samples)
        speech_power = power[power > power.max(initial=0.0) * 10 ** (_SPEECH_DB / 10)]
        self._energy += float(speech_power.sum())
        self._blocks += len(speech_power)
        mean = self._energy / max(self._blocks, 1)
        peak = float(np.abs(samples).max(initial=0.0))
        if mean <= 0.0 or peak <= 0.0:
            return samples
        gain = min(10 ** (_TARGET_DBFS / 20) / mean**0.5, _MAX_PEAK / peak)
        return samples * np.float32(gain)


def _postprocess(
    speech: RawSpeech, sentence: Sentence, loudness: _LoudnessNormalizer, pause_ms: float
) -> SpeechAudio:
    """Resample, trim and normalize a sentence and add its pause; times count from its first sample."""
    samples = np.asarray(speech.samples, np.float32)
    if speech.sample_rate != SAMPLE_RATE:
        samples = np.asarray(soxr.resample(samples, speech.sample_rate, SAMPLE_RATE), np.float32)
    first, last = _trim_silence(samples)
    trimmed = _fade_ends(loudness.apply(samples[first:last]))
    pause = np.zeros(round(pause_ms * SAMPLE_RATE / 1000), np.float32)

    def ns(seconds: float) -> int:
        return round(min(max(seconds * SAMPLE_RATE - first, 0), len(trimmed)) * NS_PER_S / SAMPLE_RATE)

    words = tuple(
        Word(
            sentence.text[word.begin : word.end].strip(_PUNCTUATION),
            sentence.begin + word.begin,
            sentence.begin + word.end,
            ns(word.start_s),
            ns(word.end_s),
        )
        for word in _time_every_word(sentence.text, speech.words)
    )
    phonemes = (Phoneme(ipa, ns(start), ns(end)) for ipa, start, end in speech.phonemes)
    return SpeechAudio(
        np.concatenate([trimmed, pause]),
        words,
        tuple(phoneme for phoneme in phonemes if phoneme.end_ns > phoneme.start_ns),
        sentence.text,
        sentence.end,
        len(trimmed) * NS_PER_S // SAMPLE_RATE,
        sentence.last,
    )


def _time_every_word(text: str, timings: tuple[WordTiming, ...]) -> list[WordTiming]:
    """Return a time for every word of the text: engines time "in the" as one, so it is divided by length."""
    spans = [match.span() for match in re.finditer(r"\S*\w\S*", text)]
    out: list[WordTiming] = []
    for timing, following in zip(timings, [*timings[1:], None], strict=True):
        begin = timing.begin if out else 0
        end = following.begin if following else len(text)
        words = [span for span in spans if begin <= span[0] < end] or [(timing.begin, timing.end)]
        cuts = np.cumsum([0] + [stop - start for start, stop in words]) / sum(b - a for a, b in words)
        times = timing.start_s + cuts * (timing.end_s - timing.start_s)
        out += [
            WordTiming(*span, float(a), float(b)) for span, a, b in zip(words, times, times[1:], strict=False)
        ]
    return out


def _block_power(samples: Float32Array) -> Float64Array:
    """Return the mean square of each 10 ms."""
    blocks = samples[: len(samples) // _BLOCK * _BLOCK].reshape(-1, _BLOCK)
    power: Float64Array = np.square(blocks, dtype=np.float64).mean(axis=1)
    return power


def _trim_silence(samples: Float32Array) -> tuple[int, int]:
    """Return the range of samples without the silence at the ends: engines add up to half a second."""
    power = _block_power(samples)
    loud = np.flatnonzero(power > power.max(initial=0.0) * 10 ** (_SILENCE_DB / 10))
    if not len(loud):
        return 0, len(samples)
    first, last = int(loud[0]) * _BLOCK - _LEAD_IN, int(loud[-1] + 1) * _BLOCK + _LEAD_OUT
    return max(first, 0), min(last, len(samples))


def _fade_ends(samples: Float32Array) -> Float32Array:
    """Fade in and out over 5 ms, so that the cuts do not click."""
    size = min(_BLOCK // 2, len(samples) // 2)
    if size:
        ramp = np.linspace(0, 1, size, dtype=np.float32)
        samples[:size] *= ramp
        samples[-size:] *= ramp[::-1]
    return samples
