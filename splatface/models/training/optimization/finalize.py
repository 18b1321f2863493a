"""x"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from splatface.models.errors import TrainingError
from splatface.models.head.head import Gaussians, Head, Splats
from splatface.models.training.dataset.types import TEST, TRAIN, VAL, Dataset
from splatface.models.training.evaluation.image_metrics import psnr_db
from splatface.models.training.fields.basis_field import BasisField
from splatface.models.training.optimization.bake import (
    BakeConfig,
    BakedHead,
    DeformationSource,
    TorchMotionMap,
    bake_basis,
    bake_field,
    motion_map_from_torch,
    torch_motion_map_from,
)
from splatface.models.training.optimization.dataset_statistics import (
    known_frame_indices,
    motion_at,
    subsample_evenly,
)
from splatface.models.training.optimization.field_trainers import Conditions
from splatface.models.training.optimization.gaussian_skinning import (
    SH_DC,
    SKIN,
    pack,
    pack_bone_poses,
    skin_gaussians,
    unpack,
)
from splatface.models.training.optimization.head_export import add_back_of_head_shell, export_head
from splatface.models.training.optimization.image_loss import TargetCache, make_target
from splatface.models.training.optimization.optimizer import (
    DEFORMATION,
    LowRankGradient,
    ScheduleState,
    basis_rates,
    step_basis,
    step_table,
    table_rates,
    zero_adam_state,
)
from splatface.models.training.optimization.render_loss import DeformedGaussians, RenderLoss
from splatface.models.training.optimization.train_config import COLOR_REACH, LearningRates, LossConfig
from splatface.models.training.optimization.training_run import TrainingResult
from splatface.models.training.optimization.visible_colors import (
    MAX_SAMPLED_FRAMES,
    ColorBounds,
    accumulate_visible_colors_over_frames,
    color_bounds_from_sums,
    inpaint_unseen_colors,
    visibility,
)
from splatface.models.typing import Float32Array

__all__ = [
    "FinalizeConfig",
    "FinetuneConfig",
    "FinetuneResult",
    "bake_finetune_export",
    "baked_psnr_db",
    "finetune",
    "inpaint_unless_worse",
    "make_deformation_source",
]

_HARDLY_DB = 0.3
_BOUNDS_COST_DB = 0.25  # at most: what it buys is seen in no picture
_JUDGED = 16  # pictures that say whether polishing helped
_FROM, _TO = 0.6, 1.0  # where on the run's schedule the rates begin and end: the head is nearly done
_MAP_RATE = 5e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneConfig:
    """How long and how carefully."""

    steps: int = 400  # one picture each
    losses: LossConfig
    rates: LearningRates
    threads: int = 1
    cache_gb: float = 1.0  # of pictures kept in memory
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class FinetuneResult:
    """The head, polished or, where that did not help, as it was."""

    baked: BakedHead
    before_db: float  # mean PSNR of pictures not trained on (of VAL; of TRAIN where there are none)
    after_db: float
    bounded: bool = False  # its colors are near to what pictures show where each Gaussian lies


class _FinetuneState:
    """A baked head as arrays that are learned, in the scene of a data set."""

    def __init__(self, baked: BakedHead, dataset: Dataset, how: FinetuneConfig) -> None:
        self.baked, self.how, self._frames = baked, how, dataset.frames
        self.table = _table_of(baked)
        self.basis = baked.basis.copy()
        self.map: TorchMotionMap = torch_motion_map_from(baked.motion_map)
        self.motion = torch.from_numpy(motion_at(dataset, np.arange(len(dataset.frames)))).float()
        self.rows = baked.dynamic.astype(np.int64)
        self.render_loss = RenderLoss(dataset.camera, dataset.background, how.losses, how.threads)
        self.targets = TargetCache(dataset, how.losses, how.cache_gb * 1e9)

    def deformed(self, codes: Float32Array) -> DeformedGaussians:
        return DeformedGaussians(self.table, self.rows, np.ascontiguousarray(self.basis @ codes))

    def pose(self, row: int) -> NDArray[np.float64]:
        return pack_bone_poses(self._frames.T_world_head[row], self._frames.T_world_torso[row])

    def codes(self, row: int) -> Float32Array:
        with torch.no_grad():
            codes: Float32Array = self.map(self.motion[row]).numpy()
        return codes

    def splats(self, row: int) -> Splats:
        """The Gaussians as they stand in a row's picture; they hold until the next call."""
        deformed = self.deformed(self.codes(row))
        return skin_gaussians(
            deformed.table, deformed.rows, deformed.deltas, self.pose(row), self.render_loss.workers
        ).splats

    def shown(self, rows: Sequence[int]) -> Float32Array:
        """How much of each Gaussian [N] shows, at most, in any of these rows."""
        most = np.zeros(len(self.table), np.float32)
        for row in rows:
            share = visibility(self.splats(row), self.render_loss.camera, self.render_loss.renderer)
            most = np.maximum(most, share)
        return most

    def sums(self, rows: Sequence[int]) -> NDArray[np.float64]:
        """What these rows' pictures show of the person where each Gaussian lies [N, 5], see `sight_of`."""
        return accumulate_visible_colors_over_frames(
            self.splats, (self.render_loss.camera, self.render_loss.renderer), self.targets, rows
        )

    def psnr_db(self, rows: Sequence[int]) -> float:
        """Mean over rows."""
        found = []
        for row in rows:
            drawn = self.render_loss.draw(self.deformed(self.codes(row)), self.pose(row))
            off = drawn - self.targets(row).picture / 255.0
            found.append(psnr_db(float(np.mean(off * off))))
        return float(np.mean(found))

    def result(self) -> BakedHead:
        g = unpack(torch.from_numpy(self.table))
        parts = {name: np.ascontiguousarray(getattr(g, name).numpy()) for name in Gaussians.__slots__}
        skin = torch.sigmoid(torch.from_numpy(self.table[:, SKIN])).numpy()
        return replace(
            self.baked,
            gaussians=Gaussians(**parts),
            skin=skin,
            basis=self.basis,
            motion_map=motion_map_from_torch(self.map),
        )


