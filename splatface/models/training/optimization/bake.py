"""x"""

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
from splatface.models.typing import Float32Array, Float64Array

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


@dataclass(frozen=True, slots=True, eq=False)
class DeformationSource:
    """Whatever was trained, asked row by row. On the CPU."""

    table: Tensor  # [N, row_width] canonical Gaussians with skin logits, see packed.py
    deltas: Callable[[int], Tensor]  # row of the data set -> movement [N, 14], no graph


class DatasetRenderer:
    """Where a performer is drawn: one film, one camera, one background, one renderer."""

    def __init__(self, dataset: Dataset, threads: int = 1) -> None:
        self._camera, self._frames = dataset.camera, dataset.frames
        self._background = torch.from_numpy(np.ascontiguousarray(dataset.background, np.float32))
        self._renderer = DifferentiableRenderer(threads)

    def picture(self, table: Tensor, deltas: Tensor, row: int) -> Tensor:
        """The picture [H, W, 3] of Gaussians moved by deltas [N, 14] in a row's pose; keeps the graph."""
        head, torso = self._frames.T_world_head[row], self._frames.T_world_torso[row]
        pose = torch.from_numpy(pack_bone_poses(head, torso)).to(table.dtype)
        return self._renderer.draw(
            skin_gaussians_torch(table, deltas, pose), self._camera, self._background
        ).image


def image_sensitivity(
    performer: DeformationSource, stage: DatasetRenderer, rows: NDArray[np.int64], *, probes: int, seed: int
) -> NDArray[np.float32]:
    """Root of the summed squared change of the picture per unit of each delta [N, 14], mean over rows.

    To first order a movement wrong by e costs (effect * e)^2 in the picture's squared error: the diagonal
    of the Gauss-Newton matrix J^T J. It is found as the mean of squared slopes for random signs v on
    the pixels, E[(J^T v)^2] = diag(J^T J) (Hutchinson 1990; Bekas et al. 2007): what is hidden, faint,
    small or of one color with what lies behind counts little, without any rule of thumb.
    """
    generator = torch.Generator().manual_seed(seed)
    squares = torch.zeros(len(performer.table), 14, dtype=torch.float64)
    for row in rows.tolist():
        deltas = performer.deltas(row).detach().clone().requires_grad_()
        image = stage.picture(performer.table, deltas, row)
        for _ in range(probes):
            signs = torch.randint(0, 2, image.shape, generator=generator, dtype=torch.float32) * 2 - 1
            (grads,) = torch.autograd.grad(image, deltas, signs, retain_graph=True)
            squares += grads.double() ** 2
    effect: NDArray[np.float32] = (squares / max(1, len(rows) * probes)).sqrt().numpy().astype(np.float32)
    return effect


_BLOCK = 4096  # features looked at together: float64 copies stay in the tens of MB


@dataclass(frozen=True, slots=True, eq=False)
class PcaResult:
    """samples = mean + codes @ basis.T, as nearly as K directions can say it."""

    mean: NDArray[np.float32]  # [D]
    basis: NDArray[np.float32]  # [D, K]
    codes: Float64Array  # [F, K] of mean square 1 (a direction in which nothing moves: 0)
    explained_variance: Float64Array  # [K] mean square of what each direction adds, in units of the weights
    lost: float  # share 0..1 of the weighted variance that no direction holds


