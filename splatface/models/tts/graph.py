"""ONNX graphs, and the packages that carry them."""

import importlib.util
from pathlib import Path

import onnxruntime

__all__ = ["package_folder", "revealed", "session"]


def revealed(model: bytes, tensor: str) -> bytes:
    """The graph with an inner tensor made an output."""
    import onnx

    graph = onnx.load_from_string(model)
    graph.graph.output.append(onnx.helper.ValueInfoProto(name=tensor))
    return bytes(graph.SerializeToString())


def session(model: bytes, *, threads: int = 1) -> onnxruntime.InferenceSession:
    """A session on the CPU that leaves the other cores alone."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads that wait by spinning would take the renderer's core.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])


def package_folder(package: str) -> Path | None:
    """Where an installed package lies; it is not imported."""
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    return Path(folders[0]) if folders else None
