"""x"""

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
    labels,
    loss_weights,
    mouth_mask,
    person_mask,
    picture,
    silhouette_trimap,
)
from splatface.models.training.dataset.types import Dataset
from splatface.models.training.evaluation.image_metrics import (
    lpips_network,
    st_lpips_network,
    structural_similarity,
    to_minus1_1,
)
from splatface.models.training.optimization.train_config import LossConfig
from splatface.models.typing import Float32Array, UInt8Array

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
    "make_perceptual_loss",
    "make_target",
    "mask_loss",
    "picture_loss",
    "silhouette_loss",
    "ssim_map",
]

WEIGHT_STEP = 1 / 32  # weights of regions are stored as bytes of this step
LUMA = (0.299, 0.587, 0.114)


def _window() -> NDArray[np.float64]:
    taps: NDArray[np.float64] = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    taps /= taps.sum()
    return taps


WINDOW: NDArray[np.float64] = _window()  # [11], sum 1


@dataclass(frozen=True, slots=True, eq=False)
class ImageTarget:
    """What one picture is compared with."""

    picture: UInt8Array  # [H, W, 3]
    weights: UInt8Array  # [H, W] in WEIGHT_STEP
    dynamic_mask: UInt8Array  # [H, W] 255 where mouth and eyes are, dilated
    silhouette_trimap: NDArray[
        np.int8
    ]  # [H, W] 1 where the person is, -1 where the background is, 0 at the edge
    lips: tuple[int, int, int, int]  # top, left, bottom, right in px; empty (0, 0, 0, 0) where unseen


def picture_loss(image: Tensor, target: ImageTarget, config: LossConfig) -> Tensor:
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
    """Return the structural similarity [H, W] of two planes [H, W] in 0..1; outside the image is 0."""
    window = torch.from_numpy(WINDOW).to(x)
    kernel = (window[:, None] * window)[None, None]

    def blur(plane: Tensor) -> Tensor:
        return torch.nn.functional.conv2d(plane[None, None], kernel, padding=5)[0, 0]

    return structural_similarity(x, y, blur)


f4 = np.float32
_OPTIONS = {"cache": True, "nogil": True, "fastmath": True, "error_model": "numpy", "boundscheck": False}
_PAD = 5
_TAPS: Float32Array = WINDOW.astype(np.float32)
_R, _G, _B = (f4(share) for share in LUMA)
_C1, _C2 = f4(0.01**2), f4(0.03**2)


@dataclass(frozen=True, slots=True, eq=False)
class ImageLossResult:
    """A loss and its slopes."""

    value: float
    squared_error: float  # mean over the picture
    grads: Float32Array  # [H, W, 3] dL/d(image); the comparison's own array, until the next call
    transmittance_grad: Float32Array  # [H, W] dL/d(how much of the background is seen)
    dynamism_grad: Float32Array | None  # [H, W, 1] dL/d(drawn dynamism)


class ImageLoss:
    """Compares pictures of one size with their targets; keeps its buffers."""

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

    def __call__(self, drawn: RenderOutput, target: ImageTarget) -> ImageLossResult:
        """Loss and slopes of a picture [H, W, 3]; its extra channel [H, W, 1], if any, is dynamism."""
        image, dynamism = drawn.image, drawn.extra
        config, (height, width) = self.config, self._size
        pixels = height * width
        top, left, bottom, right = target.lips
        lips = max((bottom - top) * (right - left), 1)
        shares = (f4(config.l1 * WEIGHT_STEP / (3 * pixels)), f4(config.lips / (3 * lips)))
        sums = np.zeros((self.workers.threads, 3))

        def colors(k: int) -> None:
            rows = self._rows(k)
            sums[k, :2] = _l1(rows, image, target.picture, target.weights, target.lips, shares, *self._out())

        self.workers.run(colors)
        if config.dssim:
            share = f4(config.dssim * WEIGHT_STEP / (2 * pixels))
            self.workers.run(lambda k: self._ssim_forward(k, target, share, sums))
            self.workers.run(
                lambda k: _ssim_backward(self._rows(k), self._planes, self._maps, _TAPS, self._grads)
            )
        value = float(sums[:, 0].sum() + sums[:, 2].sum())
        costs = (
            f4(config.background_opacity_weight / pixels),
            f4(config.foreground_transparency_weight / pixels),
        )
        value += _cover(drawn.transmittance, target.silhouette_trimap, costs, self._through)
        above = None
        if dynamism is not None:
            share = f4(config.mask / pixels)
            value += _mask(dynamism, target.dynamic_mask, f4(config.mask_margin), share, self._dynamism)
            above = self._dynamism
        return ImageLossResult(
            value, float(sums[:, 1].sum()) / (3 * pixels), self._grads, self._through, above
        )

    def _out(self) -> tuple[Float32Array, tuple[Float32Array, Float32Array]]:
        return self._grads, self._planes

    def _ssim_forward(
        self, k: int, target: ImageTarget, share: np.float32, sums: NDArray[np.float64]
    ) -> None:
        sums[k, 2] = _ssim(self._rows(k), self._planes, target.weights, _TAPS, share, self._maps)

    def _rows(self, k: int) -> tuple[int, int]:
        height, threads = self._size[0], self.workers.threads
        return k * height // threads, (k + 1) * height // threads


