"""x"""

import math
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from splatface.models.head.head import DELTA_CHANNELS, MOTION_SIZE
from splatface.models.render.jit import Workers
from splatface.models.training.optimization.gaussian_skinning import (
    DEPTH,
    LOG_SCALES,
    MEANS,
    OPACITY,
    QUATS,
    SH_DC,
    SH_REST,
    SKIN,
)
from splatface.models.training.optimization.train_config import (
    GaussianConstraints,
    LearningRates,
    StageConfig,
)
from splatface.models.typing import Float32Array

__all__ = [
    "CANONICAL",
    "DEFORMATION",
    "AdamState",
    "LowRankGradient",
    "ParameterAnchors",
    "ScheduleState",
    "apply_constraints",
    "basis_rates",
    "schedule_at",
    "step_array",
    "step_basis",
    "step_table",
    "table_rates",
    "zero_adam_state",
]

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


def basis_rates(rates: LearningRates, schedule: ScheduleState) -> NDArray[np.float32]:
    """Learning rates [14] of the parts of a movement, see DELTA_CHANNELS."""
    every = table_rates(rates, schedule.progress, 15)
    found = np.empty(DELTA_CHANNELS, np.float32)
    found[:11], found[11:] = every[:11], every[SH_DC]
    found[10] *= np.float32(0.3)  # skin that fades in and out is seldom true
    return found * np.float32(rates.basis * schedule.warmup)


f4 = np.float32
_OPTIONS = {"cache": True, "nogil": True, "fastmath": True, "error_model": "numpy", "boundscheck": False}
_FIRST, _SECOND, _EPSILON = 0.9, 0.999, f4(1e-15)  # epsilon as in 3DGS


@dataclass(frozen=True, slots=True, eq=False)
class AdamState:
    """Running means of an array's gradient and of its square."""

    exp_avg: Float32Array
    exp_avg_sq: Float32Array


def zero_adam_state(like: Float32Array) -> AdamState:
    """Those of an array that was never moved."""
    return AdamState(np.zeros_like(like), np.zeros_like(like))


def _corrections(steps: int) -> tuple[np.float32, np.float32]:
    """What makes the running means of the first few steps unbiased; steps counts from 1."""
    return f4(1 / (1 - _FIRST**steps)), f4(1 / (1 - _SECOND**steps))


def step_array(
    values: Float32Array, grads: Float32Array, moments: AdamState, rate: float, steps: int
) -> None:
    """Move a small array down its slopes, in place."""
    by_first, by_second = _corrections(steps)
    moments.exp_avg[...] = f4(_FIRST) * moments.exp_avg + f4(1 - _FIRST) * grads
    moments.exp_avg_sq[...] = f4(_SECOND) * moments.exp_avg_sq + f4(1 - _SECOND) * grads * grads
    schedule = np.sqrt(moments.exp_avg_sq * by_second) + _EPSILON
    values -= f4(rate) * by_first * moments.exp_avg / schedule


def step_table(
    table: Float32Array,
    grads: Float32Array,
    moments: AdamState,
    rates: Float32Array,
    steps: int,
    workers: Workers,
) -> None:
    """Move a table [N, W] down its slopes, in place; rates [W] per column."""
    corrections = _corrections(steps)
    state = (moments.exp_avg, moments.exp_avg_sq)

    def part(k: int) -> None:
        first, last = k * len(table) // workers.threads, (k + 1) * len(table) // workers.threads
        _step_rows(first, last, table, grads, state, rates, corrections)

    workers.run(part)


@dataclass(frozen=True, slots=True, eq=False)
class LowRankGradient:
    """What a basis [M, 14, K] learns from one picture."""

    grads: Float32Array  # [M, 14] dL/d(movements)
    coefficients: Float32Array  # [K]; the gradient is the outer product of the two
    rates: Float32Array  # [14]
    steps: int  # of Adam, from 1
    weight_decay_factor: float = (
        1.0  # share that stays of all but the places' first 16 coefficients, the known modes
    )


