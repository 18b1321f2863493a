# SPDX-License-Identifier: Apache-2.0
"""Loss of a rendered frame: the definition in plain torch, the same in compiled loops, and the targets.

L = l1 mean(W |x - y|) + lips mean over the lips' box(|x - y|) + dssim mean(W (1 - SSIM) / 2)
  + mask mean(max(0, |m - g| - margin)) + outside mean(o (1 - T)) + inside mean(p T)

W weighs regions, m is the dilated mask of mouth and eyes, g the rendered dynamism (Audio-Plane, eq. 9), lips
is GaussianTalker's extra term. o is where only the background is, p where the person is, T the transmittance:
a head that rendered the background as well would carry pieces of it in front of every other one, and a
transparent person would be glass. SSIM is that of Wang et al. 2004 (11 x 11 Gaussian, sigma 1.5, zeros
outside) on luma: a third of the cost on RGB.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from splatface.models.render.jit import Workers
from splatface.models.render.render import RenderOutput
from splatface.models.training.dataset.frame_images import (
    LossWeights,
    box_of,
    eyes_mask,
    loss_weights,
    mouth_mask,
    person_mask,
    read_image,
    read_labels,
    silhouette_trimap,
)
from splatface.models.training.dataset.types import Dataset
from splatface.models.training.evaluation.image_metrics import (
    lpips_network,
    psnr_db,
    st_lpips_network,
    structural_similarity,
    to_minus1_1,
)
from splatface.models.training.optimization.gaussian_skinning import chunk_bounds
from splatface.models.training.optimization.train_config import LossConfig
from splatface.models.typing import BoolArray, Float32Array, UInt8Array

__all__ = [
    "LUMA",
    "WEIGHT_STEP",
    "WINDOW",
    "ImageLoss",
    "ImageLossResult",
    "ImageTarget",
    "PerceptualLoss",
    "TargetCache",
    "add_perceptual_loss",
    "image_psnr_db",
    "make_perceptual_loss",
    "make_target",
    "mask_loss",
    "silhouette_loss",
    "ssim_map",
    "weighted_image_loss",
]

WEIGHT_STEP = 1 / 32  # weights of regions are stored as bytes of this step
LUMA = (0.299, 0.587, 0.114)


def _gaussian_window() -> NDArray[np.float64]:
    window: NDArray[np.float64] = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    window /= window.sum()
    return window


WINDOW: NDArray[np.float64] = _gaussian_window()  # [11], sum 1


@dataclass(frozen=True, slots=True, eq=False)
class ImageTarget:
    """Ground truth that one frame is compared with."""

    image: UInt8Array  # [H, W, 3]
    weights: UInt8Array  # [H, W] in WEIGHT_STEP
    dynamic_mask: UInt8Array  # [H, W] 255 where mouth and eyes are, dilated
    silhouette_trimap: NDArray[np.int8]  # [H, W] 1: person, -1: background, 0: edge
    lips: tuple[int, int, int, int]  # top, left, bottom, right in px; (0, 0, 0, 0) where not visible


def weighted_image_loss(image: Tensor, target: ImageTarget, config: LossConfig) -> Tensor:
    """Return the loss of an image [H, W, 3], 0..1, without the terms of mask and silhouette."""
    truth = torch.from_numpy(target.image).to(image) / 255
    weights = torch.from_numpy(target.weights).to(image) * WEIGHT_STEP
    error = (image - truth).abs().mean(dim=2)
    value = config.l1 * (weights * error).mean()
    top, left, bottom, right = target.lips
    if config.lips and bottom > top:
        value = value + config.lips * error[top:bottom, left:right].mean()
    if config.dssim:
        luma = image.new_tensor(LUMA)
        dissimilarity = 1 - ssim_map(image @ luma, truth @ luma)
        value = value + config.dssim * (weights * dissimilarity).mean() / 2
    return value


def mask_loss(dynamism: Tensor, mask: Tensor, margin: float) -> Tensor:
    """Return the distance of the rendered dynamism [H, W] from the mask [H, W] beyond a margin.

    The margin is there because dynamism is not binary (Audio-Plane, eq. 9).
    """
    return ((mask - dynamism).abs() - margin).clamp(min=0).mean()


def silhouette_loss(transmittance: Tensor, trimap: NDArray[np.int8], config: LossConfig) -> Tensor:
    """Return the loss of opacity where nobody is, and of transmittance [H, W] where somebody is."""
    sign = torch.from_numpy(trimap).to(transmittance)
    opaque_background = (-sign).clamp(min=0) * (1 - transmittance)
    transparent_person = sign.clamp(min=0) * transmittance
    return (
        config.background_opacity_weight * opaque_background.mean()
        + config.foreground_transparency_weight * transparent_person.mean()
    )


def ssim_map(x: Tensor, y: Tensor) -> Tensor:
    """Return the structural similarity [H, W] of two planes [H, W] in 0..1; outside the image is 0."""
    window = torch.from_numpy(WINDOW).to(x)
    kernel = (window[:, None] * window)[None, None]

    def blur(plane: Tensor) -> Tensor:
        return torch.nn.functional.conv2d(plane[None, None], kernel, padding=5)[0, 0]

    return structural_similarity(x, y, blur)


def image_psnr_db(image: Float32Array, target: ImageTarget) -> float:
    """Return the peak signal-to-noise ratio of an image [H, W, 3], 0..1, against its target."""
    return psnr_db(float(np.mean((image - target.image / 255.0) ** 2)))


f4 = np.float32
_OPTIONS = {"cache": True, "nogil": True, "fastmath": True, "error_model": "numpy", "boundscheck": False}
_PAD = 5
_WINDOW_F32: Float32Array = WINDOW.astype(np.float32)
_R, _G, _B = (f4(scale) for scale in LUMA)
_C1, _C2 = f4(0.01**2), f4(0.03**2)


@dataclass(frozen=True, slots=True, eq=False)
class ImageLossResult:
    """A loss and its gradients."""

    value: float
    squared_error: float  # mean over the image
    image_grad: Float32Array  # [H, W, 3], an internal buffer, valid until the next call
    transmittance_grad: Float32Array  # [H, W]
    dynamism_grad: Float32Array | None  # [H, W, 1]


class ImageLoss:
    """Loss and gradients of images of one size; keeps its buffers."""

    def __init__(self, height: int, width: int, config: LossConfig, workers: Workers) -> None:
        def padded() -> Float32Array:
            # Zeros all around, as many as the window reaches; the width is rounded up to whole vectors.
            return np.zeros((height + 2 * _PAD, width + 2 * _PAD + 6), f4)

        self.config, self.workers = config, workers
        self._size = (height, width)
        self._planes = (padded(), padded())
        self._maps = (padded(), padded(), padded())
        self._grads = np.empty((height, width, 3), f4)
        self._through = np.empty((height, width), f4)
        self._dynamism = np.empty((height, width, 1), f4)

    def __call__(self, rendered: RenderOutput, target: ImageTarget) -> ImageLossResult:
        """Return loss and gradients of an image [H, W, 3]; an extra channel [H, W, 1] is dynamism."""
        image, dynamism = rendered.image, rendered.extra
        config, (height, width) = self.config, self._size
        pixels = height * width
        top, left, bottom, right = target.lips
        lips = max((bottom - top) * (right - left), 1)
        scales = (f4(config.l1 * WEIGHT_STEP / (3 * pixels)), f4(config.lips / (3 * lips)))
        sums = np.zeros((self.workers.threads, 3))

        def colors(k: int) -> None:
            rows = self._rows(k)
            sums[k, :2] = _l1_rows(
                rows, image, target.image, target.weights, target.lips, scales, *self._buffers()
            )

        self.workers.run(colors)
        if config.dssim:
            scale = f4(config.dssim * WEIGHT_STEP / (2 * pixels))
            self.workers.run(lambda k: self._ssim_forward(k, target, scale, sums))
            self.workers.run(
                lambda k: _ssim_backward_rows(
                    self._rows(k), self._planes, self._maps, _WINDOW_F32, self._grads
                )
            )
        value = float(sums[:, 0].sum() + sums[:, 2].sum())
        weights_by_sign = (
            f4(config.background_opacity_weight / pixels),
            f4(config.foreground_transparency_weight / pixels),
        )
        value += _silhouette(rendered.transmittance, target.silhouette_trimap, weights_by_sign, self._through)
        dynamism_grad = None
        if dynamism is not None:
            scale = f4(config.mask / pixels)
            value += _dynamism_mask(
                dynamism, target.dynamic_mask, f4(config.mask_margin), scale, self._dynamism
            )
            dynamism_grad = self._dynamism
        return ImageLossResult(
            value, float(sums[:, 1].sum()) / (3 * pixels), self._grads, self._through, dynamism_grad
        )

    def _buffers(self) -> tuple[Float32Array, tuple[Float32Array, Float32Array]]:
        return self._grads, self._planes

    def _ssim_forward(
        self, k: int, target: ImageTarget, scale: np.float32, sums: NDArray[np.float64]
    ) -> None:
        sums[k, 2] = _ssim_rows(self._rows(k), self._planes, target.weights, _WINDOW_F32, scale, self._maps)

    def _rows(self, k: int) -> tuple[int, int]:
        return chunk_bounds(self._size[0], k, self.workers)


@numba.njit(**_OPTIONS)
def _l1_rows(rows, image, truth, weights, lips, scales, grads, planes):  # type: ignore[no-untyped-def]
    """Compute weighted L1 with its gradient, the squared error, and both lumas, padded."""
    width = image.shape[1]
    to_unit = f4(1 / 255)
    total = squared = 0.0
    for y in range(rows[0], rows[1]):
        line_x, line_y = planes[0][y + _PAD, _PAD:], planes[1][y + _PAD, _PAD:]
        row_total, row_squared = f4(0), f4(0)
        for x in range(width):
            w = scales[0] * f4(weights[y, x])
            if lips[0] <= y < lips[2] and lips[1] <= x < lips[3]:
                w += scales[1]
            p0, p1, p2 = image[y, x, 0], image[y, x, 1], image[y, x, 2]
            t0, t1, t2 = truth[y, x, 0] * to_unit, truth[y, x, 1] * to_unit, truth[y, x, 2] * to_unit
            e0, e1, e2 = p0 - t0, p1 - t1, p2 - t2
            row_total += w * (abs(e0) + abs(e1) + abs(e2))
            row_squared += e0 * e0 + e1 * e1 + e2 * e2
            grads[y, x, 0] = math.copysign(w, e0)
            grads[y, x, 1] = math.copysign(w, e1)
            grads[y, x, 2] = math.copysign(w, e2)
            line_x[x] = _R * p0 + _G * p1 + _B * p2
            line_y[x] = _R * t0 + _G * t1 + _B * t2
        total += float(row_total)
        squared += float(row_squared)
    return total, squared


@numba.njit(**_OPTIONS)
def _blur_row(line, window, out):  # type: ignore[no-untyped-def]
    """Blur one padded line [width + 10] along itself."""
    width = len(out)
    for i in range(width):
        out[i] = window[5] * line[i + 5]
    for t in range(5):
        near, far = line[t : t + width], line[10 - t : 10 - t + width]
        for i in range(width):
            out[i] += window[t] * (near[i] + far[i])


@numba.njit(**_OPTIONS)
def _ssim_rows(rows, planes, weights, window, scale, maps):  # type: ignore[no-untyped-def]
    """Compute the sum of weighted 1 - SSIM, and the three maps of its gradient."""
    plane_x, plane_y = planes
    width = weights.shape[1]
    span = width + 2 * _PAD
    sums = np.zeros((5, span), np.float32)
    blurred = np.empty((5, width), np.float32)
    total = 0.0
    for y in range(rows[0], rows[1]):
        sums[:] = f4(0)
        s0, s1, s2, s3, s4 = sums[0], sums[1], sums[2], sums[3], sums[4]
        for t in range(11):
            tap, line_x, line_y = window[t], plane_x[y + t], plane_y[y + t]
            for i in range(span):
                u, v = line_x[i], line_y[i]
                s0[i] += tap * u
                s1[i] += tap * v
                s2[i] += tap * u * u
                s3[i] += tap * v * v
                s4[i] += tap * u * v
        for j in range(5):
            _blur_row(sums[j], window, blurred[j])
        mean_x, mean_y, xx, yy, xy = blurred[0], blurred[1], blurred[2], blurred[3], blurred[4]
        a, b, c = maps[0][y + _PAD, _PAD:], maps[1][y + _PAD, _PAD:], maps[2][y + _PAD, _PAD:]
        weight = weights[y]
        row_total = f4(0)
        for i in range(width):
            u, v = mean_x[i], mean_y[i]
            numerator_1, numerator_2 = f4(2) * u * v + _C1, f4(2) * (xy[i] - u * v) + _C2
            denominator_1, denominator_2 = u * u + v * v + _C1, xx[i] - u * u + yy[i] - v * v + _C2
            inverse = f4(1) / (denominator_1 * denominator_2)
            similarity = numerator_1 * numerator_2 * inverse
            w = scale * f4(weight[i])
            row_total += w * (f4(1) - similarity)
            d_xx = -similarity * denominator_1 * inverse
            d_xy = f4(2) * numerator_1 * inverse
            d_mean = f4(2) * v * numerator_2 * inverse - similarity * f4(2) * u * denominator_2 * inverse
            a[i] = -w * (d_mean - f4(2) * u * d_xx - v * d_xy)
            b[i] = -w * d_xx
            c[i] = -w * d_xy
        total += float(row_total)
    return total


@numba.njit(**_OPTIONS)
def _ssim_backward_rows(rows, planes, maps, window, grads):  # type: ignore[no-untyped-def]
    """Add the gradient of the SSIM term: the blur is its own transpose."""
    width = grads.shape[1]
    span = width + 2 * _PAD
    sums = np.zeros((3, span), np.float32)
    blurred = np.empty((3, width), np.float32)
    for y in range(rows[0], rows[1]):
        sums[:] = f4(0)
        s0, s1, s2 = sums[0], sums[1], sums[2]
        for t in range(11):
            tap, a, b, c = window[t], maps[0][y + t], maps[1][y + t], maps[2][y + t]
            for i in range(span):
                s0[i] += tap * a[i]
                s1[i] += tap * b[i]
                s2[i] += tap * c[i]
        for j in range(3):
            _blur_row(sums[j], window, blurred[j])
        line_x, line_y = planes[0][y + _PAD, _PAD:], planes[1][y + _PAD, _PAD:]
        a, b, c = blurred[0], blurred[1], blurred[2]
        for x in range(width):
            luma_grad = a[x] + f4(2) * line_x[x] * b[x] + line_y[x] * c[x]
            grads[y, x, 0] += _R * luma_grad
            grads[y, x, 1] += _G * luma_grad
            grads[y, x, 2] += _B * luma_grad


@numba.njit(**_OPTIONS)
def _silhouette(transmittance, trimap, weights_by_sign, grads):  # type: ignore[no-untyped-def]
    total = 0.0
    for y in range(trimap.shape[0]):
        row = f4(0)
        for x in range(trimap.shape[1]):
            outside, inside = weights_by_sign[0] * (trimap[y, x] < 0), weights_by_sign[1] * (trimap[y, x] > 0)
            row += outside * (f4(1) - transmittance[y, x]) + inside * transmittance[y, x]
            grads[y, x] = inside - outside
        total += float(row)
    return total


@numba.njit(**_OPTIONS)
def _dynamism_mask(rendered, mask, margin, scale, grads):  # type: ignore[no-untyped-def]
    total = 0.0
    for y in range(mask.shape[0]):
        for x in range(mask.shape[1]):
            difference = rendered[y, x, 0] - mask[y, x] * f4(1 / 255)
            excess = abs(difference) - margin
            if excess > f4(0):
                total += scale * excess
                grads[y, x, 0] = math.copysign(scale, difference)
            else:
                grads[y, x, 0] = f4(0)
    return total


# Maps image and truth [H, W, 3] in 0..1 to the weighted term, a scalar with a gradient.
PerceptualLoss = Callable[[Tensor, Tensor], Tensor]


def make_perceptual_loss(config: LossConfig, device: str = "cpu") -> PerceptualLoss | None:
    """Return the perceptual term: LPIPS from a user's file or ST-LPIPS; None where its weight is 0.

    Raises:
        MetricError: when the file or the package is missing.
    """
    if not config.perceptual:
        return None
    file = config.perceptual_weights
    network = (lpips_network(Path(file)) if file else st_lpips_network()).to(device)

    def perceptual_loss(image: Tensor, truth: Tensor) -> Tensor:
        return config.perceptual * network(to_minus1_1(image), to_minus1_1(truth)).squeeze()

    return perceptual_loss


def add_perceptual_loss(
    perceptual_loss: PerceptualLoss,
    image: NDArray[np.float32],
    truth: NDArray[np.uint8],
    grads: NDArray[np.float32],
) -> float:
    """Return the perceptual term of an image [H, W, 3]; add its gradient to `grads`."""
    leaf = torch.from_numpy(image.copy()).requires_grad_()
    value = perceptual_loss(leaf, torch.from_numpy(truth.astype(np.float32) / 255))
    (grad,) = torch.autograd.grad(value, leaf)
    grads += grad.numpy()
    return float(value.detach())


_LIPS_MARGIN, _MASK_DILATION, _EDGE = 0.02, 0.02, 0.012  # fractions of the image height


def make_target(dataset: Dataset, frame_index: int, config: LossConfig) -> ImageTarget:
    """Return image, weights, masks and lips' box of a frame."""
    parts = read_labels(dataset, frame_index)
    height = len(parts)
    region_weights = LossWeights(
        background=config.background,
        person=config.person,
        face=config.person,
        eyes=config.eyes,
        mouth=config.mouth,
    )
    weights = np.clip(loss_weights(parts, region_weights) / WEIGHT_STEP + 0.5, 0, 255).astype(np.uint8)
    dilation = _MASK_DILATION * height
    dynamic_mask = (mouth_mask(parts, dilation) | eyes_mask(parts, dilation)).astype(np.uint8) * 255
    box = box_of(mouth_mask(parts), round(_LIPS_MARGIN * height))
    lips = (0, 0, 0, 0) if box is None else (box[0], box[2], box[1], box[3])
    trimap = silhouette_trimap(parts, _EDGE * height)
    return ImageTarget(read_image(dataset, frame_index), weights, dynamic_mask, trimap, lips)


class TargetCache:
    """Targets of a data set by frame; each is decoded once, those that come first stay in memory.

    One cache serves training, validation, refinement and fine-tuning of a run.
    """

    def __init__(self, dataset: Dataset, config: LossConfig, max_gb: float) -> None:
        """Keep targets until `max_gb` (1e9 bytes) are full."""
        self._dataset, self._config = dataset, config
        self._free_bytes = max_gb * 1e9
        self._targets: dict[int, ImageTarget] = {}

    def person_mask(self, frame_index: int) -> BoolArray:
        """Return where the person is [H, W]. Raises DatasetError where the file is damaged."""
        return person_mask(read_labels(self._dataset, frame_index))

    def __call__(self, frame_index: int) -> ImageTarget:
        """Return the target of a frame. Raises DatasetError where its files are damaged."""
        target = self._targets.get(frame_index)
        if target is None:
            target = make_target(self._dataset, frame_index, self._config)
            size = 2 * target.image.nbytes  # and three masks
            if size <= self._free_bytes:
                self._free_bytes -= size
                self._targets[frame_index] = target
        return target