@numba.njit(**_OPTIONS)
def _l1(rows, image, truth, weights, lips, shares, grads, planes):  # type: ignore[no-untyped-def]
    """Weighted L1 with its slopes, the squared error, and the lumas, padded."""
    width = image.shape[1]
    to_unit = f4(1 / 255)
    total = squared = 0.0
    for y in range(rows[0], rows[1]):
        line_x, line_y = planes[0][y + _PAD, _PAD:], planes[1][y + _PAD, _PAD:]
        row_total, row_squared = f4(0), f4(0)
        for x in range(width):
            w = shares[0] * f4(weights[y, x])
            if lips[0] <= y < lips[2] and lips[1] <= x < lips[3]:
                w += shares[1]
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
def _across(line, taps, out):  # type: ignore[no-untyped-def]
    """Blur one padded line [width + 10] along itself."""
    width = len(out)
    for i in range(width):
        out[i] = taps[5] * line[i + 5]
    for t in range(5):
        near, far = line[t : t + width], line[10 - t : 10 - t + width]
        for i in range(width):
            out[i] += taps[t] * (near[i] + far[i])


@numba.njit(**_OPTIONS)
def _ssim(rows, planes, weights, taps, share, maps):  # type: ignore[no-untyped-def]
    """Sum of the weighted 1 - SSIM, and the three maps that its slope is made of."""
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
            tap, line_x, line_y = taps[t], plane_x[y + t], plane_y[y + t]
            for i in range(span):
                u, v = line_x[i], line_y[i]
                s0[i] += tap * u
                s1[i] += tap * v
                s2[i] += tap * u * u
                s3[i] += tap * v * v
                s4[i] += tap * u * v
        for j in range(5):
            _across(sums[j], taps, blurred[j])
        mean_x, mean_y, xx, yy, xy = blurred[0], blurred[1], blurred[2], blurred[3], blurred[4]
        a, b, c = maps[0][y + _PAD, _PAD:], maps[1][y + _PAD, _PAD:], maps[2][y + _PAD, _PAD:]
        weight = weights[y]
        row_total = f4(0)
        for i in range(width):
            u, v = mean_x[i], mean_y[i]
            over_1, over_2 = f4(2) * u * v + _C1, f4(2) * (xy[i] - u * v) + _C2
            under_1, under_2 = u * u + v * v + _C1, xx[i] - u * u + yy[i] - v * v + _C2
            inverse = f4(1) / (under_1 * under_2)
            like = over_1 * over_2 * inverse
            w = share * f4(weight[i])
            row_total += w * (f4(1) - like)
            by_xx = -like * under_1 * inverse
            by_xy = f4(2) * over_1 * inverse
            by_mean = f4(2) * v * over_2 * inverse - like * f4(2) * u * under_2 * inverse
            a[i] = -w * (by_mean - f4(2) * u * by_xx - v * by_xy)
            b[i] = -w * by_xx
            c[i] = -w * by_xy
        total += float(row_total)
    return total


