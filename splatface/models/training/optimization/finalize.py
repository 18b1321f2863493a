# SPDX-License-Identifier: Apache-2.0
"""From a finished training to a head: bake, fine-tune through the renderer, compare, export."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from splatface.models.errors import TrainingError
from splatface.models.head.head import Gaussians, Head, Splats
from splatface.models.training.dataset.types import TEST, TRAIN, VAL, Dataset
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
from splatface.models.training.optimization.image_loss import TargetCache, image_psnr_db
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
from splatface.models.training.optimization.train_config import (
    MAX_COLOR_DEVIATION,
    LearningRates,
    LossConfig,
)
from splatface.models.training.optimization.training_run import TrainingResult
from splatface.models.training.optimization.visible_colors import (
    MAX_SAMPLED_FRAMES,
    ColorBounds,
    accumulate_visible_colors_over_frames,
    color_bounds_from_sums,
    inpaint_unseen_colors,
    visibility,
)
from splatface.models.typing import Float32Array, Float64Array, Int64Array

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

_COMPARED_FRAMES = 24  # in which field and baked head are compared
_VALIDATION_FRAMES = 16  # that decide whether fine-tuning helped
_MAX_INPAINTING_LOSS_DB = 0.3
_MAX_BOUNDS_LOSS_DB = 0.25  # color bounds help in views that no frame shows
_START_PROGRESS, _END_PROGRESS = 0.6, 1.0  # of the run's learning rates: the head is nearly done
_MAP_RATE = 5e-4
_WARMUP_STEPS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalizeConfig:
    """Settings of the way from a training to a head."""

    name: str  # of the head
    coefficients: int = 32  # K
    tune_steps: int = 400  # of fine-tuning, one frame each


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneConfig:
    """Settings of fine-tuning."""

    steps: int = 400  # one frame each
    losses: LossConfig
    rates: LearningRates
    threads: int = 1
    seed: int = 0


def bake_finetune_export(
    trained: TrainingResult,
    config: FinalizeConfig,
    report: Callable[[str], None],
    *,
    progress: Callable[[float], None] = lambda _: None,
) -> Head:
    """Bake, fine-tune and export: a head without networks, with what each step lost in its report.

    Args:
        trained: as `train` returns it.
        config: name of the head, size of the basis, length of fine-tuning.
        report: is called with what is being done, in words.
        progress: is called with the fraction of fine-tuning that is finished, 0..1.

    Raises:
        TrainingError: when the field's deformation is not finite, or no Gaussian is visible.
    """
    dataset, targets = trained.dataset, trained.targets
    report("baking: principal directions of the movement")
    source = make_deformation_source(trained)
    baked = _bake(trained, source, config.coefficients)
    if not dataset.has_full_geometry:
        baked = add_back_of_head_shell(baked)
    finetune_config = FinetuneConfig(
        steps=config.tune_steps,
        losses=trained.config.losses,
        rates=trained.config.rates,
        threads=trained.config.threads,
        seed=trained.config.seed,
    )
    report(f"polishing: {config.tune_steps} pictures")
    finetuned = finetune(baked, dataset, targets, finetune_config, progress=progress)
    final = inpaint_unless_worse(finetuned.baked, dataset, targets, finetune_config)
    frame_indices = _compared_frames(dataset)
    field_db = _field_psnr_db(source, dataset, targets, finetune_config, frame_indices)
    baked_db, final_db = (
        baked_psnr_db(head, dataset, targets, finetune_config, frame_indices) for head in (baked, final)
    )
    figures = {
        "psnr_field_db": round(field_db, 3),
        "psnr_baked_db": round(baked_db, 3),
        "psnr_polished_db": round(final_db, 3),
        "lost_db": round(field_db - final_db, 3),
        "colors_bounded": finetuned.bounded,
    }
    reports = {"training": _training_report(trained) | {"baking": baked.report | figures}}
    return export_head(final, dataset, name=config.name, reports=reports)


def _bake(trained: TrainingResult, source: DeformationSource, coefficients: int) -> BakedHead:
    field, dataset = trained.field, trained.dataset
    config = BakeConfig(
        coefficients=coefficients,
        dynamic=trained.config.dynamic,
        threads=trained.config.threads,
        seed=trained.config.seed,
    )
    if not isinstance(field, BasisField) or field.config.coefficients > coefficients:
        return bake_field(source, dataset, config)
    dynamic, basis = (tensor.cpu().numpy() for tensor in field.linear_basis())
    return bake_basis(source, dynamic, basis, field.motion_map(), dataset, config)


def make_deformation_source(trained: TrainingResult) -> DeformationSource:
    """Return canonical Gaussians of a trained field, and its deformation of any frame."""
    config, field = trained.config, trained.field
    conditions = Conditions(trained.dataset, config.field.conditioning, config.encoder)
    with torch.no_grad():
        canonical = field.canonical(trained.gaussians)
        table = pack(canonical, trained.skin_logits).detach().cpu().float()
        deform = field.bind_positions(unpack(table).means)

    def deltas(frame_index: int) -> Tensor:
        with torch.no_grad():
            return deform(conditions(frame_index)).deltas.cpu().float()

    return DeformationSource(table, deltas)


@dataclass(frozen=True, slots=True, eq=False)
class FinetuneResult:
    """The head, fine-tuned or, where that did not help, as it was."""

    baked: BakedHead
    before_db: float  # mean PSNR of VAL frames (of TRAIN frames where there are none)
    after_db: float
    bounded: bool = False  # whether its colors are bounded by those that frames show


def finetune(
    baked: BakedHead,
    dataset: Dataset,
    targets: TargetCache,
    config: FinetuneConfig,
    *,
    progress: Callable[[float], None] = lambda _: None,
) -> FinetuneResult:
    """Train Gaussians, basis and motion map of a baked head together on TRAIN frames.

    This is done twice: freely, and with every color bounded by what the frames show at its Gaussian, which
    is better for views that no frame shows. The free head is taken where the other is clearly less like the
    validation frames. The same config gives the same head, bit for bit, on one thread.

    Args:
        baked: as `bake_field` returns it.
        dataset: the one it was trained on.
        targets: of the data set.
        config: number of steps, losses, rates.
        progress: is called with the finished fraction, 0..1.
    """
    frame_indices = known_frame_indices(dataset, TRAIN)
    if not len(frame_indices):
        raise TrainingError("tune: expected TRAIN pictures with known motion, found none: track them first")
    validation = _validation_frames(dataset, frame_indices)
    free, bounded = (_FinetuneState(baked, dataset, targets, config) for _ in range(2))
    before_db = free.psnr_db(validation)
    if not config.steps:
        return FinetuneResult(baked, before_db, before_db)
    unlimited = np.full(3, np.inf, np.float32)
    _train(free, frame_indices, config, ColorBounds(-unlimited, unlimited), lambda f: progress(f / 2))
    free_db = free.psnr_db(validation)
    sums = bounded.visible_color_sums(subsample_evenly(frame_indices, MAX_SAMPLED_FRAMES).tolist())
    bounds = color_bounds_from_sums(sums, MAX_COLOR_DEVIATION)
    _train(bounded, frame_indices, config, bounds, lambda f: progress((1 + f) / 2))
    bounded_db = bounded.psnr_db(validation)
    if bounded_db > max(before_db, free_db) - _MAX_BOUNDS_LOSS_DB:
        return FinetuneResult(bounded.result(), before_db, bounded_db, bounded=True)
    if free_db > before_db:  # not where it is NaN
        return FinetuneResult(free.result(), before_db, free_db)
    return FinetuneResult(baked, before_db, before_db)


def inpaint_unless_worse(
    baked: BakedHead, dataset: Dataset, targets: TargetCache, config: FinetuneConfig
) -> BakedHead:
    """Return the head with colors that no TRAIN frame shows replaced by those beside them.

    Colors that are hardly visible hardly matter: where the validation frames suffer, as those of a head that
    is far from converged, it stays as it was.
    """
    frame_indices = known_frame_indices(dataset, TRAIN)
    state = _FinetuneState(baked, dataset, targets, config)
    validation = _validation_frames(dataset, frame_indices)
    sampled = subsample_evenly(frame_indices, MAX_SAMPLED_FRAMES).tolist()
    gaussians = inpaint_unseen_colors(
        baked.gaussians, baked.skin, state.max_visibility(sampled), state.visible_color_sums(sampled)
    )
    inpainted = replace(baked, gaussians=gaussians)
    lost_db = state.psnr_db(validation) - baked_psnr_db(inpainted, dataset, targets, config, validation)
    return inpainted if lost_db < _MAX_INPAINTING_LOSS_DB else baked


def baked_psnr_db(
    baked: BakedHead,
    dataset: Dataset,
    targets: TargetCache,
    config: FinetuneConfig,
    frame_indices: Sequence[int],
) -> float:
    """Return the mean PSNR of a baked head in frames of the data set."""
    return _FinetuneState(baked, dataset, targets, config).psnr_db(frame_indices)


def _validation_frames(dataset: Dataset, trained: Int64Array) -> list[int]:
    validation = known_frame_indices(dataset, VAL)
    frame_indices: list[int] = subsample_evenly(
        validation if len(validation) else trained, _VALIDATION_FRAMES
    ).tolist()
    return frame_indices


class _FinetuneState:
    """A baked head as arrays that are trained."""

    def __init__(
        self, baked: BakedHead, dataset: Dataset, targets: TargetCache, config: FinetuneConfig
    ) -> None:
        self.baked, self.targets, self._frames = baked, targets, dataset.frames
        self.table = _pack_table(baked)
        self.basis = baked.basis.copy()
        self.map: TorchMotionMap = torch_motion_map_from(baked.motion_map)
        self.motion = torch.from_numpy(motion_at(dataset, np.arange(len(dataset.frames)))).float()
        self.dynamic_indices = baked.dynamic.astype(np.int64)
        self.render_loss = RenderLoss(dataset.camera, dataset.background, config.losses, config.threads)

    def deformed(self, coefficients: Float32Array) -> DeformedGaussians:
        deltas = np.ascontiguousarray(self.basis @ coefficients)
        return DeformedGaussians(self.table, self.dynamic_indices, deltas)

    def pose(self, frame_index: int) -> Float64Array:
        frames = self._frames
        return pack_bone_poses(frames.T_world_head[frame_index], frames.T_world_torso[frame_index])

    def coefficients(self, frame_index: int) -> Float32Array:
        with torch.no_grad():
            coefficients: Float32Array = self.map(self.motion[frame_index]).numpy()
        return coefficients

    def splats(self, frame_index: int) -> Splats:
        """Return the splats of a frame; valid until the next call."""
        d, pose = self.deformed(self.coefficients(frame_index)), self.pose(frame_index)
        return skin_gaussians(d.table, d.indices, d.deltas, pose, self.render_loss.workers).splats

    def max_visibility(self, frame_indices: Sequence[int]) -> Float32Array:
        """Return the largest visible fraction of each Gaussian [N] in these frames."""
        largest = np.zeros(len(self.table), np.float32)
        camera, renderer = self.render_loss.camera, self.render_loss.renderer
        for frame_index in frame_indices:
            largest = np.maximum(largest, visibility(self.splats(frame_index), camera, renderer))
        return largest

    def visible_color_sums(self, frame_indices: Sequence[int]) -> Float64Array:
        """Return the sums [N, 5] of `accumulate_visible_colors` over frames."""
        return accumulate_visible_colors_over_frames(
            self.splats, self.render_loss.camera, self.render_loss.renderer, self.targets, frame_indices
        )

    def psnr_db(self, frame_indices: Sequence[int]) -> float:
        """Return the mean PSNR over frames."""
        values = []
        for frame_index in frame_indices:
            deformed = self.deformed(self.coefficients(frame_index))
            image = self.render_loss.render(deformed, self.pose(frame_index))
            values.append(image_psnr_db(image, self.targets(frame_index)))
        return float(np.mean(values))

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


def _train(
    state: _FinetuneState,
    frame_indices: Int64Array,
    config: FinetuneConfig,
    bounds: ColorBounds,
    progress: Callable[[float], None],
) -> None:
    bounds.clamp_(state.table[:, SH_DC])
    rng = np.random.default_rng(config.seed)
    table_moments, basis_moments = zero_adam_state(state.table), zero_adam_state(state.basis)
    map_adam = torch.optim.Adam(state.map.parameters(), lr=_MAP_RATE)
    workers = state.render_loss.workers
    for step in range(config.steps):
        frame_index = int(rng.choice(frame_indices))
        fraction = step / config.steps
        progress(fraction)
        schedule = ScheduleState(
            stage=DEFORMATION,
            progress=_START_PROGRESS + (_END_PROGRESS - _START_PROGRESS) * fraction,
            warmup=min(1.0, (step + 1) / _WARMUP_STEPS),
            finished=False,
        )
        torch_coefficients = state.map(state.motion[frame_index])
        coefficients = torch_coefficients.detach().numpy().copy()
        deformed, pose = state.deformed(coefficients), state.pose(frame_index)
        grads = state.render_loss.loss_and_grads(deformed, pose, state.targets(frame_index))
        if not grads.finite:
            continue
        map_adam.param_groups[0]["lr"] = _MAP_RATE * schedule.warmup * (1 - fraction)
        map_adam.zero_grad()
        torch_coefficients.backward(torch.from_numpy(np.einsum("mjk,mj->k", state.basis, grads.deltas)))
        map_adam.step()
        basis_grad = LowRankGradient(
            grads=grads.deltas,
            coefficients=coefficients,
            rates=basis_rates(config.rates, schedule),
            steps=step + 1,
        )
        step_basis(state.basis, basis_moments, basis_grad, workers)
        rates = table_rates(config.rates, schedule.progress, state.table.shape[1])
        rates = rates * np.float32(schedule.warmup)
        step_table(state.table, grads.table, table_moments, rates, step + 1, workers)
        bounds.clamp_(state.table[:, SH_DC])


def _pack_table(baked: BakedHead) -> Float32Array:
    g, skin = baked.gaussians, np.clip(baked.skin.astype(np.float64), 1e-5, 1 - 1e-5)
    logits = np.log(skin / (1 - skin))
    columns = [g.means, g.quats, g.log_scales, g.opacity_logits[:, None], logits[:, None]]
    return np.concatenate([*columns, g.sh.reshape(len(g), -1)], axis=1, dtype=np.float32)


def _compared_frames(dataset: Dataset) -> list[int]:
    for part in (TEST, VAL, TRAIN):
        frame_indices = known_frame_indices(dataset, part)
        if len(frame_indices):
            selected: list[int] = subsample_evenly(frame_indices, _COMPARED_FRAMES).tolist()
            return selected
    return []


def _field_psnr_db(
    source: DeformationSource,
    dataset: Dataset,
    targets: TargetCache,
    config: FinetuneConfig,
    frame_indices: list[int],
) -> float:
    render_loss = RenderLoss(dataset.camera, dataset.background, config.losses, config.threads)
    table, frames = source.table.numpy(), dataset.frames
    all_indices: Int64Array = np.arange(len(table))
    values = []
    for frame_index in frame_indices:
        pose = pack_bone_poses(frames.T_world_head[frame_index], frames.T_world_torso[frame_index])
        deltas = np.ascontiguousarray(source.deltas(frame_index).numpy())
        image = render_loss.render(DeformedGaussians(table, all_indices, deltas), pose)
        values.append(image_psnr_db(image, targets(frame_index)))
    return float(np.mean(values))


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
