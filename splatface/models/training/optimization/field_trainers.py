# SPDX-License-Identifier: Apache-2.0
"""Fields in training: deformations of a frame, their gradients, and the optimizer step of the field.

`TorchFieldTrainer` trains any field by autograd. `BasisFieldTrainer` trains the linear basis,
deltas = dynamism * (basis @ map(motion)), with gradients written by hand in compiled loops on a few threads
(a BLAS spins its own threads between calls). The gradient of the basis, [M, 14, K] numbers, is never stored,
see `step_basis`.
"""

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
from splatface.models.training.dataset.dataset_audio import load_features
from splatface.models.training.dataset.types import TRAIN, Dataset
from splatface.models.training.fields.audio_conditioning import audio_windows
from splatface.models.training.fields.basis_field import BasisField
from splatface.models.training.fields.field import Condition, Field
from splatface.models.training.fields.field_config import ConditioningConfig
from splatface.models.training.optimization.dataset_statistics import all_motion, motion_std
from splatface.models.training.optimization.densification import DensificationResult
from splatface.models.training.optimization.gaussian_skinning import SKIN, chunk_bounds, pack, unpack
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
from splatface.models.typing import Float32Array, Int64Array

__all__ = [
    "BasisFieldTrainer",
    "Conditions",
    "FieldTrainer",
    "MotionMapGrad",
    "TorchFieldTrainer",
    "apply_basis",
    "coefficient_grad",
    "pose_parameters",
]


