"""A net as an ONNX file, for machines that run no numpy: the same answers to 1e-5."""

from pathlib import Path
from typing import Any

import numpy as np

from splatface.models.audio2motion.audio_to_mouth import MOUTH_MODES, AudioToMouthNet
from splatface.models.audio2motion.convolution import Convolution
from splatface.models.errors import EncoderError
from splatface.models.typing import AnyArray

__all__ = ["onnx_of", "write_onnx"]

OPSET, IR_VERSION = 20, 9  # opset 20 is the first with Gelu
_ATTRIBUTES: dict[str, dict[str, Any]] = {
    "Gelu": {"approximate": "tanh"},
    "Transpose": {"perm": (0, 2, 1)},
    "Concat": {"axis": 2},
    "Cast": {"to": 1},  # TensorProto.FLOAT
}


Step = tuple[str, list[str], str]  # kind, inputs, output


def onnx_of(net: AudioToMouthNet) -> bytes:
    """An ONNX model: `window` [B, W, D] of features, oldest frame first, to `modes` [B, n], float32.

    Encoder, look-ahead in ms and the names of the modes stand in its metadata.

    Raises EncoderError when the package onnx is not installed.
    """
    try:
        from onnx import TensorProto, helper, numpy_helper
    except ImportError as error:
        raise EncoderError("onnx: expected the package onnx, found none: pip install onnx") from error
    arrays, steps = _halved(*_written(net))
    nodes = [
        helper.make_node(kind, inputs, [output], **_ATTRIBUTES.get(kind, {}))
        for kind, inputs, output in steps
    ]
    shape = ["batch", net.window, net.feature_dim]
    graph = helper.make_graph(
        nodes,
        f"hearing_{net.encoder}",
        [helper.make_tensor_value_info("window", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("modes", TensorProto.FLOAT, ["batch", net.outputs])],
        [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    about = {
        "encoder": net.encoder,
        "lookahead_ms": f"{net.lookahead_ms:g}",
        "modes": ",".join(MOUTH_MODES[: net.outputs]),
    }
    helper.set_model_props(model, about)
    written: bytes = model.SerializeToString()
    return written


def _halved(arrays: dict[str, AnyArray], steps: list[Step]) -> tuple[dict[str, AnyArray], list[Step]]:
    """The same in half precision where nothing is lost by it, as with a net that was shipped so."""
    stored: dict[str, AnyArray] = {}
    casts: list[Step] = []
    for name, value in arrays.items():
        with np.errstate(over="ignore"):
            half = value.astype(np.float16)
        if value.dtype == np.float32 and np.array_equal(half.astype(np.float32), value):
            stored[f"{name}_half"] = half
            casts.append(("Cast", [f"{name}_half"], name))
        else:
            stored[name] = value
    return stored, casts + steps


def _written(net: AudioToMouthNet) -> tuple[dict[str, AnyArray], list[Step]]:
    """The net's tensors and what is done with them."""
    arrays: dict[str, AnyArray] = {
        "mean": net.mean,
        "scale": (1 / net.std).astype(np.float32),
        "project": net.project,
        "flat": np.array([-1, len(net.w1)], np.int64),
        "w1": net.w1,
        "b1": net.b1,
        "w2": net.w2,
        "b2": net.b2,
    }
    steps: list[Step] = [
        ("Sub", ["window", "mean"], "centred"),
        ("Mul", ["centred", "scale"], "even"),
        ("MatMul", ["even", "project"], "frames0"),
    ]
    for number, conv in enumerate(net.convs):
        arrays, steps = arrays | _conv_arrays(conv, number), steps + _conv_steps(conv, number)
    steps += [
        ("Reshape", [f"frames{len(net.convs)}", "flat"], "row"),
        ("MatMul", ["row", "w1"], "first"),
        ("Add", ["first", "b1"], "hidden"),
        ("Gelu", ["hidden"], "bent"),
        ("MatMul", ["bent", "w2"], "second"),
        ("Add", ["second", "b2"], "modes"),
    ]
    return arrays, steps


def _conv_arrays(conv: Convolution, number: int) -> dict[str, AnyArray]:
    ends = {"none": 0, "taken": conv.weight.shape[1], "older": conv.kernel - 1, "all": np.iinfo(np.int64).max}
    axes = {"in_time": 1, "in_width": 2}
    arrays: dict[str, AnyArray] = {
        "weight": np.ascontiguousarray(conv.weight.transpose(2, 1, 0)),
        "bias": conv.bias,
        **{name: np.array([value], np.int64) for name, value in (ends | axes).items()},
    }
    return {f"{name}{number}": value for name, value in arrays.items()}


def _conv_steps(conv: Convolution, number: int) -> list[Step]:
    """`frames<number>` [B, F, P] to `frames<number + 1>` [B, F - k + 1, P - A + B]."""

    def step(kind: str, inputs: str, output: str) -> Step:
        return kind, [f"{name}{number}" for name in inputs.split()], f"{output}{number}"

    steps = [
        step("Slice", "frames none taken in_width", "own"),
        step("Transpose", "own", "turned"),
        step("Conv", "turned weight bias", "meant"),
        step("Transpose", "meant", "back"),
        step("Gelu", "back", "felt"),
        step("Slice", "frames older all in_time", "newest"),
        step("Slice", "newest taken all in_width", "rest"),
    ]
    if not conv.added_channels:
        steps += [step("Slice", "newest none taken in_width", "short"), step("Add", "felt short", "felt_too")]
    felt = f"felt{number}" if conv.added_channels else f"felt_too{number}"
    return [*steps, ("Concat", [felt, f"rest{number}"], f"frames{number + 1}")]


def write_onnx(net: AudioToMouthNet, path: Path) -> int:
    """Write it; returns the size in bytes."""
    return path.write_bytes(onnx_of(net))
