"""Neural voices as ONNX graphs that also tell how long each letter lasts."""

import importlib.util
from pathlib import Path

import onnxruntime

__all__ = ["package_folder", "session"]


def session(model: bytes, revealed: str, *, threads: int = 1) -> onnxruntime.InferenceSession:
    """A session of the graph with an inner tensor made an output."""
    import onnx

    graph = onnx.load_from_string(model)
    graph.graph.output.append(onnx.helper.ValueInfoProto(name=revealed))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads that wait by spinning would take the renderer's core.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph.SerializeToString(), options, ["CPUExecutionProvider"])


def package_folder(package: str) -> Path | None:
    """Where an installed package lies; it is not imported."""
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    return Path(folders[0]) if folders else None
