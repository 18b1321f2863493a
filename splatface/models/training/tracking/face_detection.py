# SPDX-License-Identifier: Apache-2.0
"""Detection with mediapipe's graphs: face landmarks, small faces, hands; the face and crop window to use.

The graphs run without mediapipe's Python wrappers: those of 0.10.14 (the last wheel that carries models) need
protobuf below 5, the kiosk's onnx needs 6 or later; the graphs themselves need neither.
"""

import contextlib
import importlib
import os
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np

from splatface.models.errors import TrackingError
from splatface.models.typing import AnyArray, BoolArray, Float64Array, UInt8Array

__all__ = [
    "LANDMARKS",
    "LIPS",
    "MAX_FACES",
    "PERSON_MASK",
    "CropWindow",
    "FaceDetector",
    "FaceTrack",
    "Graph",
    "GraphModel",
    "HandDetector",
    "Landmarker",
    "choose_face",
    "crop",
    "crop_window",
    "detect_landmarks",
]

# (file inside the wheel, output stream)
FACE_MESH = ("modules/face_landmark/face_landmark_front_cpu.binarypb", "multi_face_landmarks")
PERSON_MASK = ("modules/selfie_segmentation/selfie_segmentation_cpu.binarypb", "segmentation_mask")
_HANDS = ("modules/hand_landmark/hand_landmark_tracking_cpu.binarypb", "multi_hand_landmarks")

LANDMARKS = 478  # 468 of the face, then five of each iris (468-472 the right eye's, 473-477 the left eye's)
# The outer and the inner contour of the lips, each from the image's left corner over the upper lip.
_OUTER_LIPS = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)
_INNER_LIPS = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)
LIPS = (*_OUTER_LIPS, *_INNER_LIPS)
# One serialized point: a tag and a length, then x, y and z, each a tag and a little-endian float32.
_POINT = np.dtype({"names": ["x", "y", "z"], "formats": ["<f4"] * 3, "offsets": [3, 8, 13], "itemsize": 17})
_HAND_JOINTS = 21

MAX_FACES = 4
_MAX_STEP = 0.75  # of a face between two samples, fraction of its size
_DUPLICATE_DISTANCE = 0.35  # boxes whose centers are nearer than this fraction of their size are one face
_WINDOW_FACE_HEIGHTS = 2.5  # from forehead to chin: head and shoulders
_WINDOW_OFFSET = 0.12  # fraction of the window by which its center lies below the face's
_HAIR_MARGIN, _CHEEK_MARGIN = 0.5, 0.35  # above and beside the face, fractions of its height
_TILE_SEARCH_INTERVAL = 8  # calls

_FRAME_US = 40_000  # a graph needs increasing times; their values do not matter to those above
_stderr_lock = threading.Lock()


class Graph:
    """A mediapipe graph with the input stream `image` and one output stream.

    Not to be used from two threads at once. Close it, or use it in a `with`.

    Args:
        graph: FACE_MESH or PERSON_MASK.
        settings: side packets by name, int or bool.

    Raises:
        TrackingError: when mediapipe is not installed, or is a version without these graphs.
    """

    def __init__(self, graph: tuple[str, str], **settings: int) -> None:
        file, self._output = graph
        self._packet: Any = None
        self._time_us = 0
        with _suppressed_stderr():
            self._mediapipe = _Mediapipe()
            self._graph = self._mediapipe.graph(file)
            self._graph.observe_output_stream(self._output, self._receive, True)
            packets = {name: self._mediapipe.setting(value) for name, value in settings.items()}
            self._graph.start_run(packets)
            # Graphs log at their first image.
            self._run(np.zeros((64, 64, 3), np.uint8))

    def messages(self, image: UInt8Array) -> list[bytes]:
        """Return the serialized messages for an image [H, W, 3] RGB; none when nothing is detected."""
        packet = self._run(image)
        return [] if packet.is_empty() else self._mediapipe.messages(packet)

    def image(self, image: UInt8Array) -> AnyArray:
        """Return the output image for an image [H, W, 3] RGB."""
        return self._mediapipe.image(self._run(image))

    def close(self) -> None:
        """Free what mediapipe holds."""
        if self._graph is not None:
            self._graph.close()
            self._graph = None

    def __enter__(self) -> "Graph":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _receive(self, _: str, packet: Any) -> None:
        self._packet = packet

    def _run(self, image: UInt8Array) -> Any:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise TrackingError(
                f"picture: expected [H, W, 3] uint8, found {list(image.shape)} {image.dtype}: "
                "give an RGB picture"
            )
        self._time_us += _FRAME_US
        packet = self._mediapipe.input_image(np.ascontiguousarray(image)).at(self._time_us)
        self._graph.add_packet_to_input_stream(stream="image", packet=packet)
        self._graph.wait_until_idle()
        return self._packet


