# SPDX-License-Identifier: Apache-2.0
"""Phones, their visemes (lip targets), and speech with known phone times.

The viseme targets are set by hand from phonetics (lip aperture, spread, rounding, teeth); how they blend in
time is in `coarticulation`.
"""

from dataclasses import dataclass
from typing import Final

from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES
from splatface.models.typing import Float32Array

__all__ = ["REST", "VISEMES", "LabeledSpeech", "Phone", "Viseme", "is_vowel", "viseme_name"]


@dataclass(frozen=True, slots=True)
class Phone:
    """One speech sound and its time."""

    ipa: str  # may carry length and other marks; "" or punctuation is a pause
    start_s: float
    end_s: float
    stress: float = 1.0  # 1 plain, more where the syllable is stressed


@dataclass(frozen=True, slots=True)
class Viseme:
    """Lip targets of a group of sounds, and their dominance over the neighbors."""

    targets: tuple[float, ...]  # [len(MOUTH_MODES)]
    jaw_dominance: float  # over open, upper_lip and lower_lip, 0..~2
    lip_dominance: float  # over wide, round and funnel: small lets the neighbors' rounding through
    closure: float = 0.0  # 1: the lips meet, whatever the neighbors' targets are
    vowel: bool = False


def _viseme(jaw: float, lips: float, *, closure: float = 0.0, vowel: bool = False, **modes: float) -> Viseme:
    targets = tuple(modes.get(mode, 0.0) for mode in MOUTH_MODES)
    return Viseme(targets, jaw, lips, closure, vowel)


REST: Final = "rest"
VISEMES: Final[dict[str, Viseme]] = {
    REST: _viseme(0.7, 0.5),
    "p": _viseme(0.5, 0.25, closure=1.0, open=0.03, press=0.6),
    "f": _viseme(1.2, 0.4, closure=0.75, open=0.08, press=0.35, upper_lip=0.45),
    "th": _viseme(0.8, 0.4, open=0.20, upper_lip=0.18, lower_lip=0.25),
    "t": _viseme(0.55, 0.2, open=0.20, upper_lip=0.12, lower_lip=0.22),
    "s": _viseme(1.0, 0.4, open=0.10, wide=0.30, upper_lip=0.20, lower_lip=0.38),
    "sh": _viseme(1.0, 1.0, open=0.14, round=0.35, upper_lip=0.22, lower_lip=0.22, funnel=0.75),
    "k": _viseme(0.45, 0.15, open=0.28, upper_lip=0.08, lower_lip=0.15),
    "r": _viseme(0.6, 0.7, open=0.20, round=0.35, funnel=0.35),
    "l": _viseme(0.6, 0.25, open=0.28, upper_lip=0.12, lower_lip=0.22),
    "w": _viseme(1.1, 1.6, open=0.10, round=0.95, funnel=0.35),
    "j": _viseme(0.7, 0.8, open=0.16, wide=0.55, upper_lip=0.12, lower_lip=0.25),
    "aa": _viseme(1.1, 0.8, vowel=True, open=0.90, wide=0.10, upper_lip=0.15, lower_lip=0.25),
    "ah": _viseme(0.9, 0.6, vowel=True, open=0.62, upper_lip=0.12, lower_lip=0.20),
    "ax": _viseme(0.6, 0.3, vowel=True, open=0.40, upper_lip=0.08, lower_lip=0.15),
    "eh": _viseme(1.0, 0.9, vowel=True, open=0.58, wide=0.45, upper_lip=0.18, lower_lip=0.28),
    "ih": _viseme(0.9, 0.8, vowel=True, open=0.34, wide=0.45, upper_lip=0.15, lower_lip=0.26),
    "iy": _viseme(1.0, 1.1, vowel=True, open=0.24, wide=0.80, upper_lip=0.20, lower_lip=0.35),
    "oh": _viseme(1.0, 1.2, vowel=True, open=0.55, round=0.65, funnel=0.30),
    "ao": _viseme(1.0, 1.0, vowel=True, open=0.72, round=0.40, funnel=0.22),
    "uw": _viseme(1.0, 1.5, vowel=True, open=0.20, round=1.0, funnel=0.45),
    "y": _viseme(1.0, 1.4, vowel=True, open=0.22, round=0.80, funnel=0.55, lower_lip=0.10),
}

_LETTERS: Final = {
    "p": "pbmɓɸβɱ",
    "f": "fvʋⱱ",
    "th": "θð",
    "t": "tdnʈɖɳɗ",
    "s": "szʦʣ",
    "sh": "ʃʒɕʑʂʐʧʤʨʥɧꭧ",
    "k": "kɡgŋxɣqɢχhħɦʔcɟɲɴçʝʕɰ",
    "r": "ɹɻʁʀ",
    "l": "lrɾɽɫʎɭɬɮʟ",
    "w": "wʍ",
    "j": "j",
    "aa": "aɑæɶ",
    "ah": "ʌɐɒ",
    "ax": "əɚɘᵊᵻ",
    "eh": "eɛɜɞɝ",
    "ih": "ɪɨɯɤ",
    "iy": "i",
    "oh": "oɵ",
    "ao": "ɔ",
    "uw": "uʊʉɥ",
    "y": "yøœʏ",
}
_VISEME_BY_LETTER: Final = {letter: name for name, letters in _LETTERS.items() for letter in letters}


def viseme_name(ipa: str) -> str:
    """Return the viseme of a sound, that of its first letter that has one; REST for a pause."""
    return next((_VISEME_BY_LETTER[letter] for letter in ipa if letter in _VISEME_BY_LETTER), REST)


def is_vowel(ipa: str) -> bool:
    """Return whether the sound is the nucleus of a syllable."""
    return VISEMES[viseme_name(ipa)].vowel


@dataclass(frozen=True, slots=True, eq=False)
class LabeledSpeech:
    """A sentence with the times of its phones."""

    samples: Float32Array  # [T], -1..1, 16 kHz
    phones: tuple[Phone, ...]  # in order, without overlap
    voice: str  # "kokoro/jf_alpha", "espeak/de", ...
    language: str  # "en", ...

    @property
    def source(self) -> str:
        """Engine or recording that the voice is from: "kokoro", "espeak", ..."""
        return self.voice.split("/")[0]
