"""The start of Whisper's encoder as an ONNX network: two convolutions and three blocks.

Architecture: Radford et al. 2022, arXiv 2212.04356. The last block is worked out only for the tokens that
are asked for: its keys and values need every token, its queries and its feed-forward half do not.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import EncoderError

__all__ = ["BLOCKS", "HEADS", "WIDTH", "whisper_network"]

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
