# SPDX-License-Identifier: Apache-2.0
"""Bake a trained field to the linear basis that runs live: deltas = basis @ map(motion).

1. `image_sensitivity`: weights that turn an error of a delta into an error of the image;
2. `_dynamic_indices`: Gaussians whose deformation is visible;
3. `weighted_pca`: K principal directions of their deformation over all frames;
4. `fit_motion_map`: from mouth modes and controls to the coefficients of these directions.

Fine-tuning through the renderer follows, see finalize.py.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from splatface.models.errors import TrainingError
from splatface.models.head.head import DELTA_CHANNELS, MOTION_SIZE, Gaussians, MotionMap
from splatface.models.render.autograd import DifferentiableRenderer
from splatface.models.training.dataset.types import TRAIN, Dataset
from splatface.models.training.fields.basis_field import gelu
from splatface.models.training.optimization.dataset_statistics import (
    known_frame_indices,
    motion_at,
    subsample_evenly,
)
from splatface.models.training.optimization.gaussian_skinning import (
    SKIN,
    pack_bone_poses,
    skin_gaussians_torch,
    unpack,
)
from splatface.models.typing import Float32Array, Float64Array, Int64Array

__all__ = [
    "BakeConfig",
    "BakedHead",
    "DatasetRenderer",
    "DeformationSource",
    "MotionFit",
    "PcaResult",
    "TorchMotionMap",
    "bake_basis",
    "bake_field",
    "fit_motion_map",
    "image_sensitivity",
    "motion_map_from_torch",
    "torch_motion_map_from",
    "weighted_pca",
]

_SENSITIVITY_FRAMES, _PROBES = 8, 6
_MAX_STATIC_FRACTION = (
    1e-4  # of the visible deformation that may be lost with Gaussians that then do not move
)
_PCA_BLOCK = 4096  # features processed together: float64 copies stay in the tens of MB
_RIDGE = 1e-6  # of the mean square of the motion: what never moved in training drives nothing


@dataclass(frozen=True, slots=True, eq=False)
class DeformationSource:
    """Canonical Gaussians of a trained field and their deformation of any frame, on the CPU."""

    table: Tensor  # [N, row_width] with skinning logits, see gaussian_skinning.py
    deltas: Callable[[int], Tensor]  # of a frame, [N, 14], no graph


@dataclass(frozen=True, slots=True, kw_only=True)
class BakeConfig:
    """Size and effort of a baked basis."""

    coefficients: int = 32  # K
    dynamic: int = 8000  # M at most
    hidden: int = 32  # units of the motion map's nonlinear part, 0: linear
    fit_steps: int = 500  # of Adam on the coefficients
    max_frames: int = 600  # of TRAIN, evenly spread
    threads: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("coefficients", "dynamic", "max_frames", "threads"):
            if getattr(self, name) < 1:
                raise TrainingError(f"bake {name}: expected 1 or more, found {getattr(self, name)}: raise it")
        for name in ("hidden", "fit_steps", "seed"):
            if getattr(self, name) < 0:
                raise TrainingError(f"bake {name}: expected 0 or more, found {getattr(self, name)}: raise it")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class BakedHead:
    """A person as a head stores it, without what a data set says about the person."""

    gaussians: Gaussians  # N
    skin: Float32Array  # [N] skinning weight, 0 torso bone .. 1 head bone
    dynamic: NDArray[np.int32]  # [M] rising
    basis: Float32Array  # [M, 14, K]
    motion_map: MotionMap
    report: dict[str, Any] = field(default_factory=dict)  # what baking lost, plain data


def bake_field(source: DeformationSource, dataset: Dataset, config: BakeConfig) -> BakedHead:
    """Bake a field by principal components and least squares, without the true images.

    Memory: frames * dynamic * 14 float32 (270 MB at the defaults) and little else.

    Raises:
        TrainingError: when the data set has no TRAIN frame with known motion, or the field's deformation is
            not finite.
    """
    frame_indices = _train_frames(dataset, config)
    sensitivity = _sensitivity(source, dataset, frame_indices, config)
    mean, variance = _mean_and_variance(source, frame_indices)
    dynamic, static_fraction = _dynamic_indices(sensitivity, variance, config.dynamic)
    samples = np.empty((len(frame_indices), len(dynamic), DELTA_CHANNELS), np.float32)
    for i, frame_index in enumerate(frame_indices.tolist()):
        samples[i] = source.deltas(frame_index)[dynamic].numpy()
    pca = weighted_pca(
        samples.reshape(len(frame_indices), -1), sensitivity[dynamic].reshape(-1), config.coefficients
    )
    del samples
    fit = fit_motion_map(
        motion_at(dataset, frame_indices),
        pca.codes,
        pca.explained_variance,
        hidden=config.hidden,
        steps=config.fit_steps,
        seed=config.seed,
    )
    basis = pca.basis.reshape(len(dynamic), DELTA_CHANNELS, config.coefficients)
    mean[dynamic] = pca.mean.reshape(len(dynamic), DELTA_CHANNELS) + basis @ fit.at_rest
    return BakedHead(
        gaussians=_with_rest_deltas(source.table, mean),
        skin=torch.sigmoid(source.table[:, SKIN]).numpy().astype(np.float32),
        dynamic=dynamic.astype(np.int32),
        basis=np.ascontiguousarray(basis, np.float32),
        motion_map=fit.motion_map,
        report={
            "gaussians": len(source.table),
            "dynamic": len(dynamic),
            "coefficients": config.coefficients,
            "lost_with_still_gaussians": round(static_fraction, 6),
            "lost_with_directions": round(pca.lost, 6),
            "not_told_by_motion": round(fit.unexplained, 6),
        },
    )


def bake_basis(
    source: DeformationSource,
    dynamic: Int64Array,
    basis: Float32Array,
    motion_map: MotionMap,
    dataset: Dataset,
    config: BakeConfig,
) -> BakedHead:
    """Bake a field that is a linear basis already: only Gaussians whose deformation is invisible are fixed.

    Args:
        source: the field.
        dynamic: [M] rising; Gaussians of `BasisField.linear_basis`.
        basis: [M, 14, K] of `BasisField.linear_basis`.
        motion_map: from motion to the coefficients [K].
        dataset: trained on.
        config: `coefficients`, `hidden` and `fit_steps` are not used.

    Raises:
        TrainingError: as `bake_field` does.
    """
    frame_indices = _train_frames(dataset, config)
    motion = motion_at(dataset, frame_indices).astype(np.float32)
    codes = np.stack([motion_map(x[:8], x[8:]) for x in motion]).astype(np.float64)
    mean_code, covariance = codes.mean(axis=0), np.cov(codes, rowvar=False, bias=True)
    variance = np.zeros((len(source.table), DELTA_CHANNELS), np.float32)
    variance[dynamic] = np.einsum("mjk,kl,mjl->mj", basis, covariance, basis, optimize=True)
    sensitivity = _sensitivity(source, dataset, frame_indices, config)
    visible, static_fraction = _dynamic_indices(sensitivity, variance, config.dynamic)
    kept = np.isin(dynamic, visible)
    rest_deltas = np.zeros_like(variance)
    rest_deltas[dynamic[~kept]] = basis[~kept] @ mean_code
    return BakedHead(
        gaussians=_with_rest_deltas(source.table, rest_deltas),
        skin=torch.sigmoid(source.table[:, SKIN]).numpy().astype(np.float32),
        dynamic=dynamic[kept].astype(np.int32),
        basis=np.ascontiguousarray(basis[kept], np.float32),
        motion_map=motion_map,
        report={
            "gaussians": len(source.table),
            "dynamic": int(kept.sum()),
            "coefficients": basis.shape[2],
            "lost_with_still_gaussians": round(static_fraction, 6),
        },
    )


def _train_frames(dataset: Dataset, config: BakeConfig) -> Int64Array:
    frame_indices = known_frame_indices(dataset, TRAIN)
    if not len(frame_indices):
        raise TrainingError("bake: expected TRAIN pictures with known motion, found none: track them first")
    return subsample_evenly(frame_indices, config.max_frames)


def _sensitivity(
    source: DeformationSource, dataset: Dataset, frame_indices: Int64Array, config: BakeConfig
) -> Float32Array:
    renderer = DatasetRenderer(dataset, config.threads)
    sampled = subsample_evenly(frame_indices, _SENSITIVITY_FRAMES)
    return image_sensitivity(source, renderer, sampled, probes=_PROBES, seed=config.seed)


def _mean_and_variance(
    source: DeformationSource, frame_indices: Int64Array
) -> tuple[Float32Array, Float32Array]:
    """Return mean and variance [N, 14] of the deformation over frames."""
    total = torch.zeros(len(source.table), DELTA_CHANNELS, dtype=torch.float64)
    squares = torch.zeros_like(total)
    for frame_index in frame_indices.tolist():
        deltas = source.deltas(frame_index).double()
        total += deltas
        squares += deltas**2
    mean = total / len(frame_indices)
    variance = (squares / len(frame_indices) - mean**2).clamp(min=0)
    return mean.numpy().astype(np.float32), variance.numpy().astype(np.float32)


def _dynamic_indices(
    sensitivity: Float32Array, variance: Float32Array, max_count: int
) -> tuple[Int64Array, float]:
    """Return rising indices of the Gaussians that move visibly, and the fraction of motion of the others."""
    visible = (sensitivity.astype(np.float64) ** 2 * variance).sum(axis=1)
    if not np.isfinite(visible).all():
        raise TrainingError(
            "bake: expected finite movement, found NaN or infinity: go on from an earlier state, "
            "or lower rates.field"
        )
    order = np.argsort(visible)[::-1]
    left = 1 - np.cumsum(visible[order]) / max(float(visible.sum()), 1e-300)
    count = min(max_count, int(np.argmax(left <= _MAX_STATIC_FRACTION)) + 1, int((visible > 0).sum()))
    chosen = np.sort(order[:count])
    return chosen, float(max(left[count - 1], 0.0)) if count else 0.0


def _with_rest_deltas(table: Tensor, deltas: Float32Array) -> Gaussians:
    """Return the canonical Gaussians with constant deltas [N, 14] added."""
    g = unpack(table)
    parts = {name: getattr(g, name).numpy().astype(np.float32) for name in Gaussians.__slots__}
    sh = parts["sh"].copy()
    sh[:, 0] += deltas[:, 11:14]
    return Gaussians(
        means=np.ascontiguousarray(parts["means"] + deltas[:, 0:3]),
        quats=np.ascontiguousarray(parts["quats"] + deltas[:, 3:7]),
        log_scales=np.ascontiguousarray(parts["log_scales"] + deltas[:, 7:10]),
        opacity_logits=np.ascontiguousarray(parts["opacity_logits"] + deltas[:, 10]),
        sh=sh,
    )


class DatasetRenderer:
    """Differentiable renderer of the frames of a data set."""

    def __init__(self, dataset: Dataset, threads: int = 1) -> None:
        self._camera, self._frames = dataset.camera, dataset.frames
        self._background = torch.from_numpy(np.ascontiguousarray(dataset.background, np.float32))
        self._renderer = DifferentiableRenderer(threads)

    def render(self, table: Tensor, deltas: Tensor, frame_index: int) -> Tensor:
        """Return the image [H, W, 3] of Gaussians with deltas [N, 14] in a frame's pose; keeps the graph."""
        head, torso = self._frames.T_world_head[frame_index], self._frames.T_world_torso[frame_index]
        pose = torch.from_numpy(pack_bone_poses(head, torso)).to(table.dtype)
        splats = skin_gaussians_torch(table, deltas, pose)
        return self._renderer.draw(splats, self._camera, self._background).image


