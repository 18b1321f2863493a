# SPDX-License-Identifier: Apache-2.0
"""Initialization: Gaussians from points or random, the basis field, the trainer."""

from dataclasses import dataclass

import numpy as np
import torch

from splatface.models.audio2motion.audio_to_mouth import gelu
from splatface.models.errors import TrainingError
from splatface.models.head.head import DELTA_CHANNELS, MOTION_SIZE
from splatface.models.render.conventions import SH_0
from splatface.models.render.jit import Workers
from splatface.models.training.dataset.dataset_io import load_points
from splatface.models.training.dataset.frame_images import box_of, person_mask, read_image, read_labels
from splatface.models.training.dataset.types import (
    EYES,
    FACE,
    HAIR,
    LIPS,
    MOUTH,
    NECK,
    TORSO,
    TRAIN,
    Dataset,
    Points,
)
from splatface.models.training.fields.basis_field import BasisField
from splatface.models.training.fields.factory import make_field
from splatface.models.training.fields.field_config import BasisConfig
from splatface.models.training.optimization.dataset_statistics import (
    all_motion,
    known_frame_indices,
    motion_std,
)
from splatface.models.training.optimization.densification import (
    surface_prior_from_points,
    zero_densification_stats,
)
from splatface.models.training.optimization.field_trainers import (
    BasisFieldTrainer,
    Conditions,
    FieldTrainer,
    TorchFieldTrainer,
)
from splatface.models.training.optimization.gaussian_skinning import (
    DEPTH,
    LOG_SCALES,
    MEANS,
    OPACITY,
    QUATS,
    SH_DC,
    SKIN,
    logit,
    row_width,
    skin_logits,
    unpack,
)
from splatface.models.training.optimization.image_loss import TargetCache
from splatface.models.training.optimization.optimizer import zero_adam_state
from splatface.models.training.optimization.pose_refinement import PoseTrack
from splatface.models.training.optimization.refinement import Refiner, pose_refinement_config, usable_frames
from splatface.models.training.optimization.render_loss import RenderLoss, TorchRenderLoss
from splatface.models.training.optimization.train_config import TrainConfig
from splatface.models.training.optimization.trainer import Trainer, TrainingState
from splatface.models.typing import Float32Array, Float64Array, Int64Array, UInt8Array

__all__ = ["InitialGaussians", "build_trainer", "initialize_basis_field", "initialize_gaussians"]

_HEAD_PARTS = (HAIR, FACE, EYES, LIPS, MOUTH)
_FACE_PARTS = (FACE, EYES, LIPS, MOUTH)
_OPACITY, _RANDOM_OPACITY = 0.7, 0.1  # that of random points as in 3DGS
_RANDOM_DEPTH_M = 0.2  # of the box that random points fill
# Under a limit on their number, points of the parts that are looked at most are kept first.
_SAMPLING_WEIGHTS = {TORSO: 0.5, NECK: 0.8, HAIR: 0.8, FACE: 1.5, EYES: 4.0, LIPS: 4.0, MOUTH: 3.0}
_MIN_MOTION_M = 2e-4  # smaller displacements are not visible
_RIDGE = 1e-2  # fraction of the motion's variance


@dataclass(frozen=True, slots=True, eq=False)
class InitialGaussians:
    """N Gaussians before the first step."""

    table: Float32Array  # [N, row_width]
    labels: UInt8Array  # [N] LABELS
    modes: Float32Array  # [N, 16, 3] m per unit of each mouth mode and control; zeros where unknown


