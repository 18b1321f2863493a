"""The pictures that are trained on, ready to compare with, kept in memory while there is room."""

import numpy as np
from numpy.typing import NDArray

from splatface.models.training.dataset.frame_images import (
    LossWeights,
    box_of,
    eyes_mask,
    labels,
    loss_weights,
    mouth_mask,
    person_mask,
    picture,
    silhouette_trimap,
)
from splatface.models.training.dataset.types import Dataset
from splatface.models.training.optimization.config import LossConfig
from splatface.models.training.optimization.losses import WEIGHT_STEP, Target

__all__ = ["Targets", "target_of"]

_LIPS_MARGIN, _MOVING_REACH, _EDGE = 0.02, 0.02, 0.012  # shares of the picture's height


def target_of(dataset: Dataset, row: int, config: LossConfig) -> Target:
    """Picture, weights, masks and lips' box of a row."""
    parts = labels(dataset, row)
    height = len(parts)
    choice = LossWeights(
        background=config.background,
        person=config.person,
        face=config.person,
        eyes=config.eyes,
        mouth=config.mouth,
    )
    weights = np.clip(loss_weights(parts, choice) / WEIGHT_STEP + 0.5, 0, 255).astype(np.uint8)
    reach = _MOVING_REACH * height
    moving = (mouth_mask(parts, reach) | eyes_mask(parts, reach)).astype(np.uint8) * 255
    box = box_of(mouth_mask(parts), round(_LIPS_MARGIN * height))
    lips = (0, 0, 0, 0) if box is None else (box[0], box[2], box[1], box[3])
    return Target(picture(dataset, row), weights, moving, silhouette_trimap(parts, _EDGE * height), lips)


class Targets:
    """Targets of a data set by row; those that came first stay until `max_bytes` are full."""

    def __init__(self, dataset: Dataset, config: LossConfig, max_bytes: float) -> None:
        self._dataset, self._config = dataset, config
        self._room = max_bytes
        self._kept: dict[int, Target] = {}

    def person(self, row: int) -> NDArray[np.bool_]:
        """Where the person is [H, W]. Raises DatasetError where the file is damaged."""
        return person_mask(labels(self._dataset, row))

    def __call__(self, row: int) -> Target:
        """The target of a row. Raises DatasetError where its files are damaged."""
        target = self._kept.get(row)
        if target is None:
            target = target_of(self._dataset, row, self._config)
            size = 2 * target.picture.nbytes  # and three masks
            if size <= self._room:
                self._room -= size
                self._kept[row] = target
        return target
