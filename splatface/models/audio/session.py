"""The one door to onnxruntime."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import EncoderError

__all__ = ["Session", "session_of"]


class Session(Protocol):
    """What is used of `onnxruntime.InferenceSession`."""

    def run(self, names: None, feed: dict[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """Every output of the network for the named inputs."""
        ...


def session_of(encoder: str, model: Callable[[bool], bytes]) -> Session:
    """A network on one thread (two were measured slower), from the bytes `model(again)` gives.

    `model(True)` is asked when the first bytes cannot be loaded: a cached file may be damaged.
    Raises EncoderError when onnxruntime is missing or refuses both.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise EncoderError(f"encoder '{encoder}': expected onnxruntime: pip install onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong comes as an exception

    def load(again: bool) -> Any:
        return onnxruntime.InferenceSession(model(again), options, providers=["CPUExecutionProvider"])

    try:
        session: Session = load(False)
    except EncoderError:
        raise
    except Exception:  # onnxruntime's own classes have no common base
        try:
            session = load(True)
        except EncoderError:
            raise
        except Exception as error:
            raise EncoderError(
                f"encoder '{encoder}': onnxruntime cannot load its network: {error}"
            ) from error
    return session
