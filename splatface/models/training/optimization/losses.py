"""What a picture should look like: the definition in plain torch. `loss_kernels` is its fast twin.

L = l1 mean(W |x - y|) + lips mean over the lips' box(|x - y|) + dssim mean(W (1 - SSIM) / 2)
  + mask mean(max(0, |m - g| - margin)) + outside mean(o (1 - T)) + inside mean(p T)

W weighs regions, m is the dilated mask of mouth and eyes, g the drawn dynamism (Audio-Plane, eq. 9), lips is
GaussianTalker's extra term. o is where only the background is, p where the person is, T how much of the
background is seen: a head that drew the background as well would carry scraps of it before every other, one
that let it through would be glass. SSIM is that of Wang et al. 2004 (11 x 11 Gaussian, sigma 1.5, zeros
outside) on luma: a third of the cost on RGB, and the eye's own weighting.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from splatface.models.training.optimization.config import LossConfig
from splatface.models.typing import UInt8Array

__all__ = [
    "LUMA",
    "WEIGHT_STEP",
    "WINDOW",
    "Target",
    "mask_loss",
    "picture_loss",
    "psnr_db",
    "silhouette_loss",
    "ssim_map",
]


WEIGHT_STEP = 1 / 32  # weights of regions are stored as bytes of this step
LUMA = (0.299, 0.587, 0.114)
_C1, _C2 = 0.01**2, 0.03**2


def _window() -> NDArray[np.float64]:
    taps: NDArray[np.float64] = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    taps /= taps.sum()
    return taps


WINDOW: NDArray[np.float64] = _window()  # [11], sum 1


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """What one picture is compared with."""

    picture: UInt8Array  # [H, W, 3]
    weights: UInt8Array  # [H, W] in WEIGHT_STEP
    dynamic_mask: UInt8Array  # [H, W] 255 where mouth and eyes are, dilated
    silhouette_trimap: NDArray[
        np.int8
    ]  # [H, W] 1 where the person is, -1 where the background is, 0 at the edge
    lips: tuple[int, int, int, int]  # top, left, bottom, right in px; empty (0, 0, 0, 0) where unseen


def picture_loss(image: Tensor, target: Target, config: LossConfig) -> Tensor:
    """The loss of a picture [H, W, 3], 0..1, without the mask's term; a scalar."""
    truth = torch.from_numpy(target.picture).to(image) / 255
    weights = torch.from_numpy(target.weights).to(image) * WEIGHT_STEP
    off = (image - truth).abs().mean(dim=2)
    value = config.l1 * (weights * off).mean()
    top, left, bottom, right = target.lips
    if config.lips and bottom > top:
        value = value + config.lips * off[top:bottom, left:right].mean()
    if config.dssim:
        luma = image.new_tensor(LUMA)
        unlike = 1 - ssim_map(image @ luma, truth @ luma)
        value = value + config.dssim * (weights * unlike).mean() / 2
    return value


def mask_loss(drawn: Tensor, moving: Tensor, margin: float) -> Tensor:
    """How far the drawn dynamism [H, W] is from the mask [H, W], beyond a margin (dynamism is not binary)."""
    return ((moving - drawn).abs() - margin).clamp(min=0).mean()


def silhouette_loss(transmittance: Tensor, cover: NDArray[np.int8], config: LossConfig) -> Tensor:
    """How much of the background [H, W] is covered where nobody is, and seen where somebody is."""
    where = torch.from_numpy(cover).to(transmittance)
    covered, seen = (-where).clamp(min=0) * (1 - transmittance), where.clamp(min=0) * transmittance
    return (
        config.background_opacity_weight * covered.mean()
        + config.foreground_transparency_weight * seen.mean()
    )


def ssim_map(x: Tensor, y: Tensor) -> Tensor:
    """Structural similarity [H, W] of two planes [H, W] in 0..1."""
    window = torch.from_numpy(WINDOW).to(x)
    kernel = (window[:, None] * window)[None, None]

    def blur(plane: Tensor) -> Tensor:
        return torch.nn.functional.conv2d(plane[None, None], kernel, padding=5)[0, 0]

    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    both = blur(x * y) - mean_x * mean_y
    likeness = (2 * mean_x * mean_y + _C1) * (2 * both + _C2)
    return likeness / ((mean_x**2 + mean_y**2 + _C1) * (var_x + var_y + _C2))


def psnr_db(squared_error: float) -> float:
    """Peak signal-to-noise ratio of a mean squared error of pictures in 0..1, at most 100."""
    return float(-10 * np.log10(max(squared_error, 1e-10)))
