# SPDX-License-Identifier: Apache-2.0
"""Networks in onnxruntime, and the installed packages that carry their weights."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from splatface.models.errors import EncoderError
from splatface.models.typing import AnyArray

__all__ = ["Session", "add_output", "load_session", "make_session", "package_dir", "package_file"]


class Session(Protocol):
    """The part of `onnxruntime.InferenceSession` that is used."""

    def run(self, names: None, feed: dict[str, AnyArray]) -> list[AnyArray]:
        """Return every output of the network for the named inputs."""
        ...


def make_session(model: bytes, *, threads: int = 1) -> Session:
    """Return an ONNX network on the CPU that leaves the other cores idle.

    Raises ImportError when onnxruntime is missing, and its own exceptions for a damaged model.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that wait by spinning would take the renderer's core.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # errors are raised as exceptions
    session: Session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session


def load_session(encoder: str, model: Callable[[bool], bytes]) -> Session:
    """Return an encoder's network on one thread (two were measured slower), from the bytes of `model(again)`.

    `model(True)` is called when the first bytes cannot be loaded: a cached file may be damaged.
    Raises EncoderError when onnxruntime is missing or refuses both.
    """
    try:
        return make_session(model(False))
    except ImportError as error:
        raise EncoderError(f"encoder '{encoder}': expected onnxruntime: pip install onnxruntime") from error
    except EncoderError:
        raise
    except Exception:  # onnxruntime's own classes have no common base
        try:
            return make_session(model(True))
        except EncoderError:
            raise
        except Exception as error:
            raise EncoderError(
                f"encoder '{encoder}': onnxruntime cannot load its network: {error}"
            ) from error


def add_output(model: bytes, tensor: str) -> bytes:
    """Return the graph with an inner tensor made an output."""
    import onnx

    graph: Any = onnx.load_from_string(model)
    graph.graph.output.append(onnx.helper.ValueInfoProto(name=tensor))
    return bytes(graph.SerializeToString())


def package_dir(package: str) -> Path | None:
    """Return the folder of an installed package without importing it, None when it is absent."""
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    return Path(folders[0]) if folders else None


def package_file(encoder: str, package: str, file: str, install: str) -> Path:
    """Return the path of `file` inside an installed `package`, which is not imported.

    Raises EncoderError, naming the pip command, when the package or the file is absent.
    """
    folder = package_dir(package)
    if folder is not None and (folder / file).is_file():
        return folder / file
    found = f"no {file} in {folder}" if folder else f"no package {package}"
    raise EncoderError(f"encoder '{encoder}': expected its weights in {package}, found {found}: {install}")
