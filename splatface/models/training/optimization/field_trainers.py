"""x"""

from copy import copy
from typing import Any, Protocol

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from splatface.models.audio2motion.audio_to_mouth import GELU_CUBIC, GELU_SCALE
from splatface.models.errors import TrainingError
from splatface.models.head.head import DELTA_CHANNELS
from splatface.models.render.jit import Workers
from splatface.models.rotations import rep103_angles
from splatface.models.training.dataset.dataset_audio import features
from splatface.models.training.dataset.types import TRAIN, Dataset
from splatface.models.training.fields.audio_conditioning import audio_windows
from splatface.models.training.fields.basis_field import BasisField
from splatface.models.training.fields.field import Condition, Field
from splatface.models.training.fields.field_config import ConditioningConfig
from splatface.models.training.optimization.dataset_statistics import all_motion, motion_std
from splatface.models.training.optimization.densification import DensificationResult
from splatface.models.training.optimization.gaussian_skinning import SKIN, pack, unpack
from splatface.models.training.optimization.optimizer import (
    CANONICAL,
    AdamState,
    LowRankGradient,
    ScheduleState,
    basis_rates,
    step_array,
    step_basis,
    zero_adam_state,
)
from splatface.models.training.optimization.render_loss import DeformedGaussians, Gradients
from splatface.models.training.optimization.train_config import TrainConfig
from splatface.models.typing import Float32Array

__all__ = [
    "BasisFieldTrainer",
    "Conditions",
    "FieldTrainer",
    "MotionMapGrad",
    "TorchFieldTrainer",
    "apply_basis",
    "coefficient_grad",
    "pose_of",
]


def pose_of(T_world_head: NDArray[np.float64], pivot_m: NDArray[np.float64]) -> NDArray[np.float64]:
    """Yaw, pitch, roll (rad, REP 103) and shift x, y, z (m, canonical axes) [6] of a head about its pivot."""
    rotation = T_world_head[:3, :3]
    angles = rep103_angles(rotation)
    return np.concatenate([angles, T_world_head[:3, 3] - pivot_m + rotation @ pivot_m])


class Conditions:
    """The condition of every row of a data set."""

    def __init__(self, dataset: Dataset, conditioning: ConditioningConfig, encoder: str) -> None:
        """Raises TrainingError where a field driven by sound is not told by which encoder."""
        self._dataset, self._config = dataset, conditioning
        self._features: tuple[NDArray[np.float32], NDArray[np.int64]] | None = None
        if conditioning.drive == "sound":
            if not encoder:
                raise TrainingError(
                    "config encoder: expected the encoder whose features drive the field, found none: "
                    "set encoder (logmel, fsmn, whisper), or field.conditioning.drive to motion"
                )
            self._features = features(dataset, encoder)

    def __call__(self, row: int) -> Condition:
        """What happens in a row; float32 on the CPU."""
        frames = self._dataset.frames
        pose = pose_of(frames.T_world_head[row], self._dataset.pivot_m)
        return Condition(
            mouth=torch.from_numpy(frames.mouth[row].astype(np.float32)),
            controls=torch.from_numpy(frames.controls[row].astype(np.float32)),
            pose=torch.from_numpy(pose.astype(np.float32)),
            audio=None if self._features is None else self._windows(int(frames.time_ns[row])),
        )

    def of(self, dataset: Dataset) -> "Conditions":
        """The same sound with the motion and poses of another reading of the data set."""
        other = copy(self)
        other._dataset = dataset
        return other

    def training_features(self) -> Tensor | None:
        """Return audio features [n, D] at the TRAIN frames; None for a field driven by motion."""
        if self._features is None:
            return None
        values, centers_ns = self._features
        frames = self._dataset.frames
        nearest = np.clip(np.searchsorted(frames.time_ns, centers_ns), 0, len(frames) - 1)
        return torch.from_numpy(values[frames.split[nearest] == TRAIN].astype(np.float32))

    def _windows(self, time_ns: int) -> Tensor:
        assert self._features is not None
        return torch.from_numpy(audio_windows(*self._features, time_ns, self._config))


f4 = np.float32
_OPTIONS = {"cache": True, "nogil": True, "fastmath": True, "error_model": "numpy", "boundscheck": False}


def apply_basis(basis: Float32Array, coefficients: Float32Array, workers: Workers) -> Float32Array:
    """basis [M, 14, K] @ coefficients [K] = [M, 14]."""
    count, channels, width = basis.shape
    flat, out = basis.reshape(count * channels, width), np.empty(count * channels, f4)

    def part(k: int) -> None:
        _apply(*_share(len(flat), k, workers), flat, coefficients, out)

    workers.run(part)
    return out.reshape(count, channels)