def image_sensitivity(
    source: DeformationSource,
    renderer: DatasetRenderer,
    frame_indices: Int64Array,
    *,
    probes: int,
    seed: int,
) -> Float32Array:
    """Return the root of the summed squared change of the image per unit of each delta [N, 14], frame mean.

    To first order an error e of a delta costs (sensitivity * e)^2 in the image's squared error: the diagonal
    of the Gauss-Newton matrix J^T J. It is estimated as the mean of squared gradients for random signs v on
    the pixels, E[(J^T v)^2] = diag(J^T J) (Hutchinson 1990; Bekas et al. 2007): what is occluded, faint,
    small or of one color with what lies behind counts little, without any rule of thumb.
    """
    generator = torch.Generator().manual_seed(seed)
    squares = torch.zeros(len(source.table), DELTA_CHANNELS, dtype=torch.float64)
    for frame_index in frame_indices.tolist():
        deltas = source.deltas(frame_index).detach().clone().requires_grad_()
        image = renderer.render(source.table, deltas, frame_index)
        for _ in range(probes):
            signs = torch.randint(0, 2, image.shape, generator=generator, dtype=torch.float32) * 2 - 1
            (grads,) = torch.autograd.grad(image, deltas, signs, retain_graph=True)
            squares += grads.double() ** 2
    mean = squares / max(1, len(frame_indices) * probes)
    sensitivity: Float32Array = mean.sqrt().numpy().astype(np.float32)
    return sensitivity


