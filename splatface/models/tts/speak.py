"""Speak a text: sentence by sentence, each as soon as it is ready."""

import importlib
import math
import re
from collections.abc import Iterator

import numpy as np
import soxr
from numpy.typing import NDArray

from splatface.models.errors import SpeechError
from splatface.models.messages import NS_PER_S, SAMPLE_RATE
from splatface.models.tts.engine import Engine, Phoneme, RawSpeech, SpeechAudio, Voice, Word, WordTiming
from splatface.models.tts.text_frontend import Sentence, check_text, sentences

__all__ = [
    "ENGINES",
    "LoudnessNormalizer",
    "check_voice",
    "default_voice",
    "engine",
    "postprocess",
    "speak",
    "voices",
]

TARGET_DBFS = -23.0  # RMS of what is loud enough to be speech
PEAK = 0.9
_AROUND = ",.;:!?…\"'“”‘’«»()[]¿¡-–—、。，！？।"  # what stands around a word
_HOP = SAMPLE_RATE // 100
_QUIET_DB = -45.0  # under the loudest 10 ms: silence at an end
_SPEECH_DB = -25.0  # under the loudest 10 ms: still speech
_BEFORE, _AFTER = 2 * _HOP, 4 * _HOP  # of the silence at the ends, so much is kept