def step_basis(basis: Float32Array, moments: AdamState, step: LowRankGradient, workers: Workers) -> None:
    """Move a basis down its gradient, in place."""
    corrections = (*_corrections(step.steps), f4(step.weight_decay_factor))
    grads, coefficients, rates = step.grads, step.coefficients, step.rates
    state = (moments.exp_avg, moments.exp_avg_sq)

    def part(k: int) -> None:
        first, last = k * len(basis) // workers.threads, (k + 1) * len(basis) // workers.threads
        _step_basis_rows(first, last, basis, grads, coefficients, state, rates, corrections)

    workers.run(part)


@dataclass(frozen=True, slots=True, eq=False)
class ParameterAnchors:
    """Towards what a table [N, W] is drawn back, and by which share of the way a step."""

    anchors: Float32Array  # [N, 2] depth, m, and logit of the skinning weight
    depths: Float32Array  # [N] share
    skin: float
    shading: float  # of SH above degree 0, towards none


def apply_constraints(
    table: Float32Array, holds: ParameterAnchors, shape: GaussianConstraints, workers: Workers
) -> None:
    """Keep sizes and slenderness within bounds, quaternions at length 1, the rest near `holds`; in place."""
    bounds = (
        f4(math.log(shape.min_scale_m)),
        f4(math.log(shape.max_scale_m)),
        f4(math.log(shape.max_anisotropy)),
    )
    back = (holds.anchors, holds.depths, f4(holds.skin), f4(1 - holds.shading))

    def part(k: int) -> None:
        first, last = k * len(table) // workers.threads, (k + 1) * len(table) // workers.threads
        _hold_rows(first, last, table, back, bounds)

    workers.run(part)


@numba.njit(**_OPTIONS)
def _step_rows(first, last, table, grads, state, rates, corrections):  # type: ignore[no-untyped-def]
    for i in range(first, last):
        row, g, m, v = table[i], grads[i], state[0][i], state[1][i]
        for j in range(len(rates)):
            m[j] = f4(_FIRST) * m[j] + f4(1 - _FIRST) * g[j]
            v[j] = f4(_SECOND) * v[j] + f4(1 - _SECOND) * g[j] * g[j]
            row[j] -= rates[j] * (m[j] * corrections[0]) / (math.sqrt(v[j] * corrections[1]) + _EPSILON)


@numba.njit(**_OPTIONS)
def _step_basis_rows(first, last, basis, grads, coefficients, state, rates, corrections):  # type: ignore[no-untyped-def]
    count = len(coefficients)
    for i in range(first, last):
        for j in range(basis.shape[1]):
            row, m, v = basis[i, j], state[0][i, j], state[1][i, j]
            grad, rate = grads[i, j], rates[j] * corrections[0]
            for k in range(count):
                g = grad * coefficients[k]
                a = f4(_FIRST) * m[k] + f4(1 - _FIRST) * g
                b = f4(_SECOND) * v[k] + f4(1 - _SECOND) * g * g
                m[k] = a
                v[k] = b
                held = f4(1) if j < 3 and k < MOTION_SIZE else corrections[2]
                row[k] = held * row[k] - rate * a / (math.sqrt(b * corrections[1]) + _EPSILON)


@numba.njit(**_OPTIONS)
def _hold_rows(first, last, table, back, bounds):  # type: ignore[no-untyped-def]
    shortest, longest, ratio = bounds
    anchors, depths, skin, kept = back
    for i in range(first, last):
        row = table[i]
        row[DEPTH] -= depths[i] * (row[DEPTH] - anchors[i, 0])
        row[SKIN] -= skin * (row[SKIN] - anchors[i, 1])
        length = math.sqrt(row[3] * row[3] + row[4] * row[4] + row[5] * row[5] + row[6] * row[6])
        if length > f4(1e-6):
            for j in range(3, 7):
                row[j] /= length
        for j in range(7, 10):
            row[j] = min(max(row[j], shortest), longest)
        a, b, c = row[7], row[8], row[9]
        middle = max(min(a, b), min(max(a, b), c))
        for j in range(7, 10):
            row[j] = min(row[j], middle + ratio)
        for j in range(SH_REST, len(row)):
            row[j] *= kept
