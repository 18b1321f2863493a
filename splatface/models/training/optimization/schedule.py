"""How far a run is, and how fast it may still learn."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatface.models.head.splats import DELTA_CHANNELS
from splatface.models.training.optimization.config import RateConfig, StageConfig
from splatface.models.training.optimization.packed import COLOUR, LOG_SCALES, MEANS, OPACITY, QUATS, SKIN

__all__ = ["CANONICAL", "DEFORMATION", "Pace", "basis_rates", "pace_at", "table_rates"]

CANONICAL, DEFORMATION = "canonical", "deformation"
_WARM_UP = 500  # steps over which a new stage's own rates rise


@dataclass(frozen=True, slots=True)
class Pace:
    """Where a run stands."""

    stage: str
    through: float  # share of the run that is done, 0..1
    warm: float  # how much of its rate what the second stage adds learns with, 0..1
    over: bool


def pace_at(step: int, seconds: float, stages: StageConfig) -> Pace:
    """The pace of a step, counted from 0, after so many seconds of training.

    A budget of minutes lets both stages end sooner, each at its share.
    """
    total = stages.canonical_steps + stages.deformation_steps
    spent = 0.0 if stages.minutes is None else seconds / (60 * stages.minutes)
    through = max(step / total, spent)
    first = stages.canonical_steps / total
    stage = CANONICAL if through < first or not stages.deformation_steps else DEFORMATION
    warm = min(max((through - first) * total + 1, 0.0) / _WARM_UP, 1.0)
    return Pace(stage, min(through, 1.0), warm, step >= total or spent >= 1.0)


def table_rates(rates: RateConfig, through: float, width: int) -> NDArray[np.float32]:
    """Learning rates [W] of the columns of a table."""
    cooled = rates.last**through
    found = np.full(width, rates.shading * cooled)
    found[MEANS] = rates.means * rates.last_means**through
    found[QUATS] = rates.quats * cooled
    found[LOG_SCALES] = rates.log_scales * cooled
    found[OPACITY] = rates.opacity * cooled
    found[SKIN] = rates.skin * cooled
    found[COLOUR] = rates.colour * cooled
    return found.astype(np.float32)


def basis_rates(rates: RateConfig, pace: Pace) -> NDArray[np.float32]:
    """Learning rates [14] of the parts of a movement, see DELTA_CHANNELS."""
    every = table_rates(rates, pace.through, 15)
    found = np.empty(DELTA_CHANNELS, np.float32)
    found[:11], found[11:] = every[:11], every[COLOUR]
    found[10] *= np.float32(0.3)  # skin that fades in and out is seldom true
    return found * np.float32(rates.basis * pace.warm)
