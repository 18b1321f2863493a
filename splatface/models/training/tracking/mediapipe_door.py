"""The one door to mediapipe: its ready graphs, run without its Python wrappers.

The wrappers of 0.10.14 (the last wheel that carries models) need protobuf below 5, the kiosk's onnx needs 6
or later; the graphs themselves need neither.
"""

import contextlib
import importlib
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import TrackingError

__all__ = ["FACE_MESH", "PERSON_MASK", "Graph"]

# (file inside the wheel, output stream)
FACE_MESH = ("modules/face_landmark/face_landmark_front_cpu.binarypb", "multi_face_landmarks")
PERSON_MASK = ("modules/selfie_segmentation/selfie_segmentation_cpu.binarypb", "segmentation_mask")

_FRAME_US = 40_000  # a graph wants rising times; which, matters to none of those above
_stderr_lock = threading.Lock()


class Graph:
    """One of mediapipe's graphs that takes pictures called `image` and answers each with one packet.

    Not to be used from two threads at once. Close it, or use it in a `with`.

    Args:
        graph: FACE_MESH or PERSON_MASK.
        side: the graph's settings by name, int or bool.

    Raises:
        TrackingError: when mediapipe is not installed, or is a version without these graphs.
    """

    def __init__(self, graph: tuple[str, str], **side: int) -> None:
        file, self._output = graph
        self._answer: Any = None
        self._time_us = 0
        with _quiet():
            self._mediapipe = _Mediapipe()
            self._graph = self._mediapipe.graph(file)
            self._graph.observe_output_stream(self._output, self._take, True)
            self._graph.start_run({name: self._mediapipe.setting(value) for name, value in side.items()})
            # What a graph logs, it logs at its first picture.
            self._run(np.zeros((64, 64, 3), np.uint8))

    def messages(self, picture: NDArray[np.uint8]) -> list[bytes]:
        """The serialised messages of the answer to a picture [H, W, 3] RGB; none when nothing was found."""
        answer = self._run(picture)
        return [] if answer.is_empty() else self._mediapipe.messages(answer)

    def image(self, picture: NDArray[np.uint8]) -> NDArray[Any]:
        """The picture in the answer to a picture [H, W, 3] RGB."""
        return self._mediapipe.image(self._run(picture))

    def close(self) -> None:
        """End the graph."""
        if self._graph is not None:
            self._graph.close()
            self._graph = None

    def __enter__(self) -> "Graph":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take(self, _: str, answer: Any) -> None:
        self._answer = answer

    def _run(self, picture: NDArray[np.uint8]) -> Any:
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise TrackingError(
                f"picture: expected [H, W, 3] uint8, found {list(picture.shape)} {picture.dtype}: "
                "give an RGB picture"
            )
        self._time_us += _FRAME_US
        packet = self._mediapipe.picture(np.ascontiguousarray(picture)).at(self._time_us)
        self._graph.add_packet_to_input_stream(stream="image", packet=packet)
        self._graph.wait_until_idle()
        return self._answer


class _Mediapipe:
    """The few of mediapipe's parts that are used, under names of our own."""

    def __init__(self) -> None:
        try:
            self._root = Path(importlib.import_module("mediapipe").__file__ or "").parent
            bindings = "mediapipe.python._framework_bindings"
            self._graphs = importlib.import_module(f"{bindings}.calculator_graph")
            self._getter = importlib.import_module(f"{bindings}._packet_getter")
            self._frames = importlib.import_module(f"{bindings}.image_frame")
            self._create = importlib.import_module("mediapipe.python.packet_creator")
            self._get = importlib.import_module("mediapipe.python.packet_getter")
            resources = importlib.import_module(f"{bindings}.resource_util")
        except ImportError as error:
            raise TrackingError(
                f"mediapipe: expected version 0.10.14, which carries its models, found {error}: "
                "pip install 'splatface[train]' (Python 3.12 or older)"
            ) from error
        resources.set_resource_dir(str(self._root.parent))

    def graph(self, file: str) -> Any:
        path = self._root / file
        if not path.is_file():
            raise TrackingError(
                f"mediapipe: expected version 0.10.14, which carries its models, found one without {file}: "
                "pip install mediapipe==0.10.14 (Python 3.12 or older)"
            )
        return self._graphs.CalculatorGraph(binary_graph_path=str(path))

    def setting(self, value: int) -> Any:
        return self._create.create_bool(value) if isinstance(value, bool) else self._create.create_int(value)

    def picture(self, picture: NDArray[np.uint8]) -> Any:
        return self._create.create_image_frame(data=picture, image_format=self._frames.ImageFormat.SRGB)

    def messages(self, packet: Any) -> list[bytes]:
        found: list[bytes] = self._getter._get_serialized_proto_list(packet)
        return found

    def image(self, packet: Any) -> NDArray[Any]:
        return np.array(self._get.get_image_frame(packet).numpy_view())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Let nothing reach stderr: mediapipe's C++ parts log there whatever they are told."""
    with _stderr_lock:
        sys.stderr.flush()
        kept = os.dup(2)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(nowhere)
