"""Where hands are in a picture: boxes around mediapipe's hand landmarks."""

from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from splatface.models.training.tracking.mediapipe_door import Graph

__all__ = ["HandDetector"]

_HANDS = ("modules/hand_landmark/hand_landmark_tracking_cpu.binarypb", "multi_hand_landmarks")
_JOINTS = 21


class HandDetector:
    """Finds at most two hands in one picture after another. Use it in a `with`, or close it."""

    def __init__(self) -> None:
        self._graph = Graph(_HANDS, num_hands=2, model_complexity=0, use_prev_landmarks=False)

    def __call__(self, picture: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Boxes [n, 4] (left, top, right, bottom) px of the hands."""
        height, width = picture.shape[:2]
        boxes = [_box(message) * (width, height, width, height) for message in self._graph.messages(picture)]
        return np.array(boxes, np.float64).reshape(-1, 4)

    def close(self) -> None:
        """Free what mediapipe holds."""
        self._graph.close()

    def __enter__(self) -> "HandDetector":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _box(message: bytes) -> NDArray[np.float64]:
    """Box of a serialised list of joints: each a tag and a length, then x, y and z as tagged float32."""
    points, at = [], 0
    while at + 2 <= len(message) and message[at] == 0x0A:
        length = message[at + 1]
        points.append(np.frombuffer(message[at + 2 : at + 2 + length], np.uint8))
        at += 2 + length
    values = [(p[1:5].view("<f4")[0], p[6:10].view("<f4")[0]) for p in points if len(p) >= 10]
    places = np.array(values if len(values) == _JOINTS else [(np.nan, np.nan)], np.float64)
    return np.concatenate([places.min(axis=0), places.max(axis=0)])
