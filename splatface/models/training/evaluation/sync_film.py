"""The faces of a drawn film as SyncNet wants them: one crop every 40 ms, with the sound from the first on."""

import numpy as np
from numpy.typing import NDArray

from splatface.models.messages import SAMPLE_RATE
from splatface.models.training.dataset.dataset_audio import load_audio
from splatface.models.training.evaluation.sync import SYNC_STEP_NS, face_boxes, face_crop
from splatface.models.training.evaluation.truth import Truth

__all__ = ["FaceFilm"]

_FEWEST = 6  # pictures


class FaceFilm:
    """Collects crops of the longest stretch that has 25 pictures a second.

    Where the face is, the true film says: the drawn head is in the same place.
    """

    def __init__(self, truth: Truth) -> None:
        self._truth = truth
        self._boxes = None if truth.landmarks is None else face_boxes(truth.landmarks)
        self._places = [] if self._boxes is None else _even_places(truth, self._boxes)
        self._wanted = frozenset(self._places)
        self._crops: dict[int, NDArray[np.uint8]] = {}

    @property
    def long_enough(self) -> bool:
        """Whether anything can be said of it."""
        return len(self._places) >= _FEWEST

    def add(self, at: int, drawn: NDArray[np.uint8]) -> None:
        """Take what is needed of the picture [H, W, 3] at a place of the film."""
        if self._boxes is not None and at in self._wanted:
            self._crops[at] = face_crop(drawn, self._boxes[at])

    def film(self) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Crops [F, 224, 224, 3] and the sound [T] at 16 kHz."""
        start_ns = int(self._truth.dataset.frames.time_ns[self._truth.rows[self._places[0]]])
        first = round(start_ns * SAMPLE_RATE / 1e9)
        samples = load_audio(self._truth.dataset)[first : first + len(self._places) * SAMPLE_RATE // 25]
        return np.stack([self._crops[at] for at in self._places]), samples


def _even_places(truth: Truth, boxes: NDArray[np.float64]) -> list[int]:
    """Places whose times lie 40 ms apart, each within half of that; the longest such stretch."""
    time_ns = truth.dataset.frames.time_ns[truth.rows]
    if len(time_ns) < _FEWEST:
        return []
    wanted = np.arange(time_ns[0], time_ns[-1] + 1, SYNC_STEP_NS)
    after = np.clip(np.searchsorted(time_ns, wanted), 1, len(time_ns) - 1)
    before = after - 1
    nearest = np.where(wanted - time_ns[before] <= time_ns[after] - wanted, before, after)
    there = np.abs(time_ns[nearest] - wanted) < SYNC_STEP_NS // 2
    there &= np.isfinite(boxes[nearest]).all(axis=1)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], there, [False]]).astype(np.int8)))
    if not len(edges):
        return []
    starts, ends = edges[::2], edges[1::2]
    longest = int(np.argmax(ends - starts))
    places: list[int] = nearest[starts[longest] : ends[longest]].tolist()
    return places
