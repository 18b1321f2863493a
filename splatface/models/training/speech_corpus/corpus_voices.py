# SPDX-License-Identifier: Apache-2.0
"""Voices of the training corpus, with exact phone times: espeak-ng, flite, Kokoro-82M and Piper's joe."""

import unicodedata
from dataclasses import replace

import numpy as np
import soxr

from splatface.models.messages import SAMPLE_RATE
from splatface.models.training.speech_corpus.phonemes import LabeledSpeech, Phone, is_vowel
from splatface.models.tts import espeak_engine, flite_engine, kokoro_engine, piper_engine
from splatface.models.tts.text_frontend import PAUSES, romaji_to_ipa, text_to_ipa
from splatface.models.typing import Float32Array, Float64Array

__all__ = [
    "FLITE_VOICES",
    "KOKORO_VOICES",
    "KokoroVoice",
    "PiperJoeVoice",
    "make_labeled_speech",
    "synthesize_espeak",
    "synthesize_flite",
    "trim_pauses",
]

_HOP = SAMPLE_RATE // 100


def trim_pauses(speech: LabeledSpeech, *, below_db: float = -40.0, longer_s: float = 0.15) -> LabeledSpeech:
    """Remove from the phones every interval that is `below_db` under the loudest for `longer_s`.

    Synthesizers stretch the last sound before a pause over the pause; no closure lasts that long.
    """
    quiet = _quiet_intervals_s(speech.samples, below_db, longer_s)
    phones = []
    for phone in speech.phones:
        start, end = phone.start_s, phone.end_s
        for quiet_start, quiet_end in quiet:
            if start < quiet_end and quiet_start < end:
                before, after = quiet_start - start, end - quiet_end
                start, end = (start, quiet_start) if before >= after else (quiet_end, end)
        if end - start > 0.005:
            phones.append(Phone(phone.ipa, start, end, phone.stress))
    return replace(speech, phones=tuple(phones))


