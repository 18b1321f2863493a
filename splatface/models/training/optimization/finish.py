"""From a finished training to a head on disk: baked, polished, measured against its field, exported."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from splatface.models.head.head import Head
from splatface.models.training.dataset.types import TEST, TRAIN, VAL, Dataset
from splatface.models.training.fields.basis import BasisField
from splatface.models.training.optimization.back import add_back_of_head_shell
from splatface.models.training.optimization.bake import BakeConfig, Baked, bake_basis, bake_field
from splatface.models.training.optimization.conditions import Conditions
from splatface.models.training.optimization.dataset_statistics import known_rows, subsample_evenly
from splatface.models.training.optimization.export import export_head
from splatface.models.training.optimization.losses import psnr_db
from splatface.models.training.optimization.packed import pack, unpack
from splatface.models.training.optimization.performer import DeformationSource
from splatface.models.training.optimization.pull import DeformedGaussians, RenderLoss
from splatface.models.training.optimization.skin import pose_rows
from splatface.models.training.optimization.targets import target_of
from splatface.models.training.optimization.tune import TuneConfig, baked_psnr_db, inpaint_unless_worse, tune
from splatface.models.training.optimization.types import Trained

__all__ = ["FinalizeConfig", "bake_finetune_export", "performer_of"]

_COMPARED = 24  # pictures in which field and baked head are compared


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalizeConfig:
    """How a training is brought to an end."""

    name: str  # of the head
    coefficients: int = 32  # K
    tune_steps: int = 400  # of polishing, one picture each


def bake_finetune_export(trained: Trained, how: FinalizeConfig, tell: Callable[[str], None]) -> Head:
    """Bake, polish and export: a head without nets, with what was lost on the way in its report.

    Args:
        trained: as `train` returns it.
        how: see Finish.
        tell: what is being done, in words.

    Raises:
        TrainingError: when the field's movement is not finite, or no Gaussian can be seen.
    """
    config, dataset = trained.config, trained.dataset
    tell("baking: principal directions of the movement")
    performer = performer_of(trained)
    baking = BakeConfig(
        coefficients=how.coefficients, dynamic=config.dynamic, threads=config.threads, seed=config.seed
    )
    baked = _baked(trained, performer, baking)
    if not dataset.has_full_geometry:
        baked = add_back_of_head_shell(baked)
    tuning = TuneConfig(
        steps=how.tune_steps,
        losses=config.losses,
        rates=config.rates,
        threads=config.threads,
        cache_gb=config.cache_gb,
        seed=config.seed,
    )
    tell(f"polishing: {how.tune_steps} pictures")
    tuned = tune(baked, dataset, tuning)
    polished = inpaint_unless_worse(tuned.baked, dataset, tuning)
    rows = _compared(dataset)
    lost = _lost(performer, (baked, polished), dataset, tuning, rows)
    baking_report = baked.report | lost | {"colors_bounded": tuned.bounded}
    reports = {"training": _training_report(trained) | {"baking": baking_report}}
    return export_head(polished, dataset, name=how.name, reports=reports)


def _baked(trained: Trained, performer: DeformationSource, how: BakeConfig) -> Baked:
    field, dataset = trained.field, trained.dataset
    if not isinstance(field, BasisField) or field.config.coefficients > how.coefficients:
        return bake_field(performer, dataset, how)
    dynamic, basis = (tensor.cpu().numpy() for tensor in field.linear_basis())
    return bake_basis(performer, (dynamic, basis, field.motion_map()), dataset, how)


def performer_of(trained: Trained) -> DeformationSource:
    """The trained field, asked row by row."""
    config, field = trained.config, trained.field
    conditions = Conditions(trained.dataset, config.field.listening, config.encoder)
    with torch.no_grad():
        resting = field.canonical(trained.gaussians)
        table = pack(resting, trained.skin_logits).detach().cpu().float()
        means = unpack(table).means

        moved = field.bind_positions(means)

    def deltas(row: int) -> Tensor:
        with torch.no_grad():
            return moved(conditions(row)).deltas.cpu().float()

    return DeformationSource(table, deltas)


def _compared(dataset: Dataset) -> list[int]:
    for part in (TEST, VAL, TRAIN):
        rows = known_rows(dataset, part)
        if len(rows):
            return subsample_evenly(rows, _COMPARED)
    return []


def _lost(
    performer: DeformationSource,
    heads: tuple[Baked, Baked],
    dataset: Dataset,
    how: TuneConfig,
    rows: list[int],
) -> dict[str, float]:
    """PSNR of the field and of the head, just baked and polished, in rows not trained on."""
    field = _field_psnr_db(performer, dataset, how, rows)
    baked, polished = (baked_psnr_db(head, dataset, how, rows) for head in heads)
    found = {
        "psnr_field_db": field,
        "psnr_baked_db": baked,
        "psnr_polished_db": polished,
        "lost_db": field - polished,
    }
    return {name: round(value, 3) for name, value in found.items()}


def _field_psnr_db(performer: DeformationSource, dataset: Dataset, how: TuneConfig, rows: list[int]) -> float:
    easel = RenderLoss(dataset.camera, dataset.background, how.losses, how.threads)
    table = performer.table.numpy()
    every: NDArray[np.int64] = np.arange(len(table))
    found = []
    for row in rows:
        pose = pose_rows(dataset.frames.T_world_head[row], dataset.frames.T_world_torso[row])
        moves = DeformedGaussians(table, every, np.ascontiguousarray(performer.deltas(row).numpy()))
        truth = target_of(dataset, row, how.losses).picture / 255.0
        found.append(psnr_db(float(np.mean((easel.draw(moves, pose) - truth) ** 2))))
    return float(np.mean(found))


def _training_report(trained: Trained) -> dict[str, Any]:
    config = trained.config
    last = trained.history[-1] if trained.history else None
    return {
        "field": type(config.field).__name__.removesuffix("Config"),
        "seed": config.seed,
        "minutes": round(trained.seconds / 60, 2),
        "steps": last.step if last else 0,
        "psnr_db": round(last.psnr_db, 2) if last else None,
        "gaussians": len(trained.skin_logits),
        "threads": config.threads,
        "device": config.device,
    }
