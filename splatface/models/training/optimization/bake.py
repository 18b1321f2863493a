"""Any trained field to the linear basis that a kiosk runs: deltas = basis @ map(motion).

what shows       effect.py      weights, so that an error of movement is an error of the picture
who moves        `_moving`      the Gaussians whose movement shows
which ways       directions.py  K principal directions of the movement in all pictures
when             motion_fit.py  from mouth modes and controls to the directions
polished         tune.py        all of it through the renderer, against the true pictures
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from splatface.models.errors import TrainingError
from splatface.models.head.motion_map import MotionMap
from splatface.models.head.splats import DELTA_CHANNELS, Gaussians
from splatface.models.training.dataset.types import TRAIN, Dataset
from splatface.models.training.optimization.dataset_statistics import known_rows, motion_of, subsample_evenly
from splatface.models.training.optimization.directions import weighted_pca
from splatface.models.training.optimization.effect import image_sensitivity
from splatface.models.training.optimization.motion_fit import fit_motion_map
from splatface.models.training.optimization.packed import SKIN, unpack
from splatface.models.training.optimization.performer import DatasetRenderer, DeformationSource
from splatface.models.typing import Float32Array

__all__ = ["BakeConfig", "Baked", "bake_basis", "bake_field"]


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
class Baked:
    """A person as a head holds it, without what a data set says about the person."""

    gaussians: Gaussians  # N
    skin: Float32Array  # [N] 0 torso bone .. 1 head bone
    dynamic: NDArray[np.int32]  # [M] rising
    basis: Float32Array  # [M, 14, K]
    motion_map: MotionMap
    report: dict[str, Any] = field(default_factory=dict)  # what was lost on the way, plain data


def bake_field(performer: DeformationSource, dataset: Dataset, config: BakeConfig) -> Baked:
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
    motion = motion_of(dataset, rows)
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
    return Baked(
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
) -> Baked:
    """Bake a field that is a linear basis already: only Gaussians whose movement does not show are stilled.

    linear: the Gaussians that move [M] (rising), their basis [M, 14, K] and the map to it, as
    `BasisField.linear_basis` and `motion_map` give them. Raises TrainingError as `bake_field` does.
    """
    dynamic, basis, motion_map = linear
    rows = _rows_of(dataset, config)
    motion = motion_of(dataset, rows).astype(np.float32)
    codes = np.stack([motion_map(x[:8], x[8:]) for x in motion]).astype(np.float64)
    center, covariance = codes.mean(axis=0), np.cov(codes, rowvar=False, bias=True)
    variance = np.zeros((len(performer.table), DELTA_CHANNELS), np.float32)
    variance[dynamic] = np.einsum("mjk,kl,mjl->mj", basis, covariance, basis, optimize=True)
    moving, unseen = _moving(_effect(performer, dataset, rows, config), variance, config.dynamic)
    kept = np.isin(dynamic, moving)
    rest = np.zeros_like(variance)
    rest[dynamic[~kept]] = basis[~kept] @ center
    return Baked(
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
    rows = subsample_evenly(known_rows(dataset, TRAIN), config.pictures)
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
