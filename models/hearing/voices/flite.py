"""The voices of flite (CMU, free): built from recordings of real speakers, fast."""

import re
import subprocess
import tempfile
from pathlib import Path

import soundfile

from splatface.models.hearing.phonemes import Phone, is_vowel
from splatface.models.hearing.voices.spoken import Spoken, spoken

__all__ = ["FLITE_VOICES", "flite_say"]

FLITE_VOICES = ("awb", "rms", "slt", "kal16")
_EARLY_S = 0.008  # the times run ahead of the sound: measured as in `neural`
# fmt: off
_IPA = {
    "aa": "ɑ", "ae": "æ", "ah": "ʌ", "ao": "ɔ", "aw": "aʊ", "ax": "ə", "axr": "ɚ", "ay": "aɪ", "b": "b",
    "ch": "ʧ", "d": "d", "dh": "ð", "dx": "ɾ", "eh": "ɛ", "el": "l", "em": "m", "en": "n", "er": "ɝ",
    "ey": "eɪ", "f": "f", "g": "ɡ", "hh": "h", "hv": "h", "ih": "ɪ", "iy": "i", "jh": "ʤ", "k": "k",
    "l": "l", "m": "m", "n": "n", "nx": "n", "ng": "ŋ", "ow": "oʊ", "oy": "ɔɪ", "p": "p", "r": "ɹ",
    "s": "s", "sh": "ʃ", "t": "t", "th": "θ", "uh": "ʊ", "uw": "u", "v": "v", "w": "w", "y": "j", "z": "z",
    "zh": "ʒ", "pau": "", "ssil": "",
}
# fmt: on


def flite_say(text: str, voice: str, *, stretch: float = 1.0) -> Spoken:
    """Speak English; `stretch` above 1 is slower."""
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "said.wav"
        command = ["flite", "-voice", voice, "--setf", f"duration_stretch={stretch}"]
        command += ["-psdur", "-t", text, "-o", str(wav)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        samples, rate = soundfile.read(wav, dtype="float32")
    return spoken(samples, rate, _phones(said), f"flite/{voice}", "en")


def _phones(said: str) -> list[Phone]:
    """Phones of "name:end_s name:end_s ..."; flite starts counting anew where a text is cut in two."""
    phones: list[Phone] = []
    start = offset = _EARLY_S
    for name, digits in re.findall(r"([a-z]+):([0-9.]+)", said):
        if offset + float(digits) < start:
            offset = start
        end = offset + float(digits)
        ipa = _IPA.get(name, "")
        if len(ipa) == 2:
            middle = start + 0.6 * (end - start)
            phones += [Phone(ipa[0], start, middle), Phone(ipa[1], middle, end)]
        else:
            phones.append(Phone(ipa, start, end, 0.9 if name == "ax" or not is_vowel(ipa) else 1.0))
        start = end
    return [Phone("", 0.0, _EARLY_S), *phones]