def _quiet_intervals_s(samples: Float32Array, below_db: float, longer_s: float) -> list[tuple[float, float]]:
    """Return starts and ends of quiet intervals."""
    power = np.square(samples[: len(samples) // _HOP * _HOP].reshape(-1, _HOP)).mean(axis=1)
    quiet = 10 * np.log10(power + 1e-12) < 10 * np.log10(power.max(initial=1e-9)) + below_db
    edges = np.flatnonzero(np.diff(np.concatenate([[False], quiet, [False]]).astype(np.int8)))
    intervals_s = edges.reshape(-1, 2) * (_HOP / SAMPLE_RATE)
    return [(float(a), float(b)) for a, b in intervals_s if b - a >= longer_s]


def make_labeled_speech(
    samples: Float32Array, sample_rate: int, phones: list[Phone], voice: str, language: str
) -> LabeledSpeech:
    """Resample to 16 kHz and scale the peak to 0.5."""
    mono = np.asarray(soxr.resample(samples, sample_rate, SAMPLE_RATE), np.float32)
    peak = max(float(np.abs(mono).max(initial=0.0)), 1e-6)
    return LabeledSpeech(mono * np.float32(0.5 / peak), tuple(phones), voice, language)


_IPA_MARKS = "ˈˌːʰʲ"
_LANGUAGE_SWITCHES = ("en", "base")  # names of languages between phonemes


def synthesize_espeak(
    text: str, language: str, *, variant: str = "", words_per_minute: int = 165, pitch: int = 50
) -> LabeledSpeech:
    """Synthesize with the voice of a language and a variant ("+f2", "+m3", ...); pitch 0..99."""
    voice = language + variant
    head, samples = espeak_engine.synthesize(text, voice, words_per_minute=words_per_minute, pitch=pitch)
    starts = [(start, name) for name, start in head["phonemes"]]
    phones = _espeak_phones(starts, len(samples) / head["rate"])
    return make_labeled_speech(samples, head["rate"], phones, f"espeak/{voice}", language)


def _espeak_phones(starts: list[tuple[float, str]], end_s: float) -> list[Phone]:
    """Make phones from the starts (s) and names of espeak's phonemes."""
    phones: list[Phone] = []
    ends = [start for start, _ in starts[1:]] + [end_s]
    for (start, name), end in zip(starts, ends, strict=True):
        letters = [x for x in name if x.isalpha() and x not in _IPA_MARKS and not unicodedata.combining(x)]
        ipa = "".join(letters)
        stress = 1.15 if "ˈ" in name else 1.0 if "ˌ" in name else 0.85
        if end <= start or ipa in _LANGUAGE_SWITCHES:
            continue
        if not ipa and end - start < 0.08 and phones:  # a word boundary, not a pause
            last = phones[-1]
            phones[-1] = Phone(last.ipa, last.start_s, end, last.stress)
        elif len(letters) == 2 and is_vowel(letters[0]) and is_vowel(letters[1]):
            middle = start + 0.6 * (end - start)
            phones += [Phone(letters[0], start, middle, stress), Phone(letters[1], middle, end, stress)]
        elif is_vowel(ipa[:1]):
            phones.append(Phone(ipa, start, end, stress))
        else:
            # The lips show the second letter of an affricate (tʃ, dʒ, ts).
            phones.append(Phone(ipa[-1:], start, end, stress))
    return _extend_stops(phones)


def _extend_stops(phones: list[Phone]) -> list[Phone]:
    """Extend stops to their closure, which espeak counts as part of the sound before."""
    out: list[Phone] = []
    for phone in phones:
        if phone.ipa and phone.ipa in "pbtdkɡcɟ" and phone.end_s - phone.start_s < 0.06 and out:
            last = out[-1]
            start = phone.start_s - min(0.06, 0.45 * (last.end_s - last.start_s))
            out[-1] = Phone(last.ipa, last.start_s, start, last.stress)
            out.append(Phone(phone.ipa, start, phone.end_s, phone.stress))
        else:
            out.append(phone)
    return out


FLITE_VOICES = ("awb", "rms", "slt", "kal16")


def synthesize_flite(text: str, voice: str, *, stretch: float = 1.0) -> LabeledSpeech:
    """Synthesize English; `stretch` above 1 is slower."""
    head, samples = flite_engine.synthesize(text, voice, stretch)
    return make_labeled_speech(samples, head["rate"], _flite_phones(head["segments"]), f"flite/{voice}", "en")


def _flite_phones(segments: list[tuple[str, float, float]]) -> list[Phone]:
    """Make phones from (name, start s, end s)."""
    phones = [Phone("", 0.0, flite_engine.EARLY_S)]
    for name, start_s, end_s in segments:
        start, end = start_s + flite_engine.EARLY_S, end_s + flite_engine.EARLY_S
        ipa = flite_engine.IPA.get(name, "")
        if len(ipa) == 2:
            middle = start + 0.6 * (end - start)
            phones += [Phone(ipa[0], start, middle), Phone(ipa[1], middle, end)]
        else:
            phones.append(Phone(ipa, start, end, 0.9 if name == "ax" or not is_vowel(ipa) else 1.0))
    return phones


KOKORO_VOICES = tuple(kokoro_engine.VOICES)


def phones_from_durations(letters: list[str], seconds: Float64Array, *, late_s: float = 0.0) -> list[Phone]:
    """Make phones from letters and their durations.

    Length marks prolong their neighbor, stress marks are applied to the next vowel.

    Args:
        letters: IPA letters and marks, "$" at the beginning and end.
        seconds: [n] their durations.
        late_s: delay of the durations relative to the audio.
    """
    phones: list[Phone] = []
    start, stress = -late_s, 0.85  # vowels without a mark are a little reduced
    for letter, length in zip(letters, seconds, strict=True):
        end = start + float(length)
        if letter in "ˈˌ":
            stress = 1.15 if letter == "ˈ" else 1.0
        ipa = kokoro_engine.SYMBOL_IPA.get(letter, letter)
        if (letter in "ˈˌːʰʲ^ " or unicodedata.combining(letter)) and phones:
            # The duration of a mark or word boundary belongs to the letter before it.
            last = phones[-1]
            phones[-1] = Phone(last.ipa, last.start_s, end, last.stress)
        elif len(ipa) == 2:
            # The glide of a diphthong takes its last 40 %.
            middle = start + 0.6 * float(length)
            phones += [Phone(ipa[0], start, middle, stress), Phone(ipa[1], middle, end, stress)]
            stress = 0.85
        else:
            phones.append(Phone("" if letter in PAUSES + " $" else ipa, start, end, stress))
            stress = 0.85 if is_vowel(ipa) else stress
        start = end
    return [Phone(p.ipa, max(p.start_s, 0.0), p.end_s, p.stress) for p in phones if p.end_s > 0]


class KokoroVoice:
    """Kokoro-82M: natural voices at 24 kHz, durations in steps of 25 ms."""

    def __init__(self) -> None:
        self._kokoro = kokoro_engine.Kokoro()

    def synthesize(
        self, text: str, language: str, blend: dict[str, float], *, speed: float = 1.0
    ) -> LabeledSpeech:
        """Synthesize with a blend of voices (name to weight): a blend sounds like another speaker."""
        letters = [letter for letter in self.ipa(text, language) if letter in self._kokoro.vocabulary]
        wave, seconds = self._kokoro.synthesize(letters, blend, speed)
        phones = phones_from_durations(["$", *letters, "$"], np.array(seconds), late_s=kokoro_engine.LATE_S)
        return make_labeled_speech(wave, kokoro_engine.RATE, phones, "kokoro/" + "+".join(blend), language)

    def ipa(self, text: str, language: str) -> str:
        """Return the IPA letters that Kokoro was trained on."""
        if language == "ja-romaji":
            return romaji_to_ipa(text)
        return kokoro_engine.to_kokoro_symbols(
            text_to_ipa(text, kokoro_engine.ESPEAK[language], tie=True), language
        )


class PiperJoeVoice:
    """Piper's voice en_US-joe-medium: 22.05 kHz, durations in steps of 11.6 ms."""

    def __init__(self) -> None:
        self._joe = piper_engine.load_voice("en_US-joe-medium")

    def synthesize(self, text: str, *, speed: float = 1.0) -> LabeledSpeech:
        """Synthesize English."""
        ipa = unicodedata.normalize("NFD", text_to_ipa(text, self._joe.espeak))
        letters = ["^", *(letter for letter in ipa if letter in self._joe.symbol_ids), "$"]
        wave, seconds = self._joe.synthesize(letters, speed)
        marked = ["$" if x in "^$" else x for x in letters]
        phones = phones_from_durations(marked, np.array(seconds), late_s=piper_engine.LATE_S)
        return make_labeled_speech(wave, self._joe.rate, phones, "piper/joe", "en")