def finetune(baked: BakedHead, dataset: Dataset, how: FinetuneConfig) -> FinetuneResult:
    """Go on learning Gaussians, basis and motion map together on TRAIN pictures.

    Args:
        baked: as `bake_field` made it.
        dataset: the one it was trained on.
        how: see TuneConfig.

    Twice: freely, and with every color near to what the pictures show where its Gaussian lies, which is
    better for views that no picture shows. The free head is taken where the other is clearly less like
    pictures not trained on.

    The same config gives the same head, bit for bit, on one thread.
    """
    rows = known_frame_indices(dataset, TRAIN)
    if not len(rows):
        raise TrainingError("tune: expected TRAIN pictures with known motion, found none: track them first")
    judged = _judged(dataset, rows)
    free, bounded = (_FinetuneState(baked, dataset, how) for _ in range(2))
    before = free.psnr_db(judged)
    if not how.steps:
        return FinetuneResult(baked, before, before)
    _learn(free, rows, how, ColorBounds(np.full(3, -np.inf, np.float32), np.full(3, np.inf, np.float32)))
    free_db = free.psnr_db(judged)
    _learn(
        bounded,
        rows,
        how,
        color_bounds_from_sums(
            bounded.sums(subsample_evenly(rows, MAX_SAMPLED_FRAMES).tolist()), COLOR_REACH
        ),
    )
    near_db = bounded.psnr_db(judged)
    if near_db > max(before, free_db) - _BOUNDS_COST_DB:
        return FinetuneResult(bounded.result(), before, near_db, bounded=True)
    if free_db > before:  # not where it is NaN
        return FinetuneResult(free.result(), before, free_db)
    return FinetuneResult(baked, before, before)


def inpaint_unless_worse(baked: BakedHead, dataset: Dataset, how: FinetuneConfig) -> BakedHead:
    """The head with colors that no TRAIN picture told taken from what lies beside them.

    What hardly shows hardly matters: where pictures suffer, as those of a head that is far from done, it
    stays as it was.
    """
    rows = known_frame_indices(dataset, TRAIN)
    bench, judged = _FinetuneState(baked, dataset, how), _judged(dataset, rows)
    looked = subsample_evenly(rows, MAX_SAMPLED_FRAMES).tolist()
    told = inpaint_unseen_colors(baked.gaussians, baked.skin, bench.shown(looked), bench.sums(looked))
    calmer = replace(baked, gaussians=told)
    lost_db = bench.psnr_db(judged) - baked_psnr_db(calmer, dataset, how, judged)
    return calmer if lost_db < _HARDLY_DB else baked


def baked_psnr_db(baked: BakedHead, dataset: Dataset, how: FinetuneConfig, rows: Sequence[int]) -> float:
    """Mean PSNR of a baked head in rows of the data set."""
    return _FinetuneState(baked, dataset, how).psnr_db(rows)


def _judged(dataset: Dataset, trained: NDArray[np.int64]) -> list[int]:
    unseen = known_frame_indices(dataset, VAL)
    rows = unseen if len(unseen) else trained
    return subsample_evenly(rows, _JUDGED).tolist()


