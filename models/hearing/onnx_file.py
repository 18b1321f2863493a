"""A net as an ONNX file, for machines that run no numpy: the same answers to 1e-5."""

from pathlib import Path

import numpy as np

from splatface.models.errors import EncoderError
from splatface.models.head.coefficients import MOUTH_MODES, CoefficientNet

__all__ = ["onnx_of", "write_onnx"]

OPSET, IR_VERSION = 20, 9  # opset 20 is the first with Gelu


def onnx_of(net: CoefficientNet) -> bytes:
    """An ONNX model: `window` [B, W, D] of features, oldest frame first, to `modes` [B, n], float32.

    Encoder, look-ahead in ms and the names of the modes stand in its metadata.

    Raises EncoderError when the package onnx is not installed.
    """
    try:
        from onnx import TensorProto, helper, numpy_helper
    except ImportError as error:
        raise EncoderError("onnx: expected the package onnx, found none: pip install onnx") from error
    arrays = {
        "mean": net.mean,
        "scale": (1 / net.std).astype(np.float32),
        "project": net.project,
        "flat": np.array([-1, len(net.w1)], np.int64),
        "w1": net.w1,
        "b1": net.b1,
        "w2": net.w2,
        "b2": net.b2,
    }
    steps = [
        ("Sub", ["window", "mean"], "centred"),
        ("Mul", ["centred", "scale"], "even"),
        ("MatMul", ["even", "project"], "frames"),
        ("Reshape", ["frames", "flat"], "row"),
        ("MatMul", ["row", "w1"], "first"),
        ("Add", ["first", "b1"], "hidden"),
        ("Gelu", ["hidden"], "bent"),
        ("MatMul", ["bent", "w2"], "second"),
        ("Add", ["second", "b2"], "modes"),
    ]
    nodes = [
        helper.make_node(kind, inputs, [output], **({"approximate": "tanh"} if kind == "Gelu" else {}))
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


def write_onnx(net: CoefficientNet, path: Path) -> int:
    """Write it; returns the size in bytes."""
    return path.write_bytes(onnx_of(net))
