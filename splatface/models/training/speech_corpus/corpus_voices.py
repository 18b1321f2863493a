"""Voices of the training corpus: espeak-ng, flite, Kokoro and Piper, with exact phone times."""

import unicodedata

import numpy as np
import soxr
from numpy.typing import NDArray

from splatface.models.messages import SAMPLE_RATE
from splatface.models.training.speech_corpus.phonemes import LabeledSpeech, Phone, is_vowel
from splatface.models.tts import espeak_engine, flite_engine, kokoro_engine, piper_engine
from splatface.models.tts.text_frontend import PAUSES, romaji_to_ipa, text_to_ipa

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


def trim_pauses(said: LabeledSpeech, *, below_db: float = -40.0, longer_s: float = 0.15) -> LabeledSpeech:
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
    return LabeledSpeech(said.samples, tuple(phones), said.voice, said.language)


def _quiet_stretches(
    samples: NDArray[np.float32], below_db: float, longer_s: float
) -> list[tuple[float, float]]:
    """Starts and ends of quiet stretches, s."""
    power = np.square(samples[: len(samples) // _HOP * _HOP].reshape(-1, _HOP)).mean(axis=1)
    quiet = 10 * np.log10(power + 1e-12) < 10 * np.log10(power.max(initial=1e-9)) + below_db
    edges = np.flatnonzero(np.diff(np.concatenate([[False], quiet, [False]]).astype(np.int8)))
    stretches = edges.reshape(-1, 2) * (_HOP / SAMPLE_RATE)
    return [(float(a), float(b)) for a, b in stretches if b - a >= longer_s]


def make_labeled_speech(
    samples: NDArray[np.float32], sample_rate: int, phones: list[Phone], voice: str, language: str
) -> LabeledSpeech:
    """A Spoken at 16 kHz with its loudest sample at 0.5."""
    mono = np.asarray(soxr.resample(samples, sample_rate, SAMPLE_RATE), np.float32)
    peak = max(float(np.abs(mono).max(initial=0.0)), 1e-6)
    return LabeledSpeech(mono * np.float32(0.5 / peak), tuple(phones), voice, language)


_MARKS = "ˈˌːʰʲ"
_SWITCHES = ("en", "base")  # names of languages between phonemes


def synthesize_espeak(
    text: str, language: str, *, variant: str = "", words_per_minute: int = 165, pitch: int = 50
) -> LabeledSpeech:
    """Speak with the voice of a language and a variant ("+f2", "+m3", ...); pitch 0..99."""
    voice = language + variant
    head, samples = espeak_engine.synthesize(text, voice, words_per_minute=words_per_minute, pitch=pitch)
    marks = [(start, name) for name, start in head["phonemes"]]
    phones = _espeak_phones(marks, len(samples) / head["rate"])
    return make_labeled_speech(samples, head["rate"], phones, f"espeak/{voice}", language)


def _espeak_phones(marks: list[tuple[float, str]], end_s: float) -> list[Phone]:
    """Phones of the starts and names of espeak's phonemes."""
    phones: list[Phone] = []
    stops = [start for start, _ in marks[1:]] + [end_s]
    for (start, name), end in zip(marks, stops, strict=True):
        letters = [x for x in name if x.isalpha() and x not in _MARKS and not unicodedata.combining(x)]
        ipa = "".join(letters)
        stress = 1.15 if "ˈ" in name else 1.0 if "ˌ" in name else 0.85
        if end <= start or ipa in _SWITCHES:
            continue
        if not ipa and end - start < 0.08 and phones:  # a seam, not a pause
            last = phones[-1]
            phones[-1] = Phone(last.ipa, last.start_s, end, last.stress)
        elif len(letters) == 2 and is_vowel(letters[0]) and is_vowel(letters[1]):
            middle = start + 0.6 * (end - start)
            phones += [Phone(letters[0], start, middle, stress), Phone(letters[1], middle, end, stress)]
        elif is_vowel(ipa[:1]):
            phones.append(Phone(ipa, start, end, stress))
        else:
            # Of an affricate (tʃ, dʒ, ts) the second letter is what the lips show.
            phones.append(Phone(ipa[-1:], start, end, stress))
    return _with_closures(phones)


def _with_closures(phones: list[Phone]) -> list[Phone]:
    """Espeak dates a stop from its burst and leaves the closure to the sound before: give it back."""
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
    """Speak English; `stretch` above 1 is slower."""
    head, samples = flite_engine.synthesize(text, voice, stretch)
    return make_labeled_speech(samples, head["rate"], _flite_phones(head["segments"]), f"flite/{voice}", "en")


def _flite_phones(segments: list[tuple[str, float, float]]) -> list[Phone]:
    """Phones of (name, start s, end s)."""
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


def phones_from_durations(
    letters: list[str], seconds: NDArray[np.float64], *, late_s: float = 0.0
) -> list[Phone]:
    """Phones of letters that last so long: marks prolong their neighbor, stress marks the next vowel.

    `late_s` is by how much the durations run behind the sound.
    """
    phones: list[Phone] = []
    start, stress = -late_s, 0.85  # vowels without a mark are a little reduced
    for letter, length in zip(letters, seconds, strict=True):
        end = start + float(length)
        if letter in "ˈˌ":
            stress = 1.15 if letter == "ˈ" else 1.0
        said = kokoro_engine.SYMBOL_IPA.get(letter, letter)
        if (letter in "ˈˌːʰʲ^ " or unicodedata.combining(letter)) and phones:
            # The sound of a mark or of the seam between words belongs to what stands before it.
            last = phones[-1]
            phones[-1] = Phone(last.ipa, last.start_s, end, last.stress)
        elif len(said) == 2:
            # The glide of a diphthong takes its last 40 %.
            middle = start + 0.6 * float(length)
            phones += [Phone(said[0], start, middle, stress), Phone(said[1], middle, end, stress)]
            stress = 0.85
        else:
            phones.append(Phone("" if letter in PAUSES + " $" else said, start, end, stress))
            stress = 0.85 if is_vowel(said) else stress
        start = end
    return [Phone(p.ipa, max(p.start_s, 0.0), p.end_s, p.stress) for p in phones if p.end_s > 0]


class KokoroVoice:
    """Kokoro-82M: natural voices at 24 kHz, durations in steps of 25 ms."""

    def __init__(self) -> None:
        self._kokoro = kokoro_engine.Kokoro()

    def say(self, text: str, language: str, blend: dict[str, float], *, speed: float = 1.0) -> LabeledSpeech:
        """Speak with a blend of voices (name to share): a mixture is a person of its own."""
        letters = [letter for letter in self.ipa(text, language) if letter in self._kokoro.vocabulary]
        wave, seconds = self._kokoro.synthesize(letters, blend, speed)
        phones = phones_from_durations(["$", *letters, "$"], np.array(seconds), late_s=kokoro_engine.LATE_S)
        return make_labeled_speech(wave, kokoro_engine.RATE, phones, "kokoro/" + "+".join(blend), language)

    def ipa(self, text: str, language: str) -> str:
        """The letters Kokoro was trained on."""
        if language == "ja-romaji":
            return romaji_to_ipa(text)
        return kokoro_engine.to_kokoro_symbols(
            text_to_ipa(text, kokoro_engine.ESPEAK[language], tie=True), language
        )


class PiperJoeVoice:
    """Piper's voice en_US-joe-medium: 22.05 kHz, durations in steps of 11.6 ms."""

    def __init__(self) -> None:
        self._joe = piper_engine.load_voice("en_US-joe-medium")

    def say(self, text: str, *, speed: float = 1.0) -> LabeledSpeech:
        """Speak English."""
        said = unicodedata.normalize("NFD", text_to_ipa(text, self._joe.espeak))
        letters = ["^", *(letter for letter in said if letter in self._joe.symbol_ids), "$"]
        wave, seconds = self._joe.synthesize(letters, speed)
        marked = ["$" if x in "^$" else x for x in letters]
        phones = phones_from_durations(marked, np.array(seconds), late_s=piper_engine.LATE_S)
        return make_labeled_speech(wave, self._joe.rate, phones, "piper/joe", "en")
