"""The perceptual term of the loss: what a network thinks of how alike two pictures look."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from splatface.models.training.evaluation.perceptual import lpips_network, st_lpips_network, to_minus1_1
from splatface.models.training.optimization.config import LossConfig

__all__ = ["PerceptualLoss", "add_perceptual_loss", "make_perceptual_loss"]

# The picture and the truth [H, W, 3] in 0..1 to the weighted term, a scalar with a gradient.
PerceptualLoss = Callable[[Tensor, Tensor], Tensor]


def make_perceptual_loss(config: LossConfig, device: str = "cpu") -> PerceptualLoss | None:
    """The term that the config asks for, LPIPS from a user's file or ST-LPIPS; None where it weighs nothing.

    Raises:
        MetricError: when the file or the package is missing.
    """
    if not config.perceptual:
        return None
    file = config.perceptual_weights
    network = (lpips_network(Path(file)) if file else st_lpips_network()).to(device)

    def opinion(image: Tensor, truth: Tensor) -> Tensor:
        return config.perceptual * network(to_minus1_1(image), to_minus1_1(truth)).squeeze()

    return opinion


def add_perceptual_loss(
    opinion: PerceptualLoss, image: NDArray[np.float32], truth: NDArray[np.uint8], slopes: NDArray[np.float32]
) -> float:
    """The term of a picture [H, W, 3]; its slopes are added to `slopes` [H, W, 3]."""
    leaf = torch.from_numpy(image.copy()).requires_grad_()
    value = opinion(leaf, torch.from_numpy(truth.astype(np.float32) / 255))
    (slope,) = torch.autograd.grad(value, leaf)
    slopes += slope.numpy()
    return float(value.detach())
