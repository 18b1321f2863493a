"""Voice matching: the installed voices ranked by speaker similarity to a recording."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import SpeechError
from splatface.models.messages import SAMPLE_RATE
from splatface.models.tts.engine import Voice
from splatface.models.tts.graph import package_folder, session
from splatface.models.tts.speak import speak
from splatface.models.tts.torch_file import read_tensors

__all__ = ["INSTALL", "REPORT", "Match", "best_voices", "embedding", "voice_of_head", "voice_report"]

INSTALL = "pip install --no-deps resemblyzer==0.1.4"
# as in Resemblyzer's hparams.py
_FFT, _HOP, _MELS = 400, 160, 40
_FRAMES = 160  # of one window: 1.6 s
_STEP = 77  # frames between windows
_LEVEL = 10 ** (-30 / 20)  # RMS of what it hears (Resemblyzer only raises: then loudness would be a trait)


def embedding(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """The speaker of a recording, [256], length 1; the product of two is their similarity, 0..1.

    Args:
        samples: [T] at 16 kHz, at least half a second of speech.

    Raises:
        SpeechError: when there is too little speech or Resemblyzer is not installed.
    """
    speech = _speech(np.asarray(samples, np.float32))
    if len(speech) < SAMPLE_RATE // 2:
        raise SpeechError(
            f"expected half a second of speech, found {len(speech) / SAMPLE_RATE:.2f} s: "
            "give a longer recording"
        )
    short = _FRAMES * _HOP - len(speech)
    frames = _mel(np.pad(speech, (0, max(short, 0))))
    starts = range(0, max(len(frames) - _FRAMES, 0) + 1, _STEP)
    windows = np.stack([frames[start : start + _FRAMES] for start in starts])
    each = _network(windows)
    mean = each.mean(axis=0)
    out: NDArray[np.float32] = mean / np.linalg.norm(mean)
    return out


def _speech(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """The stretches that are loud enough to be speech, at the level the network was trained with."""
    size = SAMPLE_RATE * 30 // 1000
    blocks = samples[: len(samples) // size * size].reshape(-1, size)
    power = np.square(blocks, dtype=np.float64).mean(axis=1)
    if len(blocks) < 7 or not power.any():
        return samples[:0]
    loud = power > power.max() * 1e-4  # 40 dB under the loudest
    near = np.convolve(loud, np.ones(7), "same") > 0  # pauses of up to 0.2 s stay
    kept = blocks[near].ravel()
    rms = float(np.sqrt(np.square(kept, dtype=np.float64).mean())) if len(kept) else 1.0
    return kept * np.float32(_LEVEL / rms)


def _mel(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mel power frames [n, 40], not in decibels: librosa's melspectrogram with its defaults."""
    padded = np.pad(samples, _FFT // 2)
    views = np.lib.stride_tricks.sliding_window_view(padded, _FFT)[::_HOP]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_FFT) / _FFT)
    power = np.abs(np.fft.rfft(views * window, axis=1)) ** 2
    out: NDArray[np.float32] = (power @ _filters().T).astype(np.float32)
    return out