Model = TypeVar("Model", bound="GraphModel")


class GraphModel:
    """Base of models that run one graph. Use it in a `with`, or close it.

    Raises:
        TrackingError: when mediapipe is not installed.
    """

    def __init__(self, graph: tuple[str, str], **settings: int) -> None:
        self._graph = Graph(graph, **settings)

    def close(self) -> None:
        """Free what mediapipe holds."""
        self._graph.close()

    def __enter__(self: Model) -> Model:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Landmarker(GraphModel):
    """Landmarks of the largest face: 478 of mediapipe's face mesh with its iris and lip refinement.

    Args:
        max_faces: that `faces` returns at most.
        tracked: search the face near its place in the last image (steadier, for videos), instead of anew in
            each image (the same image always gives the same landmarks).
    """

    def __init__(self, *, tracked: bool = False, max_faces: int = 1) -> None:
        super().__init__(
            FACE_MESH, num_faces=max_faces, with_attention=True, use_prev_landmarks=bool(tracked)
        )

    def __call__(self, image: UInt8Array) -> Float64Array:
        """Return landmarks [478, 3] px of an image [H, W, 3] RGB, NaN where there is no face.

        x to the right, y down, pixel (0, 0) covers 0..1; z away from the camera in about the same scale,
        0 in the middle of the head. Landmarks may lie outside of the image.
        """
        faces = self.faces(image)
        return faces[0] if len(faces) else np.full((LANDMARKS, 3), np.nan)

    def faces(self, image: UInt8Array) -> Float64Array:
        """Return landmarks [n, 478, 3] px of all n faces that are detected."""
        height, width = image.shape[:2]
        faces = [_parse_face(face) * (width, height, width) for face in self._graph.messages(image)]
        return np.stack(faces) if faces else np.empty((0, LANDMARKS, 3))


def detect_landmarks(images: Iterable[UInt8Array], *, tracked: bool = False) -> Float64Array:
    """Detect landmarks [F, 478, 3] px in F images [H, W, 3] RGB; see `Landmarker`.

    Raises:
        TrackingError: when mediapipe is not installed, or something is not an image.
    """
    with Landmarker(tracked=tracked) as detect:
        landmarks = [detect(image) for image in images]
    return np.stack(landmarks) if landmarks else np.empty((0, LANDMARKS, 3))


class FaceDetector:
    """Boxes of faces, searched in tiles where the whole image shows none. Use it in a `with`, or close it.

    mediapipe's detector scales an image to 128 px: a face of less than a tenth of it is lost in the whole.
    """

    def __init__(self) -> None:
        self._landmarker = Landmarker(max_faces=MAX_FACES)
        self._last: Float64Array | None = None
        self._misses = 0

    def __call__(self, image: UInt8Array) -> Float64Array:
        """Return boxes [n, 4] (left, top, right, bottom) px around brows, cheeks and chin of the faces."""
        boxes = self._detect(image, (0, 0, image.shape[1], image.shape[0]))
        if not len(boxes) and self._last is not None:
            boxes = self._detect(image, _surrounding(self._last, image.shape))
        # Searching all tiles is slow; an empty room is searched in every eighth call only.
        if not len(boxes):
            if self._misses % _TILE_SEARCH_INTERVAL == 0:
                boxes = self._detect_in_tiles(image)
            self._misses += 1
        if len(boxes):
            self._misses = 0
            self._last = boxes[np.argmax(boxes[:, 3] - boxes[:, 1])]
        return boxes

    def close(self) -> None:
        """Free what mediapipe holds."""
        self._landmarker.close()

    def __enter__(self) -> "FaceDetector":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _detect_in_tiles(self, image: UInt8Array) -> Float64Array:
        height, width = image.shape[:2]
        for fraction in (1.0, 0.5, 0.25):
            side = round(min(height, width) * fraction)
            detections = [self._detect(image, tile) for tile in _tiles(width, height, side)]
            boxes = _without_duplicates(np.concatenate(detections))
            if len(boxes):
                return boxes[:MAX_FACES]
        return np.empty((0, 4))

    def _detect(self, image: UInt8Array, region: tuple[int, int, int, int]) -> Float64Array:
        left, top, right, bottom = region
        faces = self._landmarker.faces(np.ascontiguousarray(image[top:bottom, left:right]))
        boxes = np.concatenate([faces[..., :2].min(axis=1), faces[..., :2].max(axis=1)], axis=1)
        return np.asarray(boxes + np.array([left, top, left, top], np.float64))