@dataclass(frozen=True, slots=True, eq=False)
class PcaResult:
    """Least-squares approximation samples = mean + codes @ basis.T with K directions."""

    mean: Float32Array  # [D]
    basis: Float32Array  # [D, K]
    codes: Float64Array  # [F, K] of mean square 1 (0 for an unused direction)
    explained_variance: Float64Array  # [K] weighted mean square per direction
    lost: float  # fraction 0..1 of the weighted variance outside of the basis


def weighted_pca(samples: Float32Array, weights: Float32Array, count: int) -> PcaResult:
    """Return the best `count` directions for weights * (samples - mean), squared (Eckart, Young 1936).

    Args:
        samples: [F, D] F frames of D features; D may be a hundred thousand, F about a thousand.
        weights: [D] >= 0, cost of an error of each feature.
        count: K >= 1; directions beyond the rank of the samples are 0.

    Computed from eigenvectors of the Gram matrix [F, F], summed over blocks of features in float64.

    Raises:
        TrainingError: when nothing is given, or something is not finite.
    """
    frames = len(samples)
    if frames == 0 or count < 1 or not (np.isfinite(samples).all() and np.isfinite(weights).all()):
        raise TrainingError(
            f"bake: expected moments of finite movement and 1 or more directions, found {frames} moments "
            f"and {count} directions: train the field again, its movement may have run away"
        )
    mean = samples.mean(axis=0, dtype=np.float64)
    gram = np.zeros((frames, frames))
    for block, deviation in _deviations(samples, mean):
        weighted = deviation * weights[block]
        gram += weighted @ weighted.T
    squares, vectors = np.linalg.eigh(gram)
    largest = np.argsort(squares)[::-1][:count]
    used = largest[squares[largest] > 1e-12 * max(float(squares[-1]), 1e-300)]
    unit, length = vectors[:, used], np.sqrt(squares[used])
    codes, explained_variance = np.zeros((frames, count)), np.zeros(count)
    codes[:, : len(used)] = unit * np.sqrt(frames)
    explained_variance[: len(used)] = length**2 / frames
    basis = np.zeros((samples.shape[1], count), np.float32)
    for block, deviation in _deviations(samples, mean):
        # Regression of the plain samples on the codes: no division by a weight that may be 0.
        basis[block, : len(used)] = deviation.T @ unit / np.sqrt(frames)
    total = float(np.trace(gram))
    lost = max(0.0, 1.0 - float(squares[used].sum()) / total) if total > 0 else 0.0
    return PcaResult(mean.astype(np.float32), basis, codes, explained_variance, lost)