def build_trainer(dataset: Dataset, config: TrainConfig) -> Trainer:
    """Return a trainer before its first step.

    Raises:
        TrainingError: where the data set has nothing to train on.
    """
    frame_indices = known_frame_indices(dataset, TRAIN)
    if not len(frame_indices):
        raise TrainingError(
            "data set: expected TRAIN pictures with known motion and poses, found none: track them first"
        )
    initial = initialize_gaussians(dataset, frame_indices, config)
    render_loss = _make_render_loss(dataset, config)
    state = TrainingState(
        table=initial.table,
        labels=initial.labels,
        anchors=initial.table[:, [DEPTH, SKIN]],
        moments=zero_adam_state(initial.table),
        densification_stats=zero_densification_stats(len(initial.table)),
        poses=PoseTrack(dataset),
        motion=np.zeros((len(dataset.frames), MOTION_SIZE)),
        field_trainer=_make_field_trainer(dataset, frame_indices, initial, config, render_loss.workers),
    )
    targets = TargetCache(dataset, config.losses, config.cache_gb)
    refiner = Refiner(
        config=config,
        split=dataset.frames.split,
        known=usable_frames(dataset),
        targets=targets,
        render_loss=_make_render_loss(dataset, pose_refinement_config(config)),
    )
    surface_prior = surface_prior_from_points(None if dataset.has_full_geometry else load_points(dataset))
    return Trainer(
        state=state,
        config=config,
        dataset=dataset,
        frame_indices=frame_indices,
        targets=targets,
        render_loss=render_loss,
        refiner=refiner,
        surface_prior=surface_prior,
    )


def _make_render_loss(dataset: Dataset, config: TrainConfig) -> RenderLoss | TorchRenderLoss:
    background = np.asarray(dataset.background, np.float32)
    if config.device == "cpu":
        return RenderLoss(dataset.camera, background, config.losses, config.threads)
    return TorchRenderLoss(dataset.camera, background, config.losses, config.threads, config.device)


def _make_field_trainer(
    dataset: Dataset,
    frame_indices: Int64Array,
    initial: InitialGaussians,
    config: TrainConfig,
    workers: Workers,
) -> FieldTrainer:
    if not isinstance(config.field, BasisConfig):
        conditions = Conditions(dataset, config.field.conditioning, config.encoder)
        field = make_field(
            config.field,
            unpack(torch.from_numpy(initial.table)),
            training_features=conditions.training_features(),
            generator=torch.Generator().manual_seed(config.seed),
        )
        return TorchFieldTrainer(field.to(config.device), conditions, config)
    motion = all_motion(dataset)
    basis_field = initialize_basis_field(
        config.field,
        initial,
        motion[frame_indices],
        max_dynamic=config.dynamic,
        residual_scale=config.regularization.residual_init_scale,
        seed=config.seed,
    )
    return BasisFieldTrainer(basis_field, motion, config, workers)


def initialize_gaussians(
    dataset: Dataset, frame_indices: Int64Array, config: TrainConfig
) -> InitialGaussians:
    """Return the Gaussians that training starts from: the data set's points, or random ones.

    Args:
        dataset: with or without points.
        frame_indices: those trained on; one is read where the data set has no points.
        config: limits on number and size.

    Raises:
        TrainingError: where there is neither.
    """
    generator = np.random.default_rng([config.seed, 1])
    cloud = load_points(dataset)
    if cloud is None or not len(cloud.means):
        return _random_gaussians(dataset, frame_indices, config, generator)
    kept = _sample_points(cloud, config.densify.max_gaussians, generator)
    table = np.zeros((len(kept), row_width(config.sh_degree)), np.float32)
    table[:, MEANS], table[:, QUATS] = cloud.means[kept], cloud.quats[kept]
    # Fewer points cover the same surface: each grows.
    growth = np.sqrt(len(cloud.means) / len(kept))
    limits = config.constraints
    table[:, LOG_SCALES] = np.log(
        np.clip(cloud.scales[kept] * growth, limits.min_scale_m, limits.max_scale_m)
    )
    table[:, SH_DC] = (cloud.colors[kept] - 0.5) / SH_0
    table[:, OPACITY] = logit(_OPACITY)
    table[:, SKIN] = skin_logits(cloud.skinning_weight[kept])
    modes = np.concatenate([cloud.mouth_modes, cloud.control_modes], axis=1)[kept]
    return InitialGaussians(table, cloud.labels[kept].copy(), np.ascontiguousarray(modes, np.float32))