@cache
def _filters() -> NDArray[np.float64]:
    """Slaney's mel filters of equal area, [40, 201] (Auditory Toolbox, 1998)."""
    step, edge = 200 / 3, 1000.0
    ratio = np.log(6.4) / 27

    def hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
        above = edge * np.exp(ratio * (mel - edge / step))
        return np.where(mel < edge / step, mel * step, above)

    top = edge / step + np.log(SAMPLE_RATE / 2 / edge) / ratio
    corners = hz(np.linspace(0, top, _MELS + 2))
    bins = np.linspace(0, SAMPLE_RATE / 2, _FFT // 2 + 1)
    slopes = (corners[:, None] - bins) / np.diff(corners, append=corners[-1] + 1)[:, None]
    rising = -slopes[:_MELS]
    falling = (corners[2:, None] - bins) / np.diff(corners)[1:, None]
    area = 2 / (corners[2:] - corners[:_MELS])
    out: NDArray[np.float64] = np.maximum(0, np.minimum(rising, falling)) * area[:, None]
    return out


def _network(windows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Embeddings [n, 256] of windows [n, 160, 40]."""
    time_first = np.ascontiguousarray(np.swapaxes(windows, 0, 1), np.float32)
    (raw,) = _session().run(None, {"frames": time_first})
    out: NDArray[np.float32] = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    return out


@cache
def _session() -> Any:
    """The network in onnxruntime, on one thread: numpy's would spin at every one of 160 small steps."""
    from onnx import TensorProto, helper, numpy_helper

    weights, size = _weights(), 256
    constants: dict[str, NDArray[Any]] = {"one": np.array([1]), "zero": np.array([0])}
    nodes, layer = [], "frames"
    for i in range(3):
        names = [f"{kind}{i}" for kind in ("w", "r", "b")]
        both = [weights[f"lstm.bias_{way}_l{i}"] for way in ("ih", "hh")]
        constants[names[0]] = _in_onnx_order(weights[f"lstm.weight_ih_l{i}"])[None]
        constants[names[1]] = _in_onnx_order(weights[f"lstm.weight_hh_l{i}"])[None]
        constants[names[2]] = np.concatenate([_in_onnx_order(bias) for bias in both])[None]
        outputs = [f"all{i}", f"last{i}"]
        nodes.append(helper.make_node("LSTM", [layer, *names], outputs, hidden_size=size))
        layer = f"out{i}"
        nodes.append(helper.make_node("Squeeze", [f"all{i}", "one"], [layer]))
    constants["w"], constants["bias"] = weights["linear.weight"], weights["linear.bias"]
    nodes.append(helper.make_node("Squeeze", ["last2", "zero"], ["hidden"]))
    nodes.append(helper.make_node("Gemm", ["hidden", "w", "bias"], ["linear"], transB=1))
    nodes.append(helper.make_node("Relu", ["linear"], ["raw"]))
    graph = helper.make_graph(
        nodes,
        "ge2e",
        [helper.make_tensor_value_info("frames", TensorProto.FLOAT, [_FRAMES, None, _MELS])],
        [helper.make_tensor_value_info("raw", TensorProto.FLOAT, [None, size])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    return session(model.SerializeToString())


def _in_onnx_order(gates: NDArray[np.float32]) -> NDArray[np.float32]:
    """torch stacks the gates as in, forget, cell, out; ONNX as in, out, forget, cell."""
    entry, forget, cell, leave = np.split(gates, 4)
    return np.concatenate([entry, leave, forget, cell])


@cache
def _weights() -> dict[str, NDArray[np.float32]]:
    folder = package_folder("resemblyzer")
    path = folder / "pretrained.pt" if folder else None
    if path is None or not path.is_file():
        raise SpeechError(f"expected the speaker encoder of Resemblyzer, found none: {INSTALL}")
    return read_tensors(path, "model_state")


REPORT = "voice"  # in a head's reports
# Read by every voice: short, with all kinds of sounds.
SENTENCES = (
    "The boat was there when the sun rose, and the soft wind moved the yellow leaves of the tall trees. "
    "Please measure how much fresh coffee you would like to buy for five people this evening. "
    "Why should we choose that road when another one is much shorter?"
)


@dataclass(frozen=True, slots=True)
class Match:
    """A voice and how much it sounds like the recording."""

    voice: Voice
    similarity: float  # 0..1; two recordings of one person have about 0.8 and more


def best_voices(
    samples: NDArray[np.float32],
    voices: Iterable[Voice],
    embedded: Callable[[Voice], NDArray[np.float32]] | None = None,
) -> list[Match]:
    """Voices in the order in which they sound like a recording, the nearest first.

    Args:
        samples: [T] at 16 kHz, best 5 s or more of one person.
        voices: those to compare.
        embedded: the embedding of a voice, for instance from a cache; None speaks with it now.

    Raises:
        SpeechError: when there is too little speech, a voice fails, or Resemblyzer is not installed.
    """
    person = embedding(samples)
    of = embedded or embedding_of_voice
    found = [Match(voice, float(of(voice) @ person)) for voice in voices]
    return sorted(found, key=lambda match: -match.similarity)


def embedding_of_voice(voice: Voice) -> NDArray[np.float32]:
    """The embedding of what a voice says, [256]."""
    return embedding(np.concatenate([spoken.samples for spoken in speak(SENTENCES, voice.name)]))


def voice_report(matches: list[Match], clip: str) -> dict[str, object]:
    """What a head keeps of it under `reports: voice`: plain data."""
    ranking = [{"name": m.voice.name, "similarity": round(m.similarity, 3)} for m in matches[:5]]
    return {**ranking[0], "clip": clip, "ranking": ranking}


def voice_of_head(reports: Mapping[str, object]) -> str:
    """The voice that was matched to a head, empty when none was."""
    found = reports.get(REPORT)
    return str(found.get("name", "")) if isinstance(found, Mapping) else ""