class LoudnessNormalizer:
    """One gain for a voice: from all it has said so far, so that a word alone is not shouted."""

    def __init__(self) -> None:
        self._energy = 0.0
        self._frames = 0

    def level(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """The samples at the target, peaks below PEAK."""
        power = _power(samples)
        loud = power[power > power.max(initial=0.0) * 10 ** (_SPEECH_DB / 10)]
        self._energy += float(loud.sum())
        self._frames += len(loud)
        mean = self._energy / max(self._frames, 1)
        peak = float(np.abs(samples).max(initial=0.0))
        if mean <= 0.0 or peak <= 0.0:
            return samples
        gain = min(10 ** (TARGET_DBFS / 20) / mean**0.5, PEAK / peak)
        return samples * np.float32(gain)


def postprocess(
    said: RawSpeech, sentence: Sentence, loudness: LoudnessNormalizer, pause_ms: float
) -> SpeechAudio:
    """What is played of a sentence, followed by a pause; times count from its first sample."""
    samples = np.asarray(said.samples, np.float32)
    if said.sample_rate != SAMPLE_RATE:
        samples = np.asarray(soxr.resample(samples, said.sample_rate, SAMPLE_RATE), np.float32)
    first, last = _ends(samples)
    kept = _faded(loudness.level(samples[first:last]))
    pause = np.zeros(round(pause_ms * SAMPLE_RATE / 1000), np.float32)

    def ns(seconds: float) -> int:
        return round(min(max(seconds * SAMPLE_RATE - first, 0), len(kept)) * NS_PER_S / SAMPLE_RATE)

    words = (
        Word(
            sentence.text[token.begin : token.end].strip(_AROUND),
            sentence.begin + token.begin,
            sentence.begin + token.end,
            ns(token.start_s),
            ns(token.end_s),
        )
        for token in _all_words(sentence.text, said.tokens)
    )
    phonemes = (Phoneme(ipa, ns(start), ns(end)) for ipa, start, end in said.phonemes)
    heard = tuple(phoneme for phoneme in phonemes if phoneme.end_ns > phoneme.start_ns)
    return SpeechAudio(
        np.concatenate([kept, pause]),
        tuple(words),
        heard,
        sentence.text,
        sentence.end,
        len(kept) * NS_PER_S // SAMPLE_RATE,
        sentence.last,
    )


def _all_words(text: str, tokens: tuple[WordTiming, ...]) -> list[WordTiming]:
    """Every word of the text: engines date "in the" as one, so the time is shared by length."""
    written = [found.span() for found in re.finditer(r"\S*\w\S*", text)]
    out: list[WordTiming] = []
    for token, after in zip(tokens, [*tokens[1:], None], strict=True):
        begin = token.begin if out else 0
        end = after.begin if after else len(text)
        sharing = [span for span in written if begin <= span[0] < end] or [(token.begin, token.end)]
        cuts = np.cumsum([0] + [stop - start for start, stop in sharing]) / sum(b - a for a, b in sharing)
        times = token.start_s + cuts * (token.end_s - token.start_s)
        out += [
            WordTiming(*span, float(a), float(b))
            for span, a, b in zip(sharing, times, times[1:], strict=False)
        ]
    return out


def _power(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean square of each 10 ms."""
    whole = samples[: len(samples) // _HOP * _HOP].reshape(-1, _HOP)
    power: NDArray[np.float64] = np.square(whole, dtype=np.float64).mean(axis=1)
    return power


def _ends(samples: NDArray[np.float32]) -> tuple[int, int]:
    """First and last sample to keep: engines add silences of their own, of up to half a second."""
    power = _power(samples)
    loud = np.flatnonzero(power > power.max(initial=0.0) * 10 ** (_QUIET_DB / 10))
    if not len(loud):
        return 0, len(samples)
    return max(int(loud[0]) * _HOP - _BEFORE, 0), min(int(loud[-1] + 1) * _HOP + _AFTER, len(samples))


def _faded(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Without a click where it was cut."""
    size = min(_HOP // 2, len(samples) // 2)
    if size:
        ramp = np.linspace(0, 1, size, dtype=np.float32)
        samples[:size] *= ramp
        samples[-size:] *= ramp[::-1]
    return samples


# In the order in which a default is sought: the small ones, which always work, first.
ENGINES = ("flite", "espeak", "piper", "kokoro")
SLOWEST, FASTEST = 0.5, 2.5


def engine(name: str) -> Engine:
    """An engine by its name; it is imported now, and loads its voices when first used.

    Raises:
        SpeechError: for another name.
    """
    if name not in ENGINES:
        raise SpeechError(f"engine: expected one of {', '.join(ENGINES)}, found {name[:40]!r}")
    found: Engine = importlib.import_module(f"splatface.models.tts.{name}_engine")
    return found


def voices() -> tuple[Voice, ...]:
    """All voices that are installed, in the order of ENGINES."""
    return tuple(voice for name in ENGINES for voice in engine(name).voices())


def default_voice() -> Voice:
    """The first installed voice that speaks English.

    Raises:
        SpeechError: when there is none.
    """
    for name in ENGINES:
        for voice in engine(name).voices():
            if voice.language == "en-us":
                return voice
    raise SpeechError(f"voice: expected an installed one, found none: {engine(ENGINES[0]).INSTALL}")


def check_voice(name: str) -> str:
    """The name, or the default's if it is empty, when that voice can speak.

    Besides the listed names, espeak/LANGUAGE+VARIANT and kokoro/VOICE+VOICE@LANGUAGE are voices.

    Raises:
        SpeechError: for an unknown voice or one whose engine is not installed, naming the remedy.
    """
    if not name:
        return default_voice().name
    engine_name, _, voice = name.partition("/")
    if engine_name not in ENGINES or not voice:
        raise SpeechError(
            f"voice: expected engine/voice with an engine of {', '.join(ENGINES)}, found {name[:60]!r}: "
            "splatface voices lists them"
        )
    found = engine(engine_name)
    known = [listed.name for listed in found.voices()]
    if not known:
        raise SpeechError(
            f"voice {name[:60]}: expected {engine_name} to be installed, found none: {found.INSTALL}"
        )
    if not found.has_voice(voice):
        raise SpeechError(
            f"voice: expected one of {engine_name} such as {', '.join(known[:6])}, found {name[:60]!r}: "
            "splatface voices lists them"
        )
    return name


def speak(text: str, voice: str = "", rate: float = 1.0) -> Iterator[SpeechAudio]:
    """Speak a text of any length; what is asked is checked before this returns.

    Args:
        text: with punctuation, which makes the pauses; numbers and short forms are read by the engine.
        voice: see `check_voice`; empty for the default.
        rate: 0.5..2.5, 1 (or 0) is the voice's own pace.

    Raises:
        SpeechError: for a text without a letter or digit, a binary one, an unknown voice, a voice whose
            engine is not installed, a rate out of range; later, when an engine fails.
    """
    check_text(text)
    name = check_voice(voice)
    pace = rate or 1.0
    if not (math.isfinite(pace) and SLOWEST <= pace <= FASTEST):
        raise SpeechError(f"rate: expected {SLOWEST} to {FASTEST}, 1 is the voice's own pace, found {rate:g}")
    return _spoken(text, name, pace)


def _spoken(text: str, name: str, pace: float) -> Iterator[SpeechAudio]:
    engine_name, _, voice = name.partition("/")
    found, loudness = engine(engine_name), LoudnessNormalizer()
    for sentence in sentences(text):
        said = found.say(sentence.text, voice, pace)
        yield postprocess(said, sentence, loudness, sentence.pause_ms / pace)