def coefficient_grad(basis: Float32Array, grads: Float32Array, workers: Workers) -> Float32Array:
    """dL/d(coefficients) [K] of dL/d(movements) [M, 14]."""
    count, channels, width = basis.shape
    flat, above = basis.reshape(count * channels, width), np.ascontiguousarray(grads).reshape(-1)
    sums = np.zeros((workers.threads, width), f4)

    def part(k: int) -> None:
        _gather(*_share(len(flat), k, workers), flat, above, sums[k])

    workers.run(part)
    total: Float32Array = sums.sum(axis=0)
    return total


def _share(count: int, k: int, workers: Workers) -> tuple[int, int]:
    return k * count // workers.threads, (k + 1) * count // workers.threads


@numba.njit(**_OPTIONS)
def _apply(first, last, flat, coefficients, out):  # type: ignore[no-untyped-def]
    for i in range(first, last):
        row, total = flat[i], f4(0)
        for k in range(len(coefficients)):
            total += row[k] * coefficients[k]
        out[i] = total


@numba.njit(**_OPTIONS)
def _gather(first, last, flat, above, sums):  # type: ignore[no-untyped-def]
    for i in range(first, last):
        row, grad = flat[i], above[i]
        if grad != f4(0):
            for k in range(len(sums)):
                sums[k] += grad * row[k]


_STEEP, _CUBIC = np.float32(GELU_SCALE), np.float32(GELU_CUBIC)


class MotionMapGrad:
    """`MotionMap` of models/head/motion_map.py at the motion x [16]; `coefficients` [K]."""

    def __init__(
        self, x: Float32Array, linear: Float32Array, w1: Float32Array, b1: Float32Array, w2: Float32Array
    ) -> None:
        self._x, self._linear, self._w1, self._w2 = x, linear, w1, w2
        bent, self._grad = _gelu(x @ w1 + b1)
        still, self._grad_at_zero = _gelu(b1)
        self._bend = bent - still
        made: Float32Array = np.asarray(x @ linear + self._bend @ w2, np.float32)
        self.coefficients = made

    def back(self, grads: Float32Array) -> dict[str, Float32Array]:
        """dL/d of linear, w1, b1 and w2 of dL/d(coefficients) [K]."""
        hidden = self._w2 @ grads
        inner = hidden * self._grad
        return {
            "linear": np.outer(self._x, grads),
            "w1": np.outer(self._x, inner),
            "b1": inner - hidden * self._grad_at_zero,
            "w2": np.outer(self._bend, grads),
        }

    def input_grad(self, grads: Float32Array) -> Float32Array:
        """dL/dx [16] of dL/d(coefficients) [K]."""
        found: Float32Array = self._linear @ grads + self._w1 @ (self._grad * (self._w2 @ grads))
        return found


def _gelu(x: Float32Array) -> tuple[Float32Array, Float32Array]:
    """GELU in its tanh form, and its slope."""
    t = np.tanh(_STEEP * (x + _CUBIC * x * x * x))
    half = np.float32(0.5)
    steep = _STEEP * (1 + 3 * _CUBIC * x * x)
    return half * x * (1 + t), half * (1 + t) + half * x * (1 - t * t) * steep


Arrays = dict[str, NDArray[np.generic]]


class FieldTrainer(Protocol):
    """A field in training."""

    @property
    def field(self) -> Field:
        """The field as it is now."""

    def set_motion(self, dataset: Dataset) -> None:
        """Move as the frames of a data set say: the one that is trained on, better known by now."""

    def forward_eval(self, table: Float32Array, row: int, schedule: ScheduleState) -> DeformedGaussians:
        """What a row looks like; changes nothing."""

    def motion_grad(self, table: Float32Array, row: int, grads: Gradients) -> Float32Array:
        """dL/d(mouth modes and controls) [16] of the movements that `show` gave for a row.

        0 for what the field does not ask for: one driven by sound knows of no mouth mode.
        """

    def forward_train(self, table: Float32Array, row: int, schedule: ScheduleState) -> DeformedGaussians:
        """What is drawn to learn from a row."""

    def backward_and_step(self, grads: Gradients, schedule: ScheduleState, rate: float) -> Float32Array:
        """Learn from the slopes of the last move at a share of the usual rate: slopes of the table [N, W]."""

    def dynamic_mask(self, count: int) -> tuple[NDArray[np.bool_], int]:
        """Which of N Gaussians have rows of their own, and how many more could have."""

    def regrow(self, regrown: DensificationResult) -> None:
        """Follow a table that was parted and pruned."""

    def state_dict(self) -> Arrays:
        """All that learning changes."""

    def load_state_dict(self, arrays: Arrays) -> None:
        """Go on from what `arrays` gave."""