@numba.njit(**_OPTIONS)
def _ssim_backward(rows, planes, maps, taps, grads):  # type: ignore[no-untyped-def]
    """Add the slope of the SSIM's term: the blur is its own transpose."""
    width = grads.shape[1]
    span = width + 2 * _PAD
    sums = np.zeros((3, span), np.float32)
    blurred = np.empty((3, width), np.float32)
    for y in range(rows[0], rows[1]):
        sums[:] = f4(0)
        s0, s1, s2 = sums[0], sums[1], sums[2]
        for t in range(11):
            tap, a, b, c = taps[t], maps[0][y + t], maps[1][y + t], maps[2][y + t]
            for i in range(span):
                s0[i] += tap * a[i]
                s1[i] += tap * b[i]
                s2[i] += tap * c[i]
        for j in range(3):
            _across(sums[j], taps, blurred[j])
        line_x, line_y = planes[0][y + _PAD, _PAD:], planes[1][y + _PAD, _PAD:]
        a, b, c = blurred[0], blurred[1], blurred[2]
        for x in range(width):
            pull = a[x] + f4(2) * line_x[x] * b[x] + line_y[x] * c[x]
            grads[y, x, 0] += _R * pull
            grads[y, x, 1] += _G * pull
            grads[y, x, 2] += _B * pull


@numba.njit(**_OPTIONS)
def _cover(transmittance, cover, costs, grads):  # type: ignore[no-untyped-def]
    total = 0.0
    for y in range(cover.shape[0]):
        row = f4(0)
        for x in range(cover.shape[1]):
            outside, inside = costs[0] * (cover[y, x] < 0), costs[1] * (cover[y, x] > 0)
            row += outside * (f4(1) - transmittance[y, x]) + inside * transmittance[y, x]
            grads[y, x] = inside - outside
        total += float(row)
    return total


@numba.njit(**_OPTIONS)
def _mask(drawn, moving, margin, share, grads):  # type: ignore[no-untyped-def]
    total = 0.0
    for y in range(moving.shape[0]):
        for x in range(moving.shape[1]):
            off = drawn[y, x, 0] - moving[y, x] * f4(1 / 255)
            beyond = abs(off) - margin
            if beyond > f4(0):
                total += share * beyond
                grads[y, x, 0] = math.copysign(share, off)
            else:
                grads[y, x, 0] = f4(0)
    return total


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
    opinion: PerceptualLoss, image: NDArray[np.float32], truth: NDArray[np.uint8], grads: NDArray[np.float32]
) -> float:
    """The term of a picture [H, W, 3]; its slopes are added to `slopes` [H, W, 3]."""
    leaf = torch.from_numpy(image.copy()).requires_grad_()
    value = opinion(leaf, torch.from_numpy(truth.astype(np.float32) / 255))
    (grad,) = torch.autograd.grad(value, leaf)
    grads += grad.numpy()
    return float(value.detach())


_LIPS_MARGIN, _MOVING_REACH, _EDGE = 0.02, 0.02, 0.012  # shares of the picture's height


def make_target(dataset: Dataset, row: int, config: LossConfig) -> ImageTarget:
    """Picture, weights, masks and lips' box of a row."""
    parts = labels(dataset, row)
    height = len(parts)
    choice = LossWeights(
        background=config.background,
        person=config.person,
        face=config.person,
        eyes=config.eyes,
        mouth=config.mouth,
    )
    weights = np.clip(loss_weights(parts, choice) / WEIGHT_STEP + 0.5, 0, 255).astype(np.uint8)
    reach = _MOVING_REACH * height
    moving = (mouth_mask(parts, reach) | eyes_mask(parts, reach)).astype(np.uint8) * 255
    box = box_of(mouth_mask(parts), round(_LIPS_MARGIN * height))
    lips = (0, 0, 0, 0) if box is None else (box[0], box[2], box[1], box[3])
    return ImageTarget(picture(dataset, row), weights, moving, silhouette_trimap(parts, _EDGE * height), lips)


class TargetCache:
    """Targets of a data set by row; those that came first stay until `max_bytes` are full."""

    def __init__(self, dataset: Dataset, config: LossConfig, max_bytes: float) -> None:
        self._dataset, self._config = dataset, config
        self._room = max_bytes
        self._kept: dict[int, ImageTarget] = {}

    def person(self, row: int) -> NDArray[np.bool_]:
        """Where the person is [H, W]. Raises DatasetError where the file is damaged."""
        return person_mask(labels(self._dataset, row))

    def __call__(self, row: int) -> ImageTarget:
        """The target of a row. Raises DatasetError where its files are damaged."""
        target = self._kept.get(row)
        if target is None:
            target = make_target(self._dataset, row, self._config)
            size = 2 * target.picture.nbytes  # and three masks
            if size <= self._room:
                self._room -= size
                self._kept[row] = target
        return target
