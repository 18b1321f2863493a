"""From an engine's sound to what is played: 16 kHz, one loudness, our own pauses."""

import re

import numpy as np
import soxr
from numpy.typing import NDArray

from splatface.models.messages import NS_PER_S, SAMPLE_RATE
from splatface.models.tts.sentences import Sentence
from splatface.models.tts.spoken import Phoneme, RawSpeech, SpeechAudio, Word, WordTiming

__all__ = ["LoudnessNormalizer", "postprocess"]

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
