"""The motion map of a head, fitted to the codes that a trained field took in the pictures it was shown."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from splatface.models.head.motion_map import MOTION_SIZE, MotionMap
from splatface.models.training.fields.gelu import gelu
from splatface.models.typing import Float64Array

__all__ = ["MotionFit", "TorchMotionMap", "fit_motion_map", "motion_map_of", "torch_map_of"]


_RIDGE = 1e-6  # of the mean square of the motion: what never moved in training drives nothing


@dataclass(frozen=True, slots=True, eq=False)
class MotionFit:
    """codes = at_rest + map(motion), as nearly as the map can say it."""

    motion_map: MotionMap
    at_rest: NDArray[np.float32]  # [K] the codes of a face at rest, to be folded into the Gaussians
    unexplained: float  # share 0..1 of the codes' energy that the motion does not tell


class TorchMotionMap(nn.Module):
    """`MotionMap` as something that learns; agrees with it to float32."""

    def __init__(self, linear: Tensor, hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        count = linear.shape[1]
        spread = MOTION_SIZE**-0.5
        self.linear = nn.Parameter(linear.clone())
        self.w1 = nn.Parameter(2 * spread * torch.randn(MOTION_SIZE, hidden, generator=generator))
        self.b1 = nn.Parameter(torch.randn(hidden, generator=generator) * 0.5)
        self.w2 = nn.Parameter(torch.zeros(hidden, count))  # the line alone, at first

    def forward(self, motion: Tensor) -> Tensor:
        """Codes [..., K] of motion [..., 16] (mouth modes, then controls)."""
        bend = gelu(motion @ self.w1 + self.b1) - gelu(self.b1)
        codes: Tensor = motion @ self.linear + bend @ self.w2
        return codes


def motion_map_of(learned: TorchMotionMap) -> MotionMap:
    """The numpy twin of a learned map."""
    parts = {
        name: np.ascontiguousarray(tensor.detach().cpu().numpy().astype(np.float32))
        for name, tensor in learned.named_parameters()
    }
    return MotionMap(**parts)


def torch_map_of(motion_map: MotionMap) -> TorchMotionMap:
    """A learned map that starts where `motion_map` is."""
    learned = TorchMotionMap(
        torch.from_numpy(motion_map.linear), len(motion_map.b1), torch.Generator().manual_seed(0)
    )
    with torch.no_grad():
        for name, parameter in learned.named_parameters():
            parameter.copy_(torch.from_numpy(getattr(motion_map, name)))
    return learned


def fit_motion_map(
    motion: Float64Array, codes: Float64Array, energies: Float64Array, *, hidden: int, steps: int, seed: int
) -> MotionFit:
    """Fit by least squares, then bend the line by Adam on all moments at once.

    Args:
        motion: [F, 16] mouth modes and controls.
        codes: [F, K] of mean square about 1.
        energies: [K] how much an error of each code counts.
        hidden: H of the bend, 0 for none.
        steps: of Adam, some hundred.
        seed: of the bend's first layer.

    What a line says already stays said by it: where the least squares are exact, Adam changes nothing.
    """
    linear, at_rest = _least_squares(motion, codes)
    generator = torch.Generator().manual_seed(seed)
    learned = TorchMotionMap(torch.from_numpy(linear).float(), hidden, generator)
    rest = nn.Parameter(torch.from_numpy(at_rest).float())
    x, y = torch.from_numpy(motion).float(), torch.from_numpy(codes).float()
    weight = torch.from_numpy(energies / max(float(energies.sum()), 1e-300)).float()

    def loss() -> Tensor:
        return (weight * (learned(x) + rest - y) ** 2).sum(1).mean()

    if hidden:
        _descend([*learned.parameters(), rest], loss, steps)
    with torch.no_grad():
        unexplained = float(loss())
    return MotionFit(motion_map_of(learned), rest.detach().numpy().astype(np.float32), unexplained)


def _least_squares(motion: Float64Array, codes: Float64Array) -> tuple[Float64Array, Float64Array]:
    mean_x, mean_y = motion.mean(axis=0), codes.mean(axis=0)
    x = motion - mean_x
    square = x.T @ x
    ridge = _RIDGE * max(float(np.trace(square)) / MOTION_SIZE, 1e-12) * np.eye(MOTION_SIZE)
    linear = np.linalg.solve(square + ridge, x.T @ (codes - mean_y))
    return linear, mean_y - mean_x @ linear


def _descend(parameters: list[nn.Parameter], loss: Callable[[], Tensor], steps: int) -> None:
    adam = torch.optim.Adam(parameters, lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, max(steps, 1))
    best, kept = float("inf"), [p.detach().clone() for p in parameters]
    for _ in range(steps):
        adam.zero_grad()
        value = loss()
        if float(value.detach()) < best:
            best, kept = float(value.detach()), [p.detach().clone() for p in parameters]
        value.backward()
        adam.step()
        schedule.step()
    with torch.no_grad():
        if not float(loss()) < best:
            for parameter, value in zip(parameters, kept, strict=True):
                parameter.copy_(value)
