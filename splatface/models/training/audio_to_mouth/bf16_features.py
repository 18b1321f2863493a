"""Whisper for training data: many windows at once, in bfloat16, by torch.

Twice as fast as the streaming encoder where the processor has avx512_bf16, and the same network: torch walks
through the ONNX graph that the streaming encoder runs. Half precision is heard as noise, 35 dB below.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as f

from splatface.models.audio.encoder import StreamAnnotator, StreamEncoder
from splatface.models.audio.offline_features import extract_features, features
from splatface.models.audio.whisper_encoder import (
    TOKEN,
    WIDTH,
    WINDOW,
    Whisper,
    read_whisper_weights,
    whisper_network,
)

__all__ = ["extract_features_bf16", "torch_from_onnx"]

_BATCH = 64  # windows
_STEPS: dict[str, Callable[..., Tensor]] = {
    "Conv": lambda x, w, b, strides, **_: f.conv1d(x, w, b, stride=strides, padding=1),
    "Gelu": lambda x: f.gelu(x),
    "Transpose": lambda x, perm: x.permute(perm),
    "Add": lambda x, y: x + y,
    "MatMul": lambda x, y: x @ y,
    "LayerNormalization": lambda x, w, b, epsilon, **_: f.layer_norm(x, w.shape, w, b, epsilon),
    "Reshape": lambda x, to: x.reshape([size or there for size, there in _sizes(x, to)]),
    "Softmax": lambda x, axis: x.softmax(axis),
    "Slice": lambda x, first, last, axis: x.narrow(int(axis), int(first), int(last - first)),
    "Identity": lambda x: x,
}


def extract_features_bf16(
    name: str, samples: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """As `features`; encoders other than whisper are quick enough as they are."""
    if name != "whisper":
        return features(name, samples)
    ear, windows = _ear()
    values, centers_s = extract_features(ear, samples)
    mel = torch.from_numpy(np.concatenate(windows.asked))
    network = _network()
    with torch.no_grad():
        tokens = [network(mel[i : i + _BATCH].bfloat16())[:, 0].float() for i in range(0, len(mel), _BATCH)]
    # Not every window becomes a frame: the first ones end before the first center.
    values[:, :WIDTH] = torch.cat(tokens)[len(mel) - len(values) :].numpy()
    return values, centers_s


def torch_from_onnx(model: bytes, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    """An ONNX graph of one input and one output as a function, its constants in `dtype`."""
    import onnx

    graph = onnx.load_from_string(model).graph
    constants = {
        constant.name: torch.from_numpy(onnx.numpy_helper.to_array(constant).copy())
        for constant in graph.initializer
    }
    known = {name: x.to(dtype) if x.is_floating_point() else x for name, x in constants.items()}
    nodes = [(node.op_type, list(node.input), node.output[0], _attributes(onnx, node)) for node in graph.node]

    def run(x: Tensor) -> Tensor:
        values = known | {graph.input[0].name: x}
        for kind, inputs, output, attributes in nodes:
            values[output] = _STEPS[kind](*(values[i] for i in inputs), **attributes)
        return values[graph.output[0].name]

    return run


class _Windows(Whisper):
    """Collects what the network would be asked."""

    def __init__(self) -> None:
        super().__init__(session=self)

    def reset(self) -> None:
        super().reset()
        self.asked: list[NDArray[np.float32]] = []

    def run(self, names: None, feed: dict[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        self.asked.append(feed["mel"])
        return [np.zeros((1, 1, WIDTH), np.float32)]


@cache
def _ear() -> tuple[StreamEncoder, _Windows]:
    windows = _Windows()
    return StreamEncoder(windows, StreamAnnotator()), windows


@cache
def _network() -> Callable[[Tensor], Tensor]:
    return torch_from_onnx(
        whisper_network(read_whisper_weights(), WINDOW, (TOKEN, TOKEN + 1)), torch.bfloat16
    )


def _attributes(onnx: Any, node: Any) -> dict[str, Any]:
    return {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}


def _sizes(x: Tensor, to: Tensor) -> list[tuple[int, int]]:
    """Sizes asked for (0: as it is), each with the one that is there."""
    there = [*x.shape, *[0] * len(to)]
    return list(zip(to.tolist(), there, strict=False))