def weighted_pca(samples: NDArray[np.float32], weights: NDArray[np.float32], count: int) -> PcaResult:
    """The `count` directions that lose least of weights * (samples - mean), squared (Eckart, Young 1936).

    Args:
        samples: [F, D] F moments of D features; D may be a hundred thousand, F about a thousand.
        weights: [D] >= 0, how much an error of each feature counts.
        count: K >= 1; what F moments cannot fill is left 0.

    The economical way: eigenvectors of the Gram matrix [F, F], summed over blocks of features in float64.

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
    found = largest[squares[largest] > 1e-12 * max(float(squares[-1]), 1e-300)]
    unit, length = vectors[:, found], np.sqrt(squares[found])
    codes, energies = np.zeros((frames, count)), np.zeros(count)
    codes[:, : len(found)] = unit * np.sqrt(frames)
    energies[: len(found)] = length**2 / frames
    basis = np.zeros((samples.shape[1], count), np.float32)
    for block, deviation in _deviations(samples, mean):
        # Regression of the plain samples on the codes: no division by a weight that may be 0.
        basis[block, : len(found)] = deviation.T @ unit / np.sqrt(frames)
    total = float(np.trace(gram))
    lost = max(0.0, 1.0 - float(squares[found].sum()) / total) if total > 0 else 0.0
    return PcaResult(mean.astype(np.float32), basis, codes, energies, lost)


def _deviations(samples: NDArray[np.float32], mean: Float64Array) -> Iterator[tuple[slice, Float64Array]]:
    for first in range(0, samples.shape[1], _BLOCK):
        block = slice(first, first + _BLOCK)
        yield block, samples[:, block] - mean[block]


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


def motion_map_from_torch(learned: TorchMotionMap) -> MotionMap:
    """The numpy twin of a learned map."""
    parts = {
        name: np.ascontiguousarray(tensor.detach().cpu().numpy().astype(np.float32))
        for name, tensor in learned.named_parameters()
    }
    return MotionMap(**parts)


def torch_motion_map_from(motion_map: MotionMap) -> TorchMotionMap:
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
    return MotionFit(motion_map_from_torch(learned), rest.detach().numpy().astype(np.float32), unexplained)


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


_PICTURES_OF_EFFECT, _PROBES = 8, 6
_UNSEEN = 1e-4  # share of the visible movement that may be left to Gaussians that then stand still


@dataclass(frozen=True, slots=True, kw_only=True)
class BakeConfig:
    """How much of a field a head keeps."""

    coefficients: int = 32  # K
    dynamic: int = 8000  # M at most
    hidden: int = 32  # of the motion map's bend, 0: a line
    fit_steps: int = 500  # of Adam on the codes
    pictures: int = 600  # of the movement looked at, evenly over the pictures trained on
    threads: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        """TrainingError where a value does not fit."""
        for name in ("coefficients", "dynamic", "pictures", "threads"):
            if getattr(self, name) < 1:
                raise TrainingError(f"bake {name}: expected 1 or more, found {getattr(self, name)}: raise it")
        for name in ("hidden", "fit_steps", "seed"):
            if getattr(self, name) < 0:
                raise TrainingError(f"bake {name}: expected 0 or more, found {getattr(self, name)}: raise it")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class BakedHead:
    """A person as a head holds it, without what a data set says about the person."""

    gaussians: Gaussians  # N
    skin: Float32Array  # [N] 0 torso bone .. 1 head bone
    dynamic: NDArray[np.int32]  # [M] rising
    basis: Float32Array  # [M, 14, K]
    motion_map: MotionMap
    report: dict[str, Any] = field(default_factory=dict)  # what was lost on the way, plain data


def bake_field(performer: DeformationSource, dataset: Dataset, config: BakeConfig) -> BakedHead:
    """Bake by principal components and least squares, without looking at a true picture.

    Memory: pictures * dynamic * 14 float32 (270 MB at the defaults) and little else.

    Raises:
        TrainingError: when the data set has no picture to train on whose motion is known, or the field's
            movement is not finite.
    """
    rows = _rows_of(dataset, config)
    effect = _effect(performer, dataset, rows, config)
    mean, variance = _moments(performer, rows)
    moving, unseen = _moving(effect, variance, config.dynamic)
    samples = np.empty((len(rows), len(moving), DELTA_CHANNELS), np.float32)
    for i, row in enumerate(rows.tolist()):
        samples[i] = performer.deltas(row)[moving].numpy()
    found = weighted_pca(samples.reshape(len(rows), -1), effect[moving].reshape(-1), config.coefficients)
    del samples
    motion = motion_at(dataset, rows)
    fit = fit_motion_map(
        motion,
        found.codes,
        found.explained_variance,
        hidden=config.hidden,
        steps=config.fit_steps,
        seed=config.seed,
    )
    basis = found.basis.reshape(len(moving), DELTA_CHANNELS, config.coefficients)
    mean[moving] = found.mean.reshape(len(moving), DELTA_CHANNELS) + basis @ fit.at_rest
    return BakedHead(
        gaussians=_at_rest(performer.table, mean),
        skin=torch.sigmoid(performer.table[:, SKIN]).numpy().astype(np.float32),
        dynamic=moving.astype(np.int32),
        basis=np.ascontiguousarray(basis, np.float32),
        motion_map=fit.motion_map,
        report={
            "gaussians": len(performer.table),
            "dynamic": len(moving),
            "coefficients": config.coefficients,
            "lost_with_still_gaussians": round(unseen, 6),
            "lost_with_directions": round(found.lost, 6),
            "not_told_by_motion": round(fit.unexplained, 6),
        },
    )


def bake_basis(
    performer: DeformationSource,
    linear: tuple[NDArray[np.int64], Float32Array, MotionMap],
    dataset: Dataset,
    config: BakeConfig,
) -> BakedHead:
    """Bake a field that is a linear basis already: only Gaussians whose movement does not show are stilled.

    linear: the Gaussians that move [M] (rising), their basis [M, 14, K] and the map to it, as
    `BasisField.linear_basis` and `motion_map` give them. Raises TrainingError as `bake_field` does.
    """
    dynamic, basis, motion_map = linear
    rows = _rows_of(dataset, config)
    motion = motion_at(dataset, rows).astype(np.float32)
    codes = np.stack([motion_map(x[:8], x[8:]) for x in motion]).astype(np.float64)
    center, covariance = codes.mean(axis=0), np.cov(codes, rowvar=False, bias=True)
    variance = np.zeros((len(performer.table), DELTA_CHANNELS), np.float32)
    variance[dynamic] = np.einsum("mjk,kl,mjl->mj", basis, covariance, basis, optimize=True)
    moving, unseen = _moving(_effect(performer, dataset, rows, config), variance, config.dynamic)
    kept = np.isin(dynamic, moving)
    rest = np.zeros_like(variance)
    rest[dynamic[~kept]] = basis[~kept] @ center
    return BakedHead(
        gaussians=_at_rest(performer.table, rest),
        skin=torch.sigmoid(performer.table[:, SKIN]).numpy().astype(np.float32),
        dynamic=dynamic[kept].astype(np.int32),
        basis=np.ascontiguousarray(basis[kept], np.float32),
        motion_map=motion_map,
        report={
            "gaussians": len(performer.table),
            "dynamic": int(kept.sum()),
            "coefficients": basis.shape[2],
            "lost_with_still_gaussians": round(unseen, 6),
        },
    )


def _rows_of(dataset: Dataset, config: BakeConfig) -> NDArray[np.int64]:
    rows = subsample_evenly(known_frame_indices(dataset, TRAIN), config.pictures)
    if not len(rows):
        raise TrainingError("bake: expected TRAIN pictures with known motion, found none: track them first")
    return rows


def _effect(
    performer: DeformationSource, dataset: Dataset, rows: NDArray[np.int64], config: BakeConfig
) -> NDArray[np.float32]:
    stage = DatasetRenderer(dataset, config.threads)
    shown = subsample_evenly(rows, _PICTURES_OF_EFFECT)
    return image_sensitivity(performer, stage, shown, probes=_PROBES, seed=config.seed)


def _moments(performer: DeformationSource, rows: NDArray[np.int64]) -> tuple[Float32Array, Float32Array]:
    """Mean and variance [N, 14] of the movement over rows."""
    total = torch.zeros(len(performer.table), DELTA_CHANNELS, dtype=torch.float64)
    squares = torch.zeros_like(total)
    for row in rows.tolist():
        deltas = performer.deltas(row).double()
        total += deltas
        squares += deltas**2
    mean = total / len(rows)
    variance = (squares / len(rows) - mean**2).clamp(min=0)
    return mean.numpy().astype(np.float32), variance.numpy().astype(np.float32)


def _moving(effect: Float32Array, variance: Float32Array, most: int) -> tuple[NDArray[np.int64], float]:
    """Rising indices of the Gaussians that move visibly, and the share of movement the others had."""
    visible = (effect.astype(np.float64) ** 2 * variance).sum(axis=1)
    if not np.isfinite(visible).all():
        raise TrainingError(
            "bake: expected finite movement, found NaN or infinity: go on from an earlier state, "
            "or lower rates.field"
        )
    order = np.argsort(visible)[::-1]
    left = 1 - np.cumsum(visible[order]) / max(float(visible.sum()), 1e-300)
    count = min(most, int(np.argmax(left <= _UNSEEN)) + 1, int((visible > 0).sum()))
    chosen = np.sort(order[:count])
    return chosen, float(max(left[count - 1], 0.0)) if count else 0.0


def _at_rest(table: Tensor, change: Float32Array) -> Gaussians:
    """Canonical Gaussians with a constant movement [N, 14] added."""
    g = unpack(table)
    parts = {name: getattr(g, name).numpy().astype(np.float32) for name in Gaussians.__slots__}
    sh = parts["sh"].copy()
    sh[:, 0] += change[:, 11:14]
    return Gaussians(
        means=np.ascontiguousarray(parts["means"] + change[:, 0:3]),
        quats=np.ascontiguousarray(parts["quats"] + change[:, 3:7]),
        log_scales=np.ascontiguousarray(parts["log_scales"] + change[:, 7:10]),
        opacity_logits=np.ascontiguousarray(parts["opacity_logits"] + change[:, 10]),
        sh=sh,
    )
