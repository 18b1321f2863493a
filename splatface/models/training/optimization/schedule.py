"""How far a run is, and how fast it may still learn."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatface.models.head.splats import DELTA_CHANNELS
from splatface.models.training.optimization.config import LearningRates, StageConfig
from splatface.models.training.optimization.packed import LOG_SCALES, MEANS, OPACITY, QUATS, SH_DC, SKIN

__all__ = ["CANONICAL", "DEFORMATION", "ScheduleState", "basis_rates", "schedule_at", "table_rates"]

CANONICAL, DEFORMATION = "canonical", "deformation"
_WARM_UP = 500  # steps over which a new stage's own rates rise


@dataclass(frozen=True, slots=True)
class ScheduleState:
    """Where a run stands."""

    stage: str
    progress: float  # share of the run that is done, 0..1
    warmup: float  # how much of its rate what the second stage adds learns with, 0..1
    finished: bool


def schedule_at(step: int, seconds: float, stages: StageConfig) -> ScheduleState:
    """The pace of a step, counted from 0, after so many seconds of training.

    A budget of minutes lets both stages end sooner, each at its share.
    """
    total = stages.canonical_steps + stages.deformation_steps
    spent = 0.0 if stages.minutes is None else seconds / (60 * stages.minutes)
    through = max(step / total, spent)
    first = stages.canonical_steps / total
    stage = CANONICAL if through < first or not stages.deformation_steps else DEFORMATION
    warm = min(max((through - first) * total + 1, 0.0) / _WARM_UP, 1.0)
    return ScheduleState(stage, min(through, 1.0), warm, step >= total or spent >= 1.0)


def table_rates(rates: LearningRates, through: float, width: int) -> NDArray[np.float32]:
    """Learning rates [W] of the columns of a table."""
    cooled = rates.last**through
    found = np.full(width, rates.sh_rest_lr * cooled)
    found[MEANS] = rates.means * rates.final_lr_ratio_means**through
    found[QUATS] = rates.quats * cooled
    found[LOG_SCALES] = rates.log_scales * cooled
    found[OPACITY] = rates.opacity * cooled
    found[SKIN] = rates.skin * cooled
    found[SH_DC] = rates.sh_dc_lr * cooled
    return found.astype(np.float32)


def basis_rates(rates: LearningRates, pace: ScheduleState) -> NDArray[np.float32]:
    """Learning rates [14] of the parts of a movement, see DELTA_CHANNELS."""
    every = table_rates(rates, pace.progress, 15)
    found = np.empty(DELTA_CHANNELS, np.float32)
    found[:11], found[11:] = every[:11], every[SH_DC]
    found[10] *= np.float32(0.3)  # skin that fades in and out is seldom true
    return found * np.float32(rates.basis * pace.warmup)