class HandDetector(GraphModel):
    """Boxes of at most two hands."""

    def __init__(self) -> None:
        super().__init__(_HANDS, num_hands=2, model_complexity=0, use_prev_landmarks=False)

    def __call__(self, image: UInt8Array) -> Float64Array:
        """Return boxes [n, 4] (left, top, right, bottom) px of the hands."""
        height, width = image.shape[:2]
        scale = (width, height, width, height)
        boxes = [_parse_hand_box(message) * scale for message in self._graph.messages(image)]
        return np.array(boxes, np.float64).reshape(-1, 4)


@dataclass(frozen=True, slots=True, eq=False)
class FaceTrack:
    """One face through the video."""

    boxes: Float64Array  # [S, 4] px at each sample, NaN where it was not detected
    other_faces: BoolArray  # [S] samples at which another face of some size is visible too


@dataclass(frozen=True, slots=True)
class CropWindow:
    """Square region of the upright video to which all frames are cropped."""

    left: int  # px
    top: int  # px
    side: int  # px


def choose_face(detections: Sequence[Float64Array]) -> FaceTrack:
    """Choose the face that is largest for longest among boxes [n, 4] of S samples in order of time.

    Raises:
        TrackingError: when no sample has a face.
    """
    tracks: list[dict[int, Float64Array]] = []
    for sample, boxes in enumerate(detections):
        free = list(range(len(tracks)))
        for box in sorted(boxes, key=lambda box: box[1] - box[3]):
            near = [i for i in free if _may_continue(tracks[i], box, sample)]
            if near:
                best = min(near, key=lambda i: _distance(box, tracks[i][max(tracks[i])]))
                tracks[best][sample] = box
                free.remove(best)
            else:
                tracks.append({sample: box})
    if not tracks:
        raise TrackingError(
            "face: expected one in the film, found none: film a person from the front, head and shoulders, "
            "in good light"
        )
    chosen = max(tracks, key=lambda track: sum(_height(box) for box in track.values()))
    boxes = np.full((len(detections), 4), np.nan)
    for sample, box in chosen.items():
        boxes[sample] = box
    height = float(np.median([_height(box) for box in chosen.values()]))
    other_faces = [
        any(t is not chosen and sample in t and _height(t[sample]) > 0.3 * height for t in tracks)
        for sample in range(len(detections))
    ]
    return FaceTrack(boxes, np.array(other_faces, bool))


def crop_window(boxes: Float64Array, width: int, height: int) -> CropWindow:
    """Choose a window of head and shoulders around a face's boxes [S, 4] (NaN where unknown).

    It is fixed for the whole video, lies inside width x height px, and holds all positions of the head.
    """
    known = boxes[np.isfinite(boxes).all(axis=1)]
    face_height = float(np.median(known[:, 3] - known[:, 1]))
    left, top = np.percentile(known[:, :2], 2, axis=0)
    right, bottom = np.percentile(known[:, 2:], 98, axis=0)
    needed = max(
        right - left + 2 * _CHEEK_MARGIN * face_height, bottom - top + 2 * _HAIR_MARGIN * face_height
    )
    side = int(min(width, height, max(_WINDOW_FACE_HEIGHTS * face_height, needed)))
    center = np.array([(left + right) / 2, (top + bottom) / 2 + _WINDOW_OFFSET * side])
    corner = center - side / 2
    corner[1] = min(corner[1], top - _HAIR_MARGIN * face_height)  # hair before shoulders
    corner = np.clip(corner, 0, (width - side, height - side))
    return CropWindow(int(corner[0]), int(corner[1]), side)


