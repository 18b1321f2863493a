"""What a training tells while it runs and hands back when it is done."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from splatface.models.training.dataset.types import Dataset
from splatface.models.training.fields.field import Field, GaussianTensors
from splatface.models.training.optimization.config import TrainConfig

__all__ = ["Progress", "Trained"]


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands; one line of log.jsonl."""

    stage: str  # "canonical" or "deformation"
    step: int  # of the whole run, 0..steps
    steps: int
    loss: float  # smoothed
    psnr_db: float  # smoothed, pictures trained on
    gaussians: int
    ms_per_step: float
    seconds_left: float
    validation_psnr_db: float | None = None  # of the last validation, where there was one
    seconds: float = 0.0  # trained so far, earlier sittings included


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A trained person, not yet baked to a head."""

    gaussians: GaussianTensors  # N, canonical frame, no graph
    skin_logits: Tensor  # [N]; sigmoid: 0 torso bone .. 1 head bone
    labels: NDArray[np.uint8]  # [N] LABELS of the part each Gaussian belongs to
    field: Field
    config: TrainConfig
    dataset: Dataset  # the one trained on, its poses, lens and motion refined where asked for
    seconds: float
    history: tuple[Progress, ...] = ()