def _sample_points(cloud: Points, max_count: int, generator: np.random.Generator) -> Int64Array:
    """Return rising indices of at most `max_count` points."""
    count = len(cloud.means)
    if count <= max_count:
        return np.arange(count)
    weight = np.array([_SAMPLING_WEIGHTS.get(label, 0.1) for label in cloud.labels.tolist()])
    # Efraimidis and Spirakis 2006: the largest of u^(1/w) are a weighted sample without replacement.
    key = np.log(generator.random(count)) / weight
    return np.sort(np.argsort(-key)[:max_count])


def _random_gaussians(
    dataset: Dataset, frame_indices: Int64Array, config: TrainConfig, generator: np.random.Generator
) -> InitialGaussians:
    """Return Gaussians with true colors in the box of the person's silhouette, near the pivot's depth."""
    if not len(frame_indices):
        raise TrainingError(
            "data set: expected TRAIN pictures with known poses, found none: track them first"
        )
    frame_index = int(frame_indices[len(frame_indices) // 2])
    image, parts = read_image(dataset, frame_index), read_labels(dataset, frame_index)
    person = person_mask(parts)
    box = box_of(person)
    if box is None:
        raise TrainingError(
            f"labels of row {frame_index}: expected a person, found only background: make masks first"
        )
    camera, count = dataset.camera, config.random_points
    to_world = np.linalg.inv(camera.T_camera_world)
    pivot = camera.T_camera_world[:3, :3] @ dataset.pivot_m + camera.T_camera_world[:3, 3]
    y, x = (generator.uniform(low, high, count) for low, high in (box[:2], box[2:]))
    z = pivot[2] + generator.uniform(-0.7, 0.3, count) * _RANDOM_DEPTH_M
    in_camera = np.stack([(x - camera.cx) * z / camera.fx, (y - camera.cy) * z / camera.fy, z], axis=1)
    pixels = y.astype(int), x.astype(int)
    label = np.where(person[pixels], parts[pixels], TORSO).astype(np.uint8)
    table = np.zeros((count, row_width(config.sh_degree)), np.float32)
    table[:, MEANS] = in_camera @ to_world[:3, :3].T + to_world[:3, 3]
    table[:, QUATS] = (1, 0, 0, 0)
    area = np.ptp(in_camera[:, 0]) * np.ptp(in_camera[:, 1])
    size = np.clip(0.5 * np.sqrt(area / count), 1e-3, config.constraints.max_scale_m)
    table[:, LOG_SCALES] = np.log(size)
    table[:, SH_DC] = (image[pixels] / 255 - 0.5) / SH_0
    table[:, OPACITY] = logit(_RANDOM_OPACITY)
    weight = np.where(np.isin(label, _HEAD_PARTS), 0.95, np.where(label == NECK, 0.5, 0.05))
    table[:, SKIN] = logit(weight)
    return InitialGaussians(table, label, np.zeros((count, MOTION_SIZE, 3), np.float32))


def initialize_basis_field(
    config: BasisConfig,
    initial: InitialGaussians,
    motion: Float32Array,
    *,
    max_dynamic: int,
    residual_scale: float,
    seed: int,
) -> BasisField:
    """Return the basis field before the first step.

    Unlike those of `make_field` its coefficients are in units of the person's standard deviation: steps of
    Adam are then of similar size for all.

    Args:
        config: number of coefficients and hidden units.
        initial: Gaussians with known modes.
        motion: [n, 16] of the frames trained on.
        max_dynamic: number of Gaussians that may move.
        residual_scale: standard deviation of the largest coefficient beyond the known modes.
        seed: of the map's random layer.
    """
    dynamic = _dynamic_indices(initial, motion, max_dynamic)
    basis = torch.from_numpy(_initial_basis(initial, dynamic, motion, config.coefficients))
    generator = torch.Generator().manual_seed(seed)
    field = BasisField(config, basis, torch.from_numpy(dynamic), len(initial.table), generator)
    motion_map = _initial_map(motion, config, residual_scale, np.random.default_rng([seed, 3]))
    for name, array in motion_map.items():
        getattr(field.motion, name).data = torch.from_numpy(np.ascontiguousarray(array, np.float32))
    return field


def _dynamic_indices(initial: InitialGaussians, motion: Float32Array, max_count: int) -> Int64Array:
    """Return rising indices of the Gaussians that move most, then of the rest of the face."""
    displacement_m = np.abs(initial.modes * motion_std(motion)[:, None]).sum(axis=1).max(axis=1)
    face = np.isin(initial.labels, _FACE_PARTS)
    known = (displacement_m > _MIN_MOTION_M).any()
    # Without known modes all of the face, the mouth first, is free to move.
    part_rank = np.where(np.isin(initial.labels, (LIPS, MOUTH, EYES)), 2.0, 1.0) * face
    by_displacement = np.where(displacement_m > _MIN_MOTION_M, 10.0 + displacement_m, 0.5 * part_rank)
    rank = by_displacement if known else part_rank
    candidates = np.flatnonzero(rank > 0)
    best = candidates[np.argsort(-rank[candidates], kind="stable")[:max_count]]
    return np.sort(best)


def _initial_basis(
    initial: InitialGaussians, dynamic: Int64Array, motion: Float32Array, coefficients: int
) -> Float32Array:
    """Return the basis [M, 14, K]: means follow the known modes per standard deviation; all else is 0."""
    basis = np.zeros((len(dynamic), DELTA_CHANNELS, coefficients), np.float32)
    scaled = initial.modes[dynamic] * motion_std(motion)[:, None]
    basis[:, :3, :MOTION_SIZE] = scaled.transpose(0, 2, 1)
    return basis


def _initial_map(
    motion: Float32Array, config: BasisConfig, residual_scale: float, generator: np.random.Generator
) -> dict[str, Float64Array]:
    """Return linear, w1, b1 and w2 of a map whose first 16 coefficients are the normalized motion.

    The others are the principal components of what a random layer gives for the motion [n, 16] beyond a
    linear function, the largest with a standard deviation of `residual_scale`, so that rare ones start small.
    """
    coefficients, hidden = config.coefficients, config.hidden
    std = motion_std(motion)
    linear = np.zeros((MOTION_SIZE, coefficients))
    linear[:, :MOTION_SIZE] = np.diag(1 / std)
    w1 = generator.normal(size=(MOTION_SIZE, hidden)) / std[:, None] / np.sqrt(3)
    b1 = generator.normal(size=hidden) * 0.5
    w2 = np.zeros((hidden, coefficients))
    extra = min(coefficients - MOTION_SIZE, hidden)
    if extra > 0 and len(motion) > 1:
        activation = gelu(motion @ w1 + b1) - gelu(b1)
        ridge = np.diag(std.astype(np.float64) ** 2) * _RIDGE * len(motion)
        linear_part = np.linalg.solve(motion.T @ motion + ridge, motion.T @ activation)
        _, sizes, components = np.linalg.svd(activation - motion @ linear_part, full_matrices=False)
        extra = min(extra, len(components))
        unit = max(float(sizes[0]) / np.sqrt(len(motion)), 1e-6) / max(residual_scale, 1e-6)
        w2[:, MOTION_SIZE : MOTION_SIZE + extra] = components[:extra].T / unit
        linear[:, MOTION_SIZE : MOTION_SIZE + extra] = -linear_part @ components[:extra].T / unit
    return {"linear": linear, "w1": w1, "b1": b1, "w2": w2}
