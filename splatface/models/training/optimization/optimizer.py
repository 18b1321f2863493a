# SPDX-License-Identifier: Apache-2.0
"""Learning-rate schedule, and Adam for tables of Gaussians and for bases in one pass over memory each.

Adam: Kingma and Ba 2015. The gradient of a basis is never stored: it is the outer product of dL/d(deltas)
and the coefficients.
"""

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
    chunk_bounds,
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
_WARMUP_STEPS = 500  # over which the rates of the deformation stage rise


@dataclass(frozen=True, slots=True)
class ScheduleState:
    """Stage and progress of a run."""

    stage: str
    progress: float  # 0..1
    warmup: float  # 0..1, factor on the rates of what the deformation stage adds
    finished: bool


def schedule_at(step: int, seconds: float, stages: StageConfig) -> ScheduleState:
    """Return the schedule of a step, counted from 0, after so many seconds of training.

    A budget of minutes shortens both stages in proportion.
    """
    total = stages.canonical_steps + stages.deformation_steps
    budget_used = 0.0 if stages.minutes is None else seconds / (60 * stages.minutes)
    progress = max(step / total, budget_used)
    first = stages.canonical_steps / total
    stage = CANONICAL if progress < first or not stages.deformation_steps else DEFORMATION
    warmup = min(max((progress - first) * total + 1, 0.0) / _WARMUP_STEPS, 1.0)
    return ScheduleState(stage, min(progress, 1.0), warmup, step >= total or budget_used >= 1.0)


def table_rates(rates: LearningRates, progress: float, width: int) -> NDArray[np.float32]:
    """Return learning rates [W] of the columns of a table."""
    decay = rates.final_lr_ratio**progress
    rates_by_column = np.full(width, rates.sh_rest_lr * decay)
    rates_by_column[MEANS] = rates.means * rates.final_lr_ratio_means**progress
    rates_by_column[QUATS] = rates.quats * decay
    rates_by_column[LOG_SCALES] = rates.log_scales * decay
    rates_by_column[OPACITY] = rates.opacity * decay
    rates_by_column[SKIN] = rates.skin * decay
    rates_by_column[SH_DC] = rates.sh_dc_lr * decay
    return rates_by_column.astype(np.float32)


def basis_rates(rates: LearningRates, schedule: ScheduleState) -> NDArray[np.float32]:
    """Return learning rates [14] of the channels of a deformation, see DELTA_CHANNELS."""
    by_column = table_rates(rates, schedule.progress, 15)
    rates_by_column = np.empty(DELTA_CHANNELS, np.float32)
    rates_by_column[:11], rates_by_column[11:] = by_column[:11], by_column[SH_DC]
    rates_by_column[10] *= np.float32(0.3)  # of opacity: skin does not fade in and out
    return rates_by_column * np.float32(rates.basis * schedule.warmup)


f4 = np.float32
_OPTIONS = {"cache": True, "nogil": True, "fastmath": True, "error_model": "numpy", "boundscheck": False}
_BETA1, _BETA2, _EPSILON = 0.9, 0.999, f4(1e-15)  # epsilon as in 3DGS


@dataclass(frozen=True, slots=True, eq=False)
class AdamState:
    """Running means of an array's gradient and of its square."""

    exp_avg: Float32Array
    exp_avg_sq: Float32Array


def zero_adam_state(like: Float32Array) -> AdamState:
    """Return the state of an array before its first step."""
    return AdamState(np.zeros_like(like), np.zeros_like(like))


def _bias_corrections(steps: int) -> tuple[np.float32, np.float32]:
    """Return the factors that unbias both running means; steps counts from 1."""
    return f4(1 / (1 - _BETA1**steps)), f4(1 / (1 - _BETA2**steps))


def step_array(
    values: Float32Array, grads: Float32Array, moments: AdamState, rate: float, steps: int
) -> None:
    """Step a small array, in place."""
    first_correction, second_correction = _bias_corrections(steps)
    moments.exp_avg[...] = f4(_BETA1) * moments.exp_avg + f4(1 - _BETA1) * grads
    moments.exp_avg_sq[...] = f4(_BETA2) * moments.exp_avg_sq + f4(1 - _BETA2) * grads * grads
    denominator = np.sqrt(moments.exp_avg_sq * second_correction) + _EPSILON
    values -= f4(rate) * first_correction * moments.exp_avg / denominator


def step_table(
    table: Float32Array,
    grads: Float32Array,
    moments: AdamState,
    rates: Float32Array,
    steps: int,
    workers: Workers,
) -> None:
    """Step a table [N, W], in place; rates [W] per column."""
    corrections = _bias_corrections(steps)
    state = (moments.exp_avg, moments.exp_avg_sq)

    def run_chunk(k: int) -> None:
        first, last = chunk_bounds(len(table), k, workers)
        _adam_rows(first, last, table, grads, state, rates, corrections)

    workers.run(run_chunk)