def pose_parameters(T_world_head: NDArray[np.float64], pivot_m: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return yaw, pitch, roll (rad, REP 103) and translation (m, canonical axes) [6] about the pivot."""
    rotation = T_world_head[:3, :3]
    angles = rep103_angles(rotation)
    return np.concatenate([angles, T_world_head[:3, 3] - pivot_m + rotation @ pivot_m])


class Conditions:
    """Field conditions of the frames of a data set."""

    def __init__(self, dataset: Dataset, conditioning: ConditioningConfig, encoder: str) -> None:
        """Raise TrainingError where a field driven by audio has no encoder."""
        self._dataset, self._config = dataset, conditioning
        self._features: tuple[Float32Array, Int64Array] | None = None
        if conditioning.drive == "sound":
            if not encoder:
                raise TrainingError(
                    "config encoder: expected the encoder whose features drive the field, found none: "
                    "set encoder (logmel, fsmn, whisper), or field.conditioning.drive to motion"
                )
            self._features = load_features(dataset, encoder)

    def __call__(self, frame_index: int) -> Condition:
        """Return the condition of a frame; float32 on the CPU."""
        frames = self._dataset.frames
        pose = pose_parameters(frames.T_world_head[frame_index], self._dataset.pivot_m)
        return Condition(
            mouth=torch.from_numpy(frames.mouth[frame_index].astype(np.float32)),
            controls=torch.from_numpy(frames.controls[frame_index].astype(np.float32)),
            pose=torch.from_numpy(pose.astype(np.float32)),
            audio=None if self._features is None else self._windows(int(frames.time_ns[frame_index])),
        )

    def with_dataset(self, dataset: Dataset) -> "Conditions":
        """Return the conditions with the motion and poses of a refined data set, and the same audio."""
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
    """Return basis [M, 14, K] @ coefficients [K] = [M, 14]."""
    count, channels, width = basis.shape
    flat, out = basis.reshape(count * channels, width), np.empty(count * channels, f4)

    def run_chunk(k: int) -> None:
        _multiply_rows(*chunk_bounds(len(flat), k, workers), flat, coefficients, out)

    workers.run(run_chunk)
    return out.reshape(count, channels)


def coefficient_grad(basis: Float32Array, grads: Float32Array, workers: Workers) -> Float32Array:
    """Return dL/d(coefficients) [K] from dL/d(deltas) [M, 14]."""
    count, channels, width = basis.shape
    flat, output_grads = basis.reshape(count * channels, width), np.ascontiguousarray(grads).reshape(-1)
    sums = np.zeros((workers.threads, width), f4)

    def run_chunk(k: int) -> None:
        _accumulate_grad(*chunk_bounds(len(flat), k, workers), flat, output_grads, sums[k])

    workers.run(run_chunk)
    total: Float32Array = sums.sum(axis=0)
    return total


@numba.njit(**_OPTIONS)
def _multiply_rows(first, last, flat, coefficients, out):  # type: ignore[no-untyped-def]
    for i in range(first, last):
        row, total = flat[i], f4(0)
        for k in range(len(coefficients)):
            total += row[k] * coefficients[k]
        out[i] = total


@numba.njit(**_OPTIONS)
def _accumulate_grad(first, last, flat, output_grads, sums):  # type: ignore[no-untyped-def]
    for i in range(first, last):
        row, grad = flat[i], output_grads[i]
        if grad != f4(0):
            for k in range(len(sums)):
                sums[k] += grad * row[k]


_GELU_SCALE, _GELU_CUBIC = np.float32(GELU_SCALE), np.float32(GELU_CUBIC)


class MotionMapGrad:
    """`MotionMap` at one motion x [16], with its gradients written by hand; `coefficients` [K]."""

    def __init__(
        self, x: Float32Array, linear: Float32Array, w1: Float32Array, b1: Float32Array, w2: Float32Array
    ) -> None:
        self._x, self._linear, self._w1, self._w2 = x, linear, w1, w2
        activated, self._grad = _gelu(x @ w1 + b1)
        at_zero, self._grad_at_zero = _gelu(b1)
        self._activation = activated - at_zero
        coefficients: Float32Array = np.asarray(x @ linear + self._activation @ w2, np.float32)
        self.coefficients = coefficients

    def parameter_grads(self, grads: Float32Array) -> dict[str, Float32Array]:
        """Return dL/d(linear, w1, b1, w2) from dL/d(coefficients) [K]."""
        hidden = self._w2 @ grads
        hidden_grad = hidden * self._grad
        return {
            "linear": np.outer(self._x, grads),
            "w1": np.outer(self._x, hidden_grad),
            "b1": hidden_grad - hidden * self._grad_at_zero,
            "w2": np.outer(self._activation, grads),
        }

    def input_grad(self, grads: Float32Array) -> Float32Array:
        """Return dL/dx [16] from dL/d(coefficients) [K]."""
        result: Float32Array = self._linear @ grads + self._w1 @ (self._grad * (self._w2 @ grads))
        return result


def _gelu(x: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Return GELU in its tanh form, and its derivative."""
    t = np.tanh(_GELU_SCALE * (x + _GELU_CUBIC * x * x * x))
    half = np.float32(0.5)
    inner_derivative = _GELU_SCALE * (1 + 3 * _GELU_CUBIC * x * x)
    return half * x * (1 + t), half * (1 + t) + half * x * (1 - t * t) * inner_derivative


Arrays = dict[str, NDArray[np.generic]]


class FieldTrainer(Protocol):
    """Interface of a field in training."""

    @property
    def field(self) -> Field:
        """Return the field as it is now."""

    def set_motion(self, dataset: Dataset) -> None:
        """Use the motion of a data set: the one that is trained on, refined."""

    def forward_eval(
        self, table: Float32Array, frame_index: int, schedule: ScheduleState
    ) -> DeformedGaussians:
        """Return the deformation of a frame; changes nothing."""

    def motion_grad(self, table: Float32Array, frame_index: int, grads: Gradients) -> Float32Array:
        """Return dL/d(mouth modes and controls) [16] for a frame that `forward_eval` deformed.

        0 for what the field does not use: one driven by audio uses no mouth mode.
        """

    def forward_train(
        self, table: Float32Array, frame_index: int, schedule: ScheduleState
    ) -> DeformedGaussians:
        """Return the deformation of a frame to learn from."""

    def backward_and_step(self, grads: Gradients, schedule: ScheduleState, rate: float) -> Float32Array:
        """Step the field after `forward_train`, its rates times `rate`; return dL/d(table) [N, W]."""

    def dynamic_mask(self, count: int) -> tuple[NDArray[np.bool_], int]:
        """Return which of N Gaussians have rows of their own, and how many more could have."""

    def remap_gaussians(self, densified: DensificationResult) -> None:
        """Follow a table that was densified and pruned."""

    def state_dict(self) -> Arrays:
        """Return all arrays that training changes."""

    def load_state_dict(self, arrays: Arrays) -> None:
        """Continue from what `state_dict` returned."""


class TorchFieldTrainer:
    """Any field that is a function of position, trained by autograd."""

    def __init__(self, field: nn.Module, conditions: Conditions, config: TrainConfig) -> None:
        """Keep the field on the config's device; tables and gradients are exchanged as arrays."""
        rates = config.rates
        self._field, self._conditions, self._rates = field, conditions, rates
        self._use_mask, self._device = config.losses.mask > 0, torch.device(config.device)
        planes = [p for p in field.parameters() if p.dim() > 2]
        nets = [p for p in field.parameters() if p.dim() <= 2]
        groups = [{"params": p, "base_lr": r} for p, r in ((planes, rates.planes), (nets, rates.field)) if p]
        self._optimizer = torch.optim.Adam(groups, lr=0.0, eps=1e-15)
        self._graph: tuple[Tensor, list[Tensor]] | None = None

    @property
    def field(self) -> Field:
        """Return the field as it is now."""
        result: Field = self._field
        return result

    def set_motion(self, dataset: Dataset) -> None:
        """Use the motion of a data set."""
        self._conditions = self._conditions.with_dataset(dataset)

    def forward_eval(
        self, table: Float32Array, frame_index: int, schedule: ScheduleState
    ) -> DeformedGaussians:
        """Return the deformation of a frame; changes nothing."""
        with torch.no_grad():
            return self.forward_train(table, frame_index, schedule)

    def forward_train(
        self, table: Float32Array, frame_index: int, schedule: ScheduleState
    ) -> DeformedGaussians:
        """Evaluate the field; in the canonical stage it may change the rest shape, but nothing moves."""
        leaf = torch.from_numpy(table).to(self._device).detach().requires_grad_()
        canonical = self.field.canonical(unpack(leaf))
        canonical_table = pack(canonical, leaf[:, SKIN])
        if schedule.stage == CANONICAL:
            self._graph = leaf, [canonical_table]
            return DeformedGaussians(
                _array(canonical_table), np.empty(0, np.int64), np.empty((0, DELTA_CHANNELS), np.float32)
            )
        deformation = self.field.forward(canonical.means, self._condition(frame_index))
        outputs = [canonical_table, deformation.deltas]
        dynamism = deformation.dynamism if self._use_mask else None
        if dynamism is not None:
            outputs.append(dynamism)
        self._graph = leaf, outputs
        arrays = [_array(output) for output in outputs]
        return DeformedGaussians(arrays[0], np.arange(len(table)), *arrays[1:])

    def motion_grad(self, table: Float32Array, frame_index: int, grads: Gradients) -> Float32Array:
        """Return dL/d(mouth modes and controls) [16] for a frame that `forward_eval` deformed."""
        condition = self._condition(frame_index)
        inputs = [condition.mouth.requires_grad_(), condition.controls.requires_grad_()]
        canonical = self.field.canonical(unpack(torch.from_numpy(table).to(self._device)))
        deltas = self.field.forward(canonical.means, condition).deltas
        output_grads = torch.from_numpy(grads.deltas).to(self._device)
        result = torch.autograd.grad(deltas, inputs, output_grads, allow_unused=True, materialize_grads=True)
        return np.concatenate([_array(grad) for grad in result])

    def _condition(self, frame_index: int) -> Condition:
        result = self._conditions(frame_index)
        tensors = (result.mouth, result.controls, result.pose, result.audio)
        return Condition(*(None if tensor is None else tensor.to(self._device) for tensor in tensors))

    def backward_and_step(self, grads: Gradients, schedule: ScheduleState, rate: float) -> Float32Array:
        """Back-propagate through the field, and make a step of Adam."""
        assert self._graph is not None
        leaf, outputs = self._graph
        output_grads = [grads.table, grads.deltas, grads.dynamism][: len(outputs)]
        tensors = [torch.from_numpy(a).to(self._device) for a in output_grads if a is not None]
        torch.autograd.backward(outputs, tensors)
        self._graph = None
        decayed_rate = rate * self._rates.final_lr_ratio**schedule.progress
        for group in self._optimizer.param_groups:
            group["lr"] = group["base_lr"] * decayed_rate
        self._optimizer.step()
        self._optimizer.zero_grad()
        assert leaf.grad is not None
        return _array(leaf.grad)

    def dynamic_mask(self, count: int) -> tuple[NDArray[np.bool_], int]:
        """Return none: a field of positions has no rows."""
        return np.zeros(count, np.bool_), 0

    def remap_gaussians(self, densified: DensificationResult) -> None:
        """Do nothing: a field of positions does not depend on the table."""

    def state_dict(self) -> Arrays:
        """Return parameters and running means."""
        result: Arrays = {f"field.{k}": v.cpu().numpy() for k, v in self._field.state_dict().items()}
        state = self._optimizer.state_dict()["state"]
        for index, values in state.items():
            result |= {f"adam.{index}.{k}": v.cpu().numpy() for k, v in values.items()}
        return result

    def load_state_dict(self, arrays: Arrays) -> None:
        """Continue from what `state_dict` returned."""
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
                _, index, key = name.split(".")
                state.setdefault(int(index), {})[key] = torch.from_numpy(value.copy())
        optimizer_state = self._optimizer.state_dict()
        self._optimizer.load_state_dict({**optimizer_state, "state": state})


def _array(tensor: Tensor) -> Float32Array:
    result: Float32Array = np.ascontiguousarray(tensor.detach().cpu().numpy())
    return result


_MASKED_EVERY = 4  # frames: rendering the dynamism costs a fifth of a step
_MAP = ("linear", "w1", "b1", "w2")


class BasisFieldTrainer:
    """A basis field over the Gaussians `dynamic_indices` of the table."""

    def __init__(
        self, field: BasisField, motion: Float32Array, config: TrainConfig, workers: Workers
    ) -> None:
        """Train the field's tensors in place; motion [F, 16] of all frames of the data set."""
        self._field, self._motion, self._config, self._workers = field, motion, config, workers
        self._use_mask = config.losses.mask > 0 and field.dynamism is not None
        self._noise = config.regularization.motion_noise_std * motion_std(motion)
        self._bind_arrays()
        self._moments = {name: zero_adam_state(array) for name, array in self._parameters().items()}
        self._count = np.zeros(2, np.int64)  # forward passes, and steps of Adam
        self._forward: tuple[MotionMapGrad, Float32Array, Float32Array] | None = None

    def _bind_arrays(self) -> None:
        """Bind the field's tensors as arrays on the same memory."""
        field = self._field
        count = len(field.dynamic)
        self.dynamic_indices = field.dynamic.numpy()
        self._basis = field.basis.detach().numpy()
        # sigmoid(30) is 1: a field without dynamism.
        constant = torch.full((count,), 30.0)
        self._dynamism = (constant if field.dynamism is None else field.dynamism.detach()).numpy()
        self._map = {name: getattr(field.motion, name).detach().numpy() for name in _MAP}

    @property
    def field(self) -> BasisField:
        """Return the field as it is now."""
        return self._field

    def set_motion(self, dataset: Dataset) -> None:
        """Use the motion of a data set."""
        self._motion = all_motion(dataset)

    def forward_eval(
        self, table: Float32Array, frame_index: int, schedule: ScheduleState
    ) -> DeformedGaussians:
        """Return the deformation of a frame without noise."""
        coefficients = MotionMapGrad(self._motion[frame_index], **self._map).coefficients
        full_deltas = apply_basis(self._basis, coefficients, self._workers)
        return DeformedGaussians(
            table, self.dynamic_indices, full_deltas / (1 + np.exp(-self._dynamism[:, None]))
        )

    def motion_grad(self, table: Float32Array, frame_index: int, grads: Gradients) -> Float32Array:
        """Return dL/d(motion) [16] for a frame that `forward_eval` deformed."""
        _, coefficients_grad = self._basis_grads(grads, 1 / (1 + np.exp(-self._dynamism)))
        return MotionMapGrad(self._motion[frame_index], **self._map).input_grad(coefficients_grad)

    def forward_train(
        self, table: Float32Array, frame_index: int, schedule: ScheduleState
    ) -> DeformedGaussians:
        """Return the deformation of a frame with noise; every fourth one includes the dynamism.

        Motion is known to a few percent only: without noise a basis overfits to every frame.
        """
        generator = np.random.default_rng([self._config.seed, 4, int(self._count[0])])
        noise = self._noise * generator.standard_normal(len(self._noise), np.float32)
        motion_map = MotionMapGrad(self._motion[frame_index] + noise, **self._map)
        full_deltas = apply_basis(self._basis, motion_map.coefficients, self._workers)
        dynamism = 1 / (1 + np.exp(-self._dynamism))
        self._forward = motion_map, full_deltas, dynamism
        self._count[0] += 1
        with_dynamism = self._use_mask and schedule.stage != CANONICAL and self._count[0] % _MASKED_EVERY == 0
        return DeformedGaussians(
            table, self.dynamic_indices, full_deltas * dynamism[:, None], dynamism if with_dynamism else None
        )

    def backward_and_step(self, grads: Gradients, schedule: ScheduleState, rate: float) -> Float32Array:
        """Make a step of Adam on basis, map and dynamism; in the canonical stage they stay."""
        assert self._forward is not None
        motion_map, full_deltas, dynamism = self._forward
        if schedule.stage == CANONICAL:
            return grads.table
        self._count[1] += 1
        steps = int(self._count[1])
        deltas_grad, coefficients_grad = self._basis_grads(grads, dynamism)
        rates, moments = self._config.rates, self._moments
        decayed_rate = rate * schedule.warmup * rates.final_lr_ratio**schedule.progress
        step = LowRankGradient(
            grads=deltas_grad,
            coefficients=motion_map.coefficients,
            rates=basis_rates(rates, schedule) * np.float32(rate),
            steps=steps,
            weight_decay_factor=1 - self._config.regularization.basis_weight_decay * decayed_rate,
        )
        step_basis(self._basis, moments["basis"], step, self._workers)
        for name, grad in motion_map.parameter_grads(coefficients_grad).items():
            step_array(self._map[name], grad, moments[name], rates.field * decayed_rate, steps)
        if self._use_mask:
            dynamism_grad = (grads.deltas * full_deltas).sum(axis=1)
            if grads.dynamism is not None:
                dynamism_grad += _MASKED_EVERY * grads.dynamism
            dynamism_grad *= dynamism * (1 - dynamism)
            step_array(
                self._dynamism, dynamism_grad, moments["dynamism"], rates.opacity * decayed_rate * 0.3, steps
            )
        return grads.table

    def _basis_grads(self, grads: Gradients, dynamism: Float32Array) -> tuple[Float32Array, Float32Array]:
        """Return dL/d(basis @ coefficients) [M, 14] and dL/d(coefficients) [K]; `dynamism` is [M]."""
        deltas_grad: Float32Array = grads.deltas * dynamism[:, None] * self._field.mask.numpy()
        return deltas_grad, coefficient_grad(self._basis, deltas_grad, self._workers)

    def dynamic_mask(self, count: int) -> tuple[NDArray[np.bool_], int]:
        """Return the Gaussians of the basis; no more can be added."""
        dynamic = np.zeros(count, np.bool_)
        dynamic[self.dynamic_indices] = True
        return dynamic, 0

    def remap_gaussians(self, densified: DensificationResult) -> None:
        """Let the halves of a split Gaussian move as it did."""
        sources = self._field.remap_gaussians(torch.from_numpy(densified.sources)).numpy()
        self._bind_arrays()
        is_new = densified.is_new[self.dynamic_indices]
        for name in ("basis", "dynamism"):
            first, second = self._moments[name].exp_avg[sources], self._moments[name].exp_avg_sq[sources]
            first[is_new] = 0
            self._moments[name] = AdamState(first, second)

    def state_dict(self) -> Arrays:
        """Return all arrays that training changes."""
        result: Arrays = {
            "rows": self.dynamic_indices,
            "total": np.array(self._field.count),
            "count": self._count,
        }
        result |= self._parameters()
        for name, moments in self._moments.items():
            result |= {f"{name}.first": moments.exp_avg, f"{name}.second": moments.exp_avg_sq}
        return result

    def load_state_dict(self, arrays: Arrays) -> None:
        """Continue from what `state_dict` returned."""
        field = self._field
        result: dict[str, Any] = {name: np.array(array) for name, array in arrays.items()}
        field.dynamic, field.count = torch.from_numpy(result["rows"]), int(result["total"])
        field.basis = nn.Parameter(torch.from_numpy(result["basis"]))
        if field.dynamism is not None:
            field.dynamism = nn.Parameter(torch.from_numpy(result["dynamism"]))
        for name in _MAP:
            getattr(field.motion, name).data = torch.from_numpy(result[name])
        self._bind_arrays()
        self._count = result["count"]
        self._moments = {
            name: AdamState(result[f"{name}.first"], result[f"{name}.second"]) for name in self._parameters()
        }

    def _parameters(self) -> dict[str, Float32Array]:
        return {"basis": self._basis, "dynamism": self._dynamism, **self._map}