def crop(image: UInt8Array, window: CropWindow, side_px: int) -> UInt8Array:
    """Return the window of an image [H, W, 3], scaled to [side_px, side_px, 3]."""
    region = image[window.top : window.top + window.side, window.left : window.left + window.side]
    if region.shape[:2] == (side_px, side_px):
        return np.ascontiguousarray(region)
    interpolation = cv2.INTER_AREA if window.side > side_px else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(region, (side_px, side_px), interpolation=interpolation), np.uint8)


def _parse_face(message: bytes) -> Float64Array:
    """Parse a serialized `mediapipe.NormalizedLandmarkList`: points [478, 3].

    Raises TrackingError when it is something else.
    """
    if len(message) != LANDMARKS * _POINT.itemsize:
        raise TrackingError(
            f"mediapipe: expected {LANDMARKS} landmarks, found {len(message)} bytes of something else: "
            "pip install mediapipe==0.10.14"
        )
    table = np.frombuffer(message, _POINT)
    return np.stack([table["x"], table["y"], table["z"]], axis=-1).astype(np.float64)


def _parse_hand_box(message: bytes) -> Float64Array:
    """Parse a serialized list of joints, each a tag and a length, then tagged float32 x, y and z: its box."""
    points, position = [], 0
    while position + 2 <= len(message) and message[position] == 0x0A:
        length = message[position + 1]
        points.append(np.frombuffer(message[position + 2 : position + 2 + length], np.uint8))
        position += 2 + length
    values = [(p[1:5].view("<f4")[0], p[6:10].view("<f4")[0]) for p in points if len(p) >= 10]
    joints = np.array(values if len(values) == _HAND_JOINTS else [(np.nan, np.nan)], np.float64)
    return np.concatenate([joints.min(axis=0), joints.max(axis=0)])


def _height(box: Float64Array) -> float:
    return float(box[3] - box[1])


def _distance(a: Float64Array, b: Float64Array) -> float:
    """Compute the distance of the centers, in heights of the larger box."""
    offset = (a[:2] + a[2:] - b[:2] - b[2:]) / 2
    return float(np.hypot(*offset)) / max(_height(a), _height(b), 1.0)


def _may_continue(track: dict[int, Float64Array], box: Float64Array, sample: int) -> bool:
    """Tell whether a box may show the face of a track, which may have been lost for a while."""
    last = max(track)
    ratio = _height(box) / max(_height(track[last]), 1.0)
    return 0.6 < ratio < 1.7 and _distance(box, track[last]) < _MAX_STEP * min(sample - last, 3)


def _without_duplicates(boxes: Float64Array) -> Float64Array:
    """Return boxes without those that show a face again, the largest first."""
    kept: list[Float64Array] = []
    for box in sorted(boxes, key=lambda box: box[1] - box[3]):
        if all(_distance(box, other) > _DUPLICATE_DISTANCE for other in kept):
            kept.append(box)
    return np.array(kept).reshape(-1, 4)


def _surrounding(box: Float64Array, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Return a region of the image, four face heights wide, around a box."""
    margin = 2 * _height(box)
    center = (box[:2] + box[2:]) / 2
    left, top = np.maximum(center - margin, 0).astype(int)
    right, bottom = np.minimum(center + margin, (shape[1], shape[0])).astype(int)
    return int(left), int(top), max(int(right), int(left) + 2), max(int(bottom), int(top) + 2)


def _tiles(width: int, height: int, side: int) -> list[tuple[int, int, int, int]]:
    """Return squares that overlap by half."""

    def starts(length: int) -> list[int]:
        count = max(1, -(-2 * (length - side) // side) + 1)
        return [round(x) for x in np.linspace(0, length - side, count)]

    return [(x, y, x + side, y + side) for y in starts(height) for x in starts(width)]


class _Mediapipe:
    """The parts of mediapipe that are used; imports them when it is made."""

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

    def input_image(self, image: UInt8Array) -> Any:
        return self._create.create_image_frame(data=image, image_format=self._frames.ImageFormat.SRGB)

    def messages(self, packet: Any) -> list[bytes]:
        messages: list[bytes] = self._getter._get_serialized_proto_list(packet)
        return messages

    def image(self, packet: Any) -> AnyArray:
        return np.array(self._get.get_image_frame(packet).numpy_view())


@contextlib.contextmanager
def _suppressed_stderr() -> Iterator[None]:
    """Discard stderr: mediapipe's C++ parts log there whatever their settings."""
    with _stderr_lock:
        sys.stderr.flush()
        saved = os.dup(2)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            os.close(null)