@dataclass(frozen=True, slots=True, eq=False)
class LowRankGradient:
    """Gradient of a basis [M, 14, K] from one frame: the outer product of `grads` and `coefficients`."""

    grads: Float32Array  # [M, 14] dL/d(deltas)
    coefficients: Float32Array  # [K]
    rates: Float32Array  # [14]
    steps: int  # of Adam, from 1
    # On all but the known modes, which are the first 16 coefficients of the means.
    weight_decay_factor: float = 1.0


def step_basis(basis: Float32Array, moments: AdamState, step: LowRankGradient, workers: Workers) -> None:
    """Step a basis, in place."""
    corrections = (*_bias_corrections(step.steps), f4(step.weight_decay_factor))
    grads, coefficients, rates = step.grads, step.coefficients, step.rates
    state = (moments.exp_avg, moments.exp_avg_sq)

    def run_chunk(k: int) -> None:
        first, last = chunk_bounds(len(basis), k, workers)
        _adam_basis_rows(first, last, basis, grads, coefficients, state, rates, corrections)

    workers.run(run_chunk)


@dataclass(frozen=True, slots=True, eq=False)
class ParameterAnchors:
    """Values that a table [N, W] is drawn back to, and the fraction of the way per step."""

    anchors: Float32Array  # [N, 2] depth, m, and logit of the skinning weight
    depth_rates: Float32Array  # [N]
    skinning_rate: float
    sh_rest_decay: float  # of SH above degree 0, towards 0


def apply_constraints(
    table: Float32Array, anchors: ParameterAnchors, constraints: GaussianConstraints, workers: Workers
) -> None:
    """Clamp sizes and anisotropy, normalize quaternions, draw the rest back to its anchors; in place."""
    bounds = (
        f4(math.log(constraints.min_scale_m)),
        f4(math.log(constraints.max_scale_m)),
        f4(math.log(constraints.max_anisotropy)),
    )
    anchor_values = (
        anchors.anchors,
        anchors.depth_rates,
        f4(anchors.skinning_rate),
        f4(1 - anchors.sh_rest_decay),
    )

    def run_chunk(k: int) -> None:
        first, last = chunk_bounds(len(table), k, workers)
        _constrain_rows(first, last, table, anchor_values, bounds)

    workers.run(run_chunk)


@numba.njit(**_OPTIONS)
def _adam_rows(first, last, table, grads, state, rates, corrections):  # type: ignore[no-untyped-def]
    for i in range(first, last):
        row, g, m, v = table[i], grads[i], state[0][i], state[1][i]
        for j in range(len(rates)):
            m[j] = f4(_BETA1) * m[j] + f4(1 - _BETA1) * g[j]
            v[j] = f4(_BETA2) * v[j] + f4(1 - _BETA2) * g[j] * g[j]
            row[j] -= rates[j] * (m[j] * corrections[0]) / (math.sqrt(v[j] * corrections[1]) + _EPSILON)


@numba.njit(**_OPTIONS)
def _adam_basis_rows(first, last, basis, grads, coefficients, state, rates, corrections):  # type: ignore[no-untyped-def]
    count = len(coefficients)
    for i in range(first, last):
        for j in range(basis.shape[1]):
            row, m, v = basis[i, j], state[0][i, j], state[1][i, j]
            grad, rate = grads[i, j], rates[j] * corrections[0]
            for k in range(count):
                g = grad * coefficients[k]
                a = f4(_BETA1) * m[k] + f4(1 - _BETA1) * g
                b = f4(_BETA2) * v[k] + f4(1 - _BETA2) * g * g
                m[k] = a
                v[k] = b
                decay = f4(1) if j < 3 and k < MOTION_SIZE else corrections[2]
                row[k] = decay * row[k] - rate * a / (math.sqrt(b * corrections[1]) + _EPSILON)


@numba.njit(**_OPTIONS)
def _constrain_rows(first, last, table, anchor_values, bounds):  # type: ignore[no-untyped-def]
    min_scale, max_scale, max_anisotropy = bounds
    anchors, depth_rates, skinning_rate, sh_rest_factor = anchor_values
    for i in range(first, last):
        row = table[i]
        row[DEPTH] -= depth_rates[i] * (row[DEPTH] - anchors[i, 0])
        row[SKIN] -= skinning_rate * (row[SKIN] - anchors[i, 1])
        length = math.sqrt(row[3] * row[3] + row[4] * row[4] + row[5] * row[5] + row[6] * row[6])
        if length > f4(1e-6):
            for j in range(3, 7):
                row[j] /= length
        for j in range(7, 10):
            row[j] = min(max(row[j], min_scale), max_scale)
        a, b, c = row[7], row[8], row[9]
        middle = max(min(a, b), min(max(a, b), c))
        for j in range(7, 10):
            row[j] = min(row[j], middle + max_anisotropy)
        for j in range(SH_REST, len(row)):
            row[j] *= sh_rest_factor
