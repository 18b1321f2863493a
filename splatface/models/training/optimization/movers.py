"""How a training asks its field: what moves in a row, and what the field learns from it."""

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from splatface.models.head.splats import DELTA_CHANNELS
from splatface.models.training.dataset.types import Dataset
from splatface.models.training.fields.field import Condition, Field
from splatface.models.training.optimization.conditions import Conditions
from splatface.models.training.optimization.config import TrainConfig
from splatface.models.training.optimization.densify import DensificationResult
from splatface.models.training.optimization.packed import SKIN, pack, unpack
from splatface.models.training.optimization.pull import DeformedGaussians, Gradients
from splatface.models.training.optimization.schedule import CANONICAL, ScheduleState
from splatface.models.typing import Float32Array

__all__ = ["FieldTrainer", "TorchFieldTrainer"]


Arrays = dict[str, NDArray[np.generic]]


class FieldTrainer(Protocol):
    """A field in training."""

    @property
    def field(self) -> Field:
        """The field as it is now."""

    def set_motion(self, dataset: Dataset) -> None:
        """Move as the frames of a data set say: the one that is trained on, better known by now."""

    def forward_eval(self, table: Float32Array, row: int, pace: ScheduleState) -> DeformedGaussians:
        """What a row looks like; changes nothing."""

    def motion_grad(self, table: Float32Array, row: int, slopes: Gradients) -> Float32Array:
        """dL/d(mouth modes and controls) [16] of the movements that `show` gave for a row.

        0 for what the field does not ask for: one driven by sound knows of no mouth mode.
        """

    def forward_train(self, table: Float32Array, row: int, pace: ScheduleState) -> DeformedGaussians:
        """What is drawn to learn from a row."""

    def backward_and_step(self, slopes: Gradients, pace: ScheduleState, rate: float) -> Float32Array:
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

    def forward_eval(self, table: Float32Array, row: int, pace: ScheduleState) -> DeformedGaussians:
        """What a row looks like; changes nothing."""
        with torch.no_grad():
            return self.forward_train(table, row, pace)

    def forward_train(self, table: Float32Array, row: int, pace: ScheduleState) -> DeformedGaussians:
        """Ask the field; in the canonical stage nothing moves, but the field may say how it rests."""
        leaf = torch.from_numpy(table).to(self._device).detach().requires_grad_()
        resting = self.field.canonical(unpack(leaf))
        whole = pack(resting, leaf[:, SKIN])
        if pace.stage == CANONICAL:
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

    def motion_grad(self, table: Float32Array, row: int, slopes: Gradients) -> Float32Array:
        """dL/d(mouth modes and controls) [16] of the movements that `show` gave for a row."""
        condition = self._condition(row)
        asked = [condition.mouth.requires_grad_(), condition.controls.requires_grad_()]
        resting = self.field.canonical(unpack(torch.from_numpy(table).to(self._device)))
        deltas = self.field.forward(resting.means, condition).deltas
        above = torch.from_numpy(slopes.deltas).to(self._device)
        found = torch.autograd.grad(deltas, asked, above, allow_unused=True, materialize_grads=True)
        return np.concatenate([_array(slope) for slope in found])

    def _condition(self, row: int) -> Condition:
        found = self._conditions(row)
        tensors = (found.mouth, found.controls, found.pose, found.audio)
        return Condition(*(None if tensor is None else tensor.to(self._device) for tensor in tensors))

    def backward_and_step(self, slopes: Gradients, pace: ScheduleState, rate: float) -> Float32Array:
        """Back through the field, and a step of Adam."""
        assert self._graph is not None
        leaf, outputs = self._graph
        above = [slopes.table, slopes.deltas, slopes.dynamism][: len(outputs)]
        tensors = [torch.from_numpy(a).to(self._device) for a in above if a is not None]
        torch.autograd.backward(outputs, tensors)
        self._graph = None
        cooled = rate * self._rates.last**pace.progress
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