class TorchFieldTrainer:
    """Any field of places: torch finds its slopes."""

    def __init__(self, field: nn.Module, conditions: Conditions, config: TrainConfig) -> None:
        """The field lies on the config's device; tables and slopes are exchanged as arrays."""
        rates = config.rates
        self._field, self._conditions, self._rates = field, conditions, rates
        self._masked, self._device = config.losses.mask > 0, torch.device(config.device)
        planes = [p for p in field.parameters() if p.dim() > 2]
        nets = [p for p in field.parameters() if p.dim() <= 2]
        groups = [{"params": p, "pace": r} for p, r in ((planes, rates.planes), (nets, rates.field)) if p]
        self._optimiser = torch.optim.Adam(groups, lr=0.0, eps=1e-15)
        self._graph: tuple[Tensor, list[Tensor]] | None = None

    @property
    def field(self) -> Field:
        """The field as it is now."""
        found: Field = self._field
        return found

    def set_motion(self, dataset: Dataset) -> None:
        """Move as the frames of a data set say."""
        self._conditions = self._conditions.of(dataset)

    def forward_eval(self, table: Float32Array, row: int, schedule: ScheduleState) -> DeformedGaussians:
        """What a row looks like; changes nothing."""
        with torch.no_grad():
            return self.forward_train(table, row, schedule)

    def forward_train(self, table: Float32Array, row: int, schedule: ScheduleState) -> DeformedGaussians:
        """Ask the field; in the canonical stage nothing moves, but the field may say how it rests."""
        leaf = torch.from_numpy(table).to(self._device).detach().requires_grad_()
        resting = self.field.canonical(unpack(leaf))
        whole = pack(resting, leaf[:, SKIN])
        if schedule.stage == CANONICAL:
            self._graph = leaf, [whole]
            return DeformedGaussians(
                _array(whole), np.empty(0, np.int64), np.empty((0, DELTA_CHANNELS), np.float32)
            )
        movement = self.field.forward(resting.means, self._condition(row))
        outputs = [whole, movement.deltas]
        dynamism = movement.dynamism if self._masked else None
        if dynamism is not None:
            outputs.append(dynamism)
        self._graph = leaf, outputs
        arrays = [_array(output) for output in outputs]
        return DeformedGaussians(arrays[0], np.arange(len(table)), *arrays[1:])

    def motion_grad(self, table: Float32Array, row: int, grads: Gradients) -> Float32Array:
        """dL/d(mouth modes and controls) [16] of the movements that `show` gave for a row."""
        condition = self._condition(row)
        asked = [condition.mouth.requires_grad_(), condition.controls.requires_grad_()]
        resting = self.field.canonical(unpack(torch.from_numpy(table).to(self._device)))
        deltas = self.field.forward(resting.means, condition).deltas
        above = torch.from_numpy(grads.deltas).to(self._device)
        found = torch.autograd.grad(deltas, asked, above, allow_unused=True, materialize_grads=True)
        return np.concatenate([_array(grad) for grad in found])

    def _condition(self, row: int) -> Condition:
        found = self._conditions(row)
        tensors = (found.mouth, found.controls, found.pose, found.audio)
        return Condition(*(None if tensor is None else tensor.to(self._device) for tensor in tensors))

    def backward_and_step(self, grads: Gradients, schedule: ScheduleState, rate: float) -> Float32Array:
        """Back through the field, and a step of Adam."""
        assert self._graph is not None
        leaf, outputs = self._graph
        above = [grads.table, grads.deltas, grads.dynamism][: len(outputs)]
        tensors = [torch.from_numpy(a).to(self._device) for a in above if a is not None]
        torch.autograd.backward(outputs, tensors)
        self._graph = None
        cooled = rate * self._rates.last**schedule.progress
        for group in self._optimiser.param_groups:
            group["lr"] = group["pace"] * cooled
        self._optimiser.step()
        self._optimiser.zero_grad()
        assert leaf.grad is not None
        return _array(leaf.grad)

    def dynamic_mask(self, count: int) -> tuple[NDArray[np.bool_], int]:
        """A field of places has no rows."""
        return np.zeros(count, np.bool_), 0

    def regrow(self, regrown: DensificationResult) -> None:
        """A field of places does not mind."""

    def state_dict(self) -> Arrays:
        """Parameters and moments."""
        found: Arrays = {f"field.{k}": v.cpu().numpy() for k, v in self._field.state_dict().items()}
        state = self._optimiser.state_dict()["state"]
        for number, values in state.items():
            found |= {f"adam.{number}.{k}": v.cpu().numpy() for k, v in values.items()}
        return found

    def load_state_dict(self, arrays: Arrays) -> None:
        """Go on from what `arrays` gave."""
        prefix = "field."
        tensors = {
            k.removeprefix(prefix): torch.from_numpy(v.copy())
            for k, v in arrays.items()
            if k.startswith(prefix)
        }
        self._field.load_state_dict(tensors)
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in arrays.items():
            if name.startswith("adam."):
                _, number, part = name.split(".")
                state.setdefault(int(number), {})[part] = torch.from_numpy(value.copy())
        whole = self._optimiser.state_dict()
        self._optimiser.load_state_dict({**whole, "state": state})


