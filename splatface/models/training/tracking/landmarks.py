"""Where a face is: 478 landmarks of mediapipe's face mesh with its iris and lip refinement."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import TrackingError
from splatface.models.training.tracking.mediapipe_door import FACE_MESH, Graph
from splatface.models.typing import Float64Array

__all__ = ["LANDMARKS", "LIPS", "Landmarker", "landmarks"]


LANDMARKS = 478  # 468 of the face, then five of each iris (468-472 the right eye's, 473-477 the left eye's)

# The outer and the inner rim of the lips, each once around from the picture's left corner over the upper lip.
_OUTER = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)
_INNER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)
LIPS = (*_OUTER, *_INNER)

# One serialised point: a tag and a length, then x, y and z, each a tag and a little-endian float32.
_POINT = np.dtype(
    {"names": ["x", "y", "z"], "formats": ["<f4"] * 3, "offsets": [3, 8, 13], "itemsize": 17},
)


class Landmarker:
    """Finds the largest face in one picture after another. Use it in a `with`, or close it.

    Args:
        most: faces that `faces` finds at most.
        tracked: look for the face near where it was in the last picture (steadier, for films), instead of
            anew in each picture (the same picture always gives the same landmarks).

    Raises:
        TrackingError: when mediapipe is not installed.
    """

    def __init__(self, *, tracked: bool = False, most: int = 1) -> None:
        self._graph = Graph(FACE_MESH, num_faces=most, with_attention=True, use_prev_landmarks=bool(tracked))

    def __call__(self, picture: NDArray[np.uint8]) -> Float64Array:
        """Landmarks [478, 3] px of the picture [H, W, 3] RGB, NaN where there is no face.

        x to the right, y down, pixel (0, 0) covers 0..1; z away from the camera in about the same scale,
        0 in the middle of the head. Landmarks may lie outside of the picture.
        """
        found = self.faces(picture)
        return found[0] if len(found) else np.full((LANDMARKS, 3), np.nan)

    def faces(self, picture: NDArray[np.uint8]) -> Float64Array:
        """Landmarks [n, 478, 3] px of all n faces that are found, at most `most`."""
        height, width = picture.shape[:2]
        found = [_points(face) * (width, height, width) for face in self._graph.messages(picture)]
        return np.stack(found) if found else np.empty((0, LANDMARKS, 3))

    def close(self) -> None:
        """Free what mediapipe holds."""
        self._graph.close()

    def __enter__(self) -> "Landmarker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def landmarks(pictures: Iterable[NDArray[np.uint8]], *, tracked: bool = False) -> Float64Array:
    """Landmarks [F, 478, 3] px of F pictures [H, W, 3] RGB; see `Landmarker`.

    Raises:
        TrackingError: when mediapipe is not installed, or something is not a picture.
    """
    with Landmarker(tracked=tracked) as find:
        found = [find(picture) for picture in pictures]
    return np.stack(found) if found else np.empty((0, LANDMARKS, 3))


def _points(message: bytes) -> Float64Array:
    """Points [478, 3] of a serialised `mediapipe.NormalizedLandmarkList`.

    Raises TrackingError when it is something else.
    """
    if len(message) != LANDMARKS * _POINT.itemsize:
        raise TrackingError(
            f"mediapipe: expected {LANDMARKS} landmarks, found {len(message)} bytes of something else: "
            "pip install mediapipe==0.10.14"
        )
    table = np.frombuffer(message, _POINT)
    return np.stack([table["x"], table["y"], table["z"]], axis=-1).astype(np.float64)
