# SPDX-License-Identifier: Apache-2.0
"""Voice matching: the installed voices ranked by speaker similarity to a recording.

The speaker encoder is a GE2E network (Wan et al. 2018, "Generalized end-to-end loss for speaker
verification") with the weights of Resemblyzer (weights/README.md), run by onnxruntime: three LSTM layers over
mel frames, 256 numbers for 1.6 s of speech.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from splatface.models.audio.mel_filterbank import power_spectrum, slaney_filters
from splatface.models.errors import SpeechError
from splatface.models.messages import SAMPLE_RATE
from splatface.models.onnx_session import Session, make_session
from splatface.models.tts.engine import Voice
from splatface.models.tts.speak import speak
from splatface.models.typing import AnyArray, Float32Array

__all__ = [
    "REPORT_KEY",
    "SENTENCES",
    "VoiceMatch",
    "embed_speaker",
    "embed_voice",
    "rank_voices",
    "voice_of_head",
    "voice_report",
]

REPORT_KEY = "voice"  # in a head's reports
# Spoken by every voice: short, with all kinds of phonemes.
SENTENCES = (
    "The boat was there when the sun rose, and the soft wind moved the yellow leaves of the tall trees. "
    "Please measure how much fresh coffee you would like to buy for five people this evening. "
    "Why should we choose that road when another one is much shorter?"
)
_WEIGHTS = Path(__file__).parent / "weights" / "speaker_encoder.safetensors"
# As in Resemblyzer's hparams.py.
_FFT, _HOP, _MELS = 400, 160, 40
_WINDOW_FRAMES = 160  # 1.6 s
_WINDOW_HOP = 77  # frames between windows
_HIDDEN = 256
# Input RMS. Resemblyzer only amplifies to it; then loudness would be a feature of the speaker.
_RMS = 10 ** (-30 / 20)
_BLOCK = SAMPLE_RATE * 30 // 1000
_PAUSE_BLOCKS = 7  # pauses of up to 0.2 s are kept
_SPEECH_POWER = 1e-4  # of the loudest block: 40 dB below


@dataclass(frozen=True, slots=True)
class VoiceMatch:
    """A voice and its similarity to the recording."""

    voice: Voice
    similarity: float  # 0..1; two recordings of one person have about 0.8 and more


def rank_voices(
    samples: Float32Array,
    voices: Iterable[Voice],
    embed: Callable[[Voice], Float32Array] | None = None,
) -> list[VoiceMatch]:
    """Return voices by their similarity to a recording, the most similar first.

    Args:
        samples: [T] at 16 kHz, best 5 s or more of one person.
        voices: those to compare.
        embed: returns the embedding of a voice, for instance from a cache; None synthesizes speech now.

    Raises:
        SpeechError: when there is too little speech or a voice fails.
    """
    person = embed_speaker(samples)
    matches = [VoiceMatch(voice, float((embed or embed_voice)(voice) @ person)) for voice in voices]
    return sorted(matches, key=lambda match: -match.similarity)


def embed_voice(voice: Voice) -> Float32Array:
    """Return the speaker embedding [256] of a voice."""
    return embed_speaker(np.concatenate([speech.samples for speech in speak(SENTENCES, voice.name)]))


def embed_speaker(samples: Float32Array) -> Float32Array:
    """Return the speaker embedding [256] of a recording, of length 1; the product of two is their similarity.

    Args:
        samples: [T] at 16 kHz, at least half a second of speech.

    Raises:
        SpeechError: when there is too little speech.
    """
    speech = _select_speech(np.asarray(samples, np.float32))
    if len(speech) < SAMPLE_RATE // 2:
        raise SpeechError(
            f"expected half a second of speech, found {len(speech) / SAMPLE_RATE:.2f} s: "
            "give a longer recording"
        )
    missing = _WINDOW_FRAMES * _HOP - len(speech)
    frames = _mel_power(np.pad(speech, (0, max(missing, 0))))
    starts = range(0, max(len(frames) - _WINDOW_FRAMES, 0) + 1, _WINDOW_HOP)
    windows = np.stack([frames[start : start + _WINDOW_FRAMES] for start in starts])
    mean = _embed_windows(windows).mean(axis=0)
    embedding: Float32Array = mean / np.linalg.norm(mean)
    return embedding


def _select_speech(samples: Float32Array) -> Float32Array:
    """Return the parts that are loud enough to be speech, at the level the network was trained with."""
    blocks = samples[: len(samples) // _BLOCK * _BLOCK].reshape(-1, _BLOCK)
    power = np.square(blocks, dtype=np.float64).mean(axis=1)
    if len(blocks) < _PAUSE_BLOCKS or not power.any():
        return samples[:0]
    loud = power > power.max() * _SPEECH_POWER
    near_loud = np.convolve(loud, np.ones(_PAUSE_BLOCKS), "same") > 0
    speech = blocks[near_loud].ravel()
    rms = float(np.sqrt(np.square(speech, dtype=np.float64).mean())) if len(speech) else 1.0
    return speech * np.float32(_RMS / rms)


def _mel_power(samples: Float32Array) -> Float32Array:
    """Return mel power frames [n, 40], not in decibels: librosa's melspectrogram with its defaults."""
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(samples, _FFT // 2), _FFT)[::_HOP]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_FFT) / _FFT)
    mel: Float32Array = (power_spectrum(frames * hann, _FFT) @ slaney_filters(_MELS, _FFT).T).astype(
        np.float32
    )
    return mel


def _embed_windows(windows: Float32Array) -> Float32Array:
    """Return embeddings [n, 256] of windows [n, 160, 40]."""
    time_first = np.ascontiguousarray(np.swapaxes(windows, 0, 1), np.float32)
    (raw,) = _speaker_encoder().run(None, {"frames": time_first})
    embeddings: Float32Array = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    return embeddings


@cache
def _speaker_encoder() -> Session:
    """Return the network in onnxruntime: numpy on several threads is slow for 160 small steps."""
    from onnx import TensorProto, helper, numpy_helper

    weights = {name: w.astype(np.float32) for name, w in safetensors.numpy.load_file(_WEIGHTS).items()}
    constants: dict[str, AnyArray] = {"one": np.array([1]), "zero": np.array([0])}
    nodes: list[Any] = []
    layer = "frames"
    for i in range(3):
        names = [f"{kind}{i}" for kind in ("w", "r", "b")]
        biases = [weights[f"lstm.bias_{kind}_l{i}"] for kind in ("ih", "hh")]
        constants[names[0]] = _onnx_gate_order(weights[f"lstm.weight_ih_l{i}"])[None]
        constants[names[1]] = _onnx_gate_order(weights[f"lstm.weight_hh_l{i}"])[None]
        constants[names[2]] = np.concatenate([_onnx_gate_order(bias) for bias in biases])[None]
        outputs = [f"all{i}", f"last{i}"]
        nodes.append(helper.make_node("LSTM", [layer, *names], outputs, hidden_size=_HIDDEN))
        layer = f"out{i}"
        nodes.append(helper.make_node("Squeeze", [f"all{i}", "one"], [layer]))
    constants["w"], constants["bias"] = weights["linear.weight"], weights["linear.bias"]
    nodes.append(helper.make_node("Squeeze", ["last2", "zero"], ["hidden"]))
    nodes.append(helper.make_node("Gemm", ["hidden", "w", "bias"], ["linear"], transB=1))
    nodes.append(helper.make_node("Relu", ["linear"], ["raw"]))
    graph = helper.make_graph(
        nodes,
        "ge2e",
        [helper.make_tensor_value_info("frames", TensorProto.FLOAT, [_WINDOW_FRAMES, None, _MELS])],
        [helper.make_tensor_value_info("raw", TensorProto.FLOAT, [None, _HIDDEN])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    return make_session(model.SerializeToString())


def _onnx_gate_order(gates: Float32Array) -> Float32Array:
    """Reorder LSTM gates: torch stacks input, forget, cell, output; ONNX input, output, forget, cell."""
    entry, forget, cell, output = np.split(gates, 4)
    return np.concatenate([entry, output, forget, cell])


def voice_report(matches: list[VoiceMatch], clip: str) -> dict[str, object]:
    """Return plain data for a head's reports, key REPORT_KEY."""
    ranking = [{"name": m.voice.name, "similarity": round(m.similarity, 3)} for m in matches[:5]]
    return {**ranking[0], "clip": clip, "ranking": ranking}


def voice_of_head(reports: Mapping[str, object]) -> str:
    """Return the name of the voice that was matched to a head, empty when none was."""
    report = reports.get(REPORT_KEY)
    return str(report.get("name", "")) if isinstance(report, Mapping) else ""