def _array(tensor: Tensor) -> Float32Array:
    found: Float32Array = np.ascontiguousarray(tensor.detach().cpu().numpy())
    return found


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
        self._moments = {name: zero_adam_state(array) for name, array in self._learned().items()}
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

    def forward_eval(self, table: Float32Array, row: int, schedule: ScheduleState) -> DeformedGaussians:
        """Movements of a row, to look at."""
        c = MotionMapGrad(self._motion[row], **self._map).coefficients
        free = apply_basis(self._basis, c, self._workers)
        return DeformedGaussians(table, self.rows, free / (1 + np.exp(-self._dynamism[:, None])))

    def motion_grad(self, table: Float32Array, row: int, grads: Gradients) -> Float32Array:
        """dL/d(motion) [16] of the movements that `show` gave for a row."""
        _, back = self._back(grads, 1 / (1 + np.exp(-self._dynamism)))
        return MotionMapGrad(self._motion[row], **self._map).input_grad(back)

    def forward_train(self, table: Float32Array, row: int, schedule: ScheduleState) -> DeformedGaussians:
        """Movements of a row, a little off; the dynamism is drawn in every fourth picture once it is learned.

        What the person did is known to a few percent only: a basis that is told otherwise bends itself to
        hit every picture.
        """
        generator = np.random.default_rng([self._config.seed, 4, int(self._count[0])])
        off = self._noise * generator.standard_normal(len(self._noise), np.float32)
        known = MotionMapGrad(self._motion[row] + off, **self._map)
        free = apply_basis(self._basis, known.coefficients, self._workers)
        share = 1 / (1 + np.exp(-self._dynamism))
        self._kept = known, free, share
        self._count[0] += 1
        drawn = self._masked and schedule.stage != CANONICAL and self._count[0] % _MASKED_EVERY == 0
        return DeformedGaussians(table, self.rows, free * share[:, None], share if drawn else None)

    def backward_and_step(self, grads: Gradients, schedule: ScheduleState, rate: float) -> Float32Array:
        """A step of Adam on basis, map and dynamism; in the canonical stage they stay."""
        assert self._kept is not None
        known, free, share = self._kept
        if schedule.stage == CANONICAL:
            return grads.table
        self._count[1] += 1
        steps = int(self._count[1])
        own, back = self._back(grads, share)
        rates, moments = self._config.rates, self._moments
        calm = rate * schedule.warmup * rates.last**schedule.progress
        step = LowRankGradient(
            grads=own,
            coefficients=known.coefficients,
            rates=basis_rates(rates, schedule) * np.float32(rate),
            steps=steps,
            weight_decay_factor=1 - self._config.steady.basis_weight_decay * calm,
        )
        step_basis(self._basis, moments["basis"], step, self._workers)
        for name, grad in known.back(back).items():
            step_array(self._map[name], grad, moments[name], rates.field * calm, steps)
        if self._masked:
            pull = (grads.deltas * free).sum(axis=1)
            if grads.dynamism is not None:
                pull += _MASKED_EVERY * grads.dynamism
            pull *= share * (1 - share)
            step_array(self._dynamism, pull, moments["dynamism"], rates.opacity * calm * 0.3, steps)
        return grads.table

    def _back(self, grads: Gradients, share: Float32Array) -> tuple[Float32Array, Float32Array]:
        """dL/d of basis @ coefficients [M, 14], and of the coefficients [K]; `share` [M] is the dynamism."""
        own: Float32Array = grads.deltas * share[:, None] * self._field.mask.numpy()
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