def _learn(bench: _FinetuneState, rows: NDArray[np.int64], how: FinetuneConfig, bounds: ColorBounds) -> None:
    bounds.clamp_(bench.table[:, SH_DC])
    rng = np.random.default_rng(how.seed)
    table_moments, basis_moments = zero_adam_state(bench.table), zero_adam_state(bench.basis)
    adam = torch.optim.Adam(bench.map.parameters(), lr=_MAP_RATE)
    for step in range(how.steps):
        row = int(rng.choice(rows))
        done = step / how.steps
        schedule = ScheduleState(DEFORMATION, _FROM + (_TO - _FROM) * done, min(1.0, (step + 1) / 50), False)
        codes = bench.map(bench.motion[row])
        now = codes.detach().numpy().copy()
        grads = bench.render_loss.loss_and_grads(bench.deformed(now), bench.pose(row), bench.targets(row))
        if not grads.finite:
            continue
        adam.param_groups[0]["lr"] = _MAP_RATE * schedule.warmup * (1 - done)
        adam.zero_grad()
        codes.backward(torch.from_numpy(np.einsum("mjk,mj->k", bench.basis, grads.deltas)))
        adam.step()
        workers = bench.render_loss.workers
        basis_step = LowRankGradient(grads.deltas, now, basis_rates(how.rates, schedule), step + 1)
        step_basis(bench.basis, basis_moments, basis_step, workers)
        rates = table_rates(how.rates, schedule.progress, bench.table.shape[1]) * np.float32(schedule.warmup)
        step_table(bench.table, grads.table, table_moments, rates, step + 1, workers)
        bounds.clamp_(bench.table[:, SH_DC])


def _table_of(baked: BakedHead) -> Float32Array:
    g, skin = baked.gaussians, np.clip(baked.skin.astype(np.float64), 1e-5, 1 - 1e-5)
    logits = np.log(skin / (1 - skin))
    columns = [g.means, g.quats, g.log_scales, g.opacity_logits[:, None], logits[:, None]]
    return np.concatenate([*columns, g.sh.reshape(len(g), -1)], axis=1, dtype=np.float32)


_COMPARED = 24  # pictures in which field and baked head are compared


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalizeConfig:
    """How a training is brought to an end."""

    name: str  # of the head
    coefficients: int = 32  # K
    tune_steps: int = 400  # of polishing, one picture each


def bake_finetune_export(trained: TrainingResult, how: FinalizeConfig, tell: Callable[[str], None]) -> Head:
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
    performer = make_deformation_source(trained)
    baking = BakeConfig(
        coefficients=how.coefficients, dynamic=config.dynamic, threads=config.threads, seed=config.seed
    )
    baked = _baked(trained, performer, baking)
    if not dataset.has_full_geometry:
        baked = add_back_of_head_shell(baked)
    tuning = FinetuneConfig(
        steps=how.tune_steps,
        losses=config.losses,
        rates=config.rates,
        threads=config.threads,
        cache_gb=config.cache_gb,
        seed=config.seed,
    )
    tell(f"polishing: {how.tune_steps} pictures")
    tuned = finetune(baked, dataset, tuning)
    polished = inpaint_unless_worse(tuned.baked, dataset, tuning)
    rows = _compared(dataset)
    lost = _lost(performer, (baked, polished), dataset, tuning, rows)
    baking_report = baked.report | lost | {"colors_bounded": tuned.bounded}
    reports = {"training": _training_report(trained) | {"baking": baking_report}}
    return export_head(polished, dataset, name=how.name, reports=reports)


def _baked(trained: TrainingResult, performer: DeformationSource, how: BakeConfig) -> BakedHead:
    field, dataset = trained.field, trained.dataset
    if not isinstance(field, BasisField) or field.config.coefficients > how.coefficients:
        return bake_field(performer, dataset, how)
    dynamic, basis = (tensor.cpu().numpy() for tensor in field.linear_basis())
    return bake_basis(performer, (dynamic, basis, field.motion_map()), dataset, how)


def make_deformation_source(trained: TrainingResult) -> DeformationSource:
    """The trained field, asked row by row."""
    config, field = trained.config, trained.field
    conditions = Conditions(trained.dataset, config.field.conditioning, config.encoder)
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
        rows = known_frame_indices(dataset, part)
        if len(rows):
            return subsample_evenly(rows, _COMPARED).tolist()
    return []


def _lost(
    performer: DeformationSource,
    heads: tuple[BakedHead, BakedHead],
    dataset: Dataset,
    how: FinetuneConfig,
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


def _field_psnr_db(
    performer: DeformationSource, dataset: Dataset, how: FinetuneConfig, rows: list[int]
) -> float:
    render_loss = RenderLoss(dataset.camera, dataset.background, how.losses, how.threads)
    table = performer.table.numpy()
    every: NDArray[np.int64] = np.arange(len(table))
    found = []
    for row in rows:
        pose = pack_bone_poses(dataset.frames.T_world_head[row], dataset.frames.T_world_torso[row])
        deformed = DeformedGaussians(table, every, np.ascontiguousarray(performer.deltas(row).numpy()))
        truth = make_target(dataset, row, how.losses).picture / 255.0
        found.append(psnr_db(float(np.mean((render_loss.draw(deformed, pose) - truth) ** 2))))
    return float(np.mean(found))


def _training_report(trained: TrainingResult) -> dict[str, Any]:
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