def _deviations(samples: Float32Array, mean: Float64Array) -> Iterator[tuple[slice, Float64Array]]:
    for first in range(0, samples.shape[1], _PCA_BLOCK):
        block = slice(first, first + _PCA_BLOCK)
        yield block, samples[:, block] - mean[block]


@dataclass(frozen=True, slots=True, eq=False)
class MotionFit:
    """Least-squares fit codes = at_rest + map(motion)."""

    motion_map: MotionMap
    at_rest: Float32Array  # [K] codes of a face at rest, to be added to the Gaussians
    unexplained: float  # fraction 0..1 of the codes' weighted variance that the motion does not explain


class TorchMotionMap(nn.Module):
    """`MotionMap` with trainable parameters; equal to it in float32."""

    def __init__(self, linear: Tensor, hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        count = linear.shape[1]
        std = MOTION_SIZE**-0.5
        self.linear = nn.Parameter(linear.clone())
        self.w1 = nn.Parameter(2 * std * torch.randn(MOTION_SIZE, hidden, generator=generator))
        self.b1 = nn.Parameter(torch.randn(hidden, generator=generator) * 0.5)
        self.w2 = nn.Parameter(torch.zeros(hidden, count))  # linear at first

    def forward(self, motion: Tensor) -> Tensor:
        """Return codes [..., K] of motion [..., 16] (mouth modes, then controls)."""
        nonlinear = gelu(motion @ self.w1 + self.b1) - gelu(self.b1)
        codes: Tensor = motion @ self.linear + nonlinear @ self.w2
        return codes


def motion_map_from_torch(trained_map: TorchMotionMap) -> MotionMap:
    """Return the numpy form of a trained map."""
    parts = {
        name: np.ascontiguousarray(tensor.detach().cpu().numpy().astype(np.float32))
        for name, tensor in trained_map.named_parameters()
    }
    return MotionMap(**parts)


def torch_motion_map_from(motion_map: MotionMap) -> TorchMotionMap:
    """Return a trainable map equal to `motion_map`."""
    trained_map = TorchMotionMap(
        torch.from_numpy(motion_map.linear), len(motion_map.b1), torch.Generator().manual_seed(0)
    )
    with torch.no_grad():
        for name, parameter in trained_map.named_parameters():
            parameter.copy_(torch.from_numpy(getattr(motion_map, name)))
    return trained_map


def fit_motion_map(
    motion: Float64Array, codes: Float64Array, variances: Float64Array, *, hidden: int, steps: int, seed: int
) -> MotionFit:
    """Fit a linear map by least squares, then the nonlinear part by Adam on all frames at once.

    Args:
        motion: [F, 16] mouth modes and controls.
        codes: [F, K] of mean square about 1.
        variances: [K] cost of an error of each code.
        hidden: units of the nonlinear part, 0 for none.
        steps: of Adam, some hundred.
        seed: of the nonlinear part's first layer.

    Where the linear fit is exact, Adam changes nothing.
    """
    linear, at_rest = _least_squares(motion, codes)
    generator = torch.Generator().manual_seed(seed)
    trained_map = TorchMotionMap(torch.from_numpy(linear).float(), hidden, generator)
    rest = nn.Parameter(torch.from_numpy(at_rest).float())
    x, y = torch.from_numpy(motion).float(), torch.from_numpy(codes).float()
    weight = torch.from_numpy(variances / max(float(variances.sum()), 1e-300)).float()

    def loss() -> Tensor:
        return (weight * (trained_map(x) + rest - y) ** 2).sum(1).mean()

    if hidden:
        _minimize([*trained_map.parameters(), rest], loss, steps)
    with torch.no_grad():
        unexplained = float(loss())
    return MotionFit(
        motion_map_from_torch(trained_map), rest.detach().numpy().astype(np.float32), unexplained
    )


def _least_squares(motion: Float64Array, codes: Float64Array) -> tuple[Float64Array, Float64Array]:
    mean_x, mean_y = motion.mean(axis=0), codes.mean(axis=0)
    x = motion - mean_x
    square = x.T @ x
    ridge = _RIDGE * max(float(np.trace(square)) / MOTION_SIZE, 1e-12) * np.eye(MOTION_SIZE)
    linear = np.linalg.solve(square + ridge, x.T @ (codes - mean_y))
    return linear, mean_y - mean_x @ linear


def _minimize(parameters: list[nn.Parameter], loss: Callable[[], Tensor], steps: int) -> None:
    adam = torch.optim.Adam(parameters, lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, max(steps, 1))
    best, best_values = float("inf"), [p.detach().clone() for p in parameters]
    for _ in range(steps):
        adam.zero_grad()
        value = loss()
        if float(value.detach()) < best:
            best, best_values = float(value.detach()), [p.detach().clone() for p in parameters]
        value.backward()
        adam.step()
        schedule.step()
    with torch.no_grad():
        if not float(loss()) < best:
            for parameter, value in zip(parameters, best_values, strict=True):
                parameter.copy_(value)
