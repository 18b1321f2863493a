"""The linear basis in training: deltas = dynamism * (basis @ map(motion)), with slopes written by hand.

The gradient of the basis, [M, 14, K] numbers, is never made, see `step_basis`.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from splatface.models.render.workers import Workers
from splatface.models.training.dataset.types import Dataset
from splatface.models.training.fields.basis import BasisField
from splatface.models.training.optimization.adam import (
    AdamState,
    LowRankGradient,
    no_moments,
    step_array,
    step_basis,
)
from splatface.models.training.optimization.basis_kernels import apply_rows, coefficient_grad
from splatface.models.training.optimization.config import TrainConfig
from splatface.models.training.optimization.dataset_statistics import all_motion, motion_std
from splatface.models.training.optimization.densify import DensificationResult
from splatface.models.training.optimization.map_slopes import MotionMapGrad
from splatface.models.training.optimization.pull import DeformedGaussians, Gradients
from splatface.models.training.optimization.schedule import CANONICAL, ScheduleState, basis_rates
from splatface.models.typing import Float32Array

__all__ = ["BasisFieldTrainer"]


Arrays = dict[str, NDArray[np.generic]]
_MASKED_EVERY = 4  # pictures: drawing the dynamism costs a fifth of a step
_MAP = ("linear", "w1", "b1", "w2")


class BasisFieldTrainer:
    """A basis field whose `rows` of the table move."""

    def __init__(
        self, field: BasisField, motion: Float32Array, config: TrainConfig, workers: Workers
    ) -> None:
        """Motion [F, 16] of all rows of the data set; the field's tensors are learned in place."""
        self._field, self._motion, self._config, self._workers = field, motion, config, workers
        self._masked = config.losses.mask > 0 and field.dynamism is not None
        self._noise = config.steady.motion_noise_std * motion_std(motion)
        self._bind_arrays()
        self._moments = {name: no_moments(array) for name, array in self._learned().items()}
        self._count = np.zeros(2, np.int64)  # moves, and steps of Adam
        self._kept: tuple[MotionMapGrad, Float32Array, Float32Array] | None = None

    def _bind_arrays(self) -> None:
        """The field's tensors as arrays on the same memory."""
        field = self._field
        count = len(field.dynamic)
        self.rows = field.dynamic.numpy()
        self._basis = field.basis.detach().numpy()
        # sigmoid(30) is 1: a field without dynamism.
        fixed = torch.full((count,), 30.0)
        self._dynamism = (fixed if field.dynamism is None else field.dynamism.detach()).numpy()
        self._map = {name: getattr(field.motion, name).detach().numpy() for name in _MAP}

    @property
    def field(self) -> BasisField:
        """The field as it is now."""
        return self._field

    def set_motion(self, dataset: Dataset) -> None:
        """Move as the frames of a data set say."""
        self._motion = all_motion(dataset)

    def forward_eval(self, table: Float32Array, row: int, pace: ScheduleState) -> DeformedGaussians:
        """Movements of a row, to look at."""
        c = MotionMapGrad(self._motion[row], **self._map).coefficients
        free = apply_rows(self._basis, c, self._workers)
        return DeformedGaussians(table, self.rows, free / (1 + np.exp(-self._dynamism[:, None])))

    def motion_grad(self, table: Float32Array, row: int, slopes: Gradients) -> Float32Array:
        """dL/d(motion) [16] of the movements that `show` gave for a row."""
        _, back = self._back(slopes, 1 / (1 + np.exp(-self._dynamism)))
        return MotionMapGrad(self._motion[row], **self._map).input_grad(back)

    def forward_train(self, table: Float32Array, row: int, pace: ScheduleState) -> DeformedGaussians:
        """Movements of a row, a little off; the dynamism is drawn in every fourth picture once it is learned.

        What the person did is known to a few percent only: a basis that is told otherwise bends itself to
        hit every picture.
        """
        generator = np.random.default_rng([self._config.seed, 4, int(self._count[0])])
        off = self._noise * generator.standard_normal(len(self._noise), np.float32)
        known = MotionMapGrad(self._motion[row] + off, **self._map)
        free = apply_rows(self._basis, known.coefficients, self._workers)
        share = 1 / (1 + np.exp(-self._dynamism))
        self._kept = known, free, share
        self._count[0] += 1
        drawn = self._masked and pace.stage != CANONICAL and self._count[0] % _MASKED_EVERY == 0
        return DeformedGaussians(table, self.rows, free * share[:, None], share if drawn else None)

    def backward_and_step(self, slopes: Gradients, pace: ScheduleState, rate: float) -> Float32Array:
        """A step of Adam on basis, map and dynamism; in the canonical stage they stay."""
        assert self._kept is not None
        known, free, share = self._kept
        if pace.stage == CANONICAL:
            return slopes.table
        self._count[1] += 1
        steps = int(self._count[1])
        own, back = self._back(slopes, share)
        rates, moments = self._config.rates, self._moments
        calm = rate * pace.warmup * rates.last**pace.progress
        step = LowRankGradient(
            slopes=own,
            coefficients=known.coefficients,
            rates=basis_rates(rates, pace) * np.float32(rate),
            steps=steps,
            weight_decay_factor=1 - self._config.steady.basis_weight_decay * calm,
        )
        step_basis(self._basis, moments["basis"], step, self._workers)
        for name, slope in known.back(back).items():
            step_array(self._map[name], slope, moments[name], rates.field * calm, steps)
        if self._masked:
            pull = (slopes.deltas * free).sum(axis=1)
            if slopes.dynamism is not None:
                pull += _MASKED_EVERY * slopes.dynamism
            pull *= share * (1 - share)
            step_array(self._dynamism, pull, moments["dynamism"], rates.opacity * calm * 0.3, steps)
        return slopes.table

    def _back(self, slopes: Gradients, share: Float32Array) -> tuple[Float32Array, Float32Array]:
        """dL/d of basis @ coefficients [M, 14], and of the coefficients [K]; `share` [M] is the dynamism."""
        own: Float32Array = slopes.deltas * share[:, None] * self._field.mask.numpy()
        return own, coefficient_grad(self._basis, own, self._workers)

    def dynamic_mask(self, count: int) -> tuple[NDArray[np.bool_], int]:
        """The Gaussians of the basis; no more are taken in."""
        mine = np.zeros(count, np.bool_)
        mine[self.rows] = True
        return mine, 0

    def regrow(self, regrown: DensificationResult) -> None:
        """Halves move as the whole did."""
        taken = self._field.remap_gaussians(torch.from_numpy(regrown.sources)).numpy()
        self._bind_arrays()
        fresh = regrown.fresh[self.rows]
        for name in ("basis", "dynamism"):
            first, second = self._moments[name].exp_avg[taken], self._moments[name].exp_avg_sq[taken]
            first[fresh] = 0
            self._moments[name] = AdamState(first, second)

    def state_dict(self) -> Arrays:
        """All that learning changes."""
        found: Arrays = {"rows": self.rows, "total": np.array(self._field.count), "count": self._count}
        found |= self._learned()
        for name, moments in self._moments.items():
            found |= {f"{name}.first": moments.exp_avg, f"{name}.second": moments.exp_avg_sq}
        return found

    def load_state_dict(self, arrays: Arrays) -> None:
        """Go on from what `arrays` gave."""
        field = self._field
        found: dict[str, Any] = {name: np.array(array) for name, array in arrays.items()}
        field.dynamic, field.count = torch.from_numpy(found["rows"]), int(found["total"])
        field.basis = nn.Parameter(torch.from_numpy(found["basis"]))
        if field.dynamism is not None:
            field.dynamism = nn.Parameter(torch.from_numpy(found["dynamism"]))
        for name in _MAP:
            getattr(field.motion, name).data = torch.from_numpy(found[name])
        self._bind_arrays()
        self._count = found["count"]
        self._moments = {
            name: AdamState(found[f"{name}.first"], found[f"{name}.second"]) for name in self._learned()
        }

    def _learned(self) -> dict[str, Float32Array]:
        return {"basis": self._basis, "dynamism": self._dynamism, **self._map}
