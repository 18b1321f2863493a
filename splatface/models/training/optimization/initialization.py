"""x"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from splatface.models.audio2motion.audio_to_mouth import gelu
from splatface.models.errors import TrainingError
from splatface.models.head.head import DELTA_CHANNELS, MOTION_SIZE
from splatface.models.render.conventions import SH_0
from splatface.models.render.jit import Workers
from splatface.models.training.dataset.dataset_io import points
from splatface.models.training.dataset.frame_images import box_of, labels, person_mask, picture
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
from splatface.models.training.optimization.render_loss import RenderLoss, TorchRenderLoss
from splatface.models.training.optimization.train_config import RegularizationConfig, TrainConfig
from splatface.models.training.optimization.trainer import (
    Refiner,
    Trainer,
    TrainingState,
    pose_refinement_config,
    usable_frames,
)
from splatface.models.typing import Float32Array

__all__ = ["InitialGaussians", "build_trainer", "initialize_gaussians", "start_field"]

_HEAD_PARTS = (HAIR, FACE, EYES, LIPS, MOUTH)
_OPACITY = 0.7
_THICKNESS_M = 0.2  # of the box that random points fill
# Where room is short, points of the parts that are looked at most are kept first.
_KEEP = {TORSO: 0.5, NECK: 0.8, HAIR: 0.8, FACE: 1.5, EYES: 4.0, LIPS: 4.0, MOUTH: 3.0}


@dataclass(frozen=True, slots=True, eq=False)
class InitialGaussians:
    """N Gaussians before the first step."""

    table: Float32Array  # [N, row_width]
    labels: NDArray[np.uint8]  # [N] LABELS
    modes: Float32Array  # [N, 16, 3] m per unit of each mouth mode and control; zeros where nobody knows


def initialize_gaussians(dataset: Dataset, rows: NDArray[np.int64], config: TrainConfig) -> InitialGaussians:
    """The Gaussians that training starts from.

    rows are those trained on; they are looked at only where the data set has no points. Raises
    TrainingError where nothing can be started from.
    """
    generator = np.random.default_rng([config.seed, 1])
    found = points(dataset)
    if found is None or not len(found.means):
        return _random(dataset, rows, config, generator)
    kept = _chosen(found, config.densify.max_gaussians, generator)
    table = np.zeros((len(kept), row_width(config.sh_degree)), np.float32)
    table[:, MEANS], table[:, QUATS] = found.means[kept], found.quats[kept]
    # Fewer points stand for the same surface: each grows.
    grown = np.sqrt(len(found.means) / len(kept))
    sizes = np.clip(found.scales[kept] * grown, config.shape.min_scale_m, config.shape.max_scale_m)
    table[:, LOG_SCALES] = np.log(sizes)
    table[:, SH_DC] = (found.colors[kept] - 0.5) / SH_0
    table[:, OPACITY] = logit(_OPACITY)
    table[:, SKIN] = skin_logits(found.skin[kept])
    modes = np.concatenate([found.mouth_modes, found.control_modes], axis=1)[kept]
    return InitialGaussians(table, found.labels[kept].copy(), np.ascontiguousarray(modes, np.float32))


def _chosen(found: Points, most: int, generator: np.random.Generator) -> NDArray[np.int64]:
    count = len(found.means)
    if count <= most:
        return np.arange(count)
    weight = np.array([_KEEP.get(label, 0.1) for label in found.labels.tolist()])
    # Efraimidis and Spirakis 2006: the largest of u^(1/w) are a weighted sample without replacement.
    key = np.log(generator.random(count)) / weight
    return np.sort(np.argsort(-key)[:most])


def _random(
    dataset: Dataset, rows: NDArray[np.int64], config: TrainConfig, generator: np.random.Generator
) -> InitialGaussians:
    """Points in the box of the person's silhouette, about the depth of the pivot, colored as they look."""
    if not len(rows):
        raise TrainingError(
            "data set: expected TRAIN pictures with known poses, found none: track them first"
        )
    row = int(rows[len(rows) // 2])
    shown, parts = picture(dataset, row), labels(dataset, row)
    person = person_mask(parts)
    box = box_of(person)
    if box is None:
        raise TrainingError(
            f"labels of row {row}: expected a person, found only background: make masks first"
        )
    camera, count = dataset.camera, config.random_points
    to_world = np.linalg.inv(camera.T_camera_world)
    center = camera.T_camera_world[:3, :3] @ dataset.pivot_m + camera.T_camera_world[:3, 3]
    y, x = (generator.uniform(low, high, count) for low, high in (box[:2], box[2:]))
    z = center[2] + generator.uniform(-0.7, 0.3, count) * _THICKNESS_M
    seen = np.stack([(x - camera.cx) * z / camera.fx, (y - camera.cy) * z / camera.fy, z], axis=1)
    pixels = y.astype(int), x.astype(int)
    part = np.where(person[pixels], parts[pixels], TORSO).astype(np.uint8)
    table = np.zeros((count, row_width(config.sh_degree)), np.float32)
    table[:, MEANS] = seen @ to_world[:3, :3].T + to_world[:3, 3]
    table[:, QUATS] = (1, 0, 0, 0)
    area = np.ptp(seen[:, 0]) * np.ptp(seen[:, 1])
    table[:, LOG_SCALES] = np.log(np.clip(0.5 * np.sqrt(area / count), 1e-3, config.shape.max_scale_m))
    table[:, SH_DC] = (shown[pixels] / 255 - 0.5) / SH_0
    table[:, OPACITY] = logit(0.1)  # as 3DGS starts
    by_head = np.where(np.isin(part, _HEAD_PARTS), 0.95, np.where(part == NECK, 0.5, 0.05))
    table[:, SKIN] = logit(by_head)
    return InitialGaussians(table, part, np.zeros((count, MOTION_SIZE, 3), np.float32))


_MOVES_M = 2e-4  # by less nobody sees a Gaussian move
_FACE_PARTS = (FACE, EYES, LIPS, MOUTH)
_HELD = 1e-2  # ridge, share of the motion's variance


def start_field(
    config: BasisConfig,
    start: InitialGaussians,
    motion: Float32Array,
    most: int,
    steady: RegularizationConfig,
    seed: int,
) -> BasisField:
    """The basis field before the first step, over at most `most` Gaussians; motion [n, 16] trained on.

    Unlike `make_field`'s its coefficients are in units of the person's spread: steps of Adam are then of
    like size for all.
    """
    rows = _moving_rows(start, motion, most)
    basis = torch.from_numpy(_first_basis(start, rows, motion, config.coefficients))
    generator = torch.Generator().manual_seed(seed)
    field = BasisField(config, basis, torch.from_numpy(rows), len(start.table), generator)
    for name, array in _first_map(
        motion, config, steady.residual_init_scale, np.random.default_rng([seed, 3])
    ).items():
        getattr(field.motion, name).data = torch.from_numpy(np.ascontiguousarray(array, np.float32))
    return field


def _moving_rows(start: InitialGaussians, motion: Float32Array, most: int) -> NDArray[np.int64]:
    """Rising indices of at most `most` Gaussians: those that move most, then the rest of the face."""
    way = np.abs(start.modes * motion_std(motion)[:, None]).sum(axis=1).max(axis=1)
    face = np.isin(start.labels, _FACE_PARTS)
    known = (way > _MOVES_M).any()
    # Without known modes all of the face, the mouth first, is free to move.
    nearness = np.where(np.isin(start.labels, (LIPS, MOUTH, EYES)), 2.0, 1.0) * face
    rank = np.where(way > _MOVES_M, 10.0 + way, 0.5 * nearness) if known else nearness
    candidates = np.flatnonzero(rank > 0)
    best = candidates[np.argsort(-rank[candidates], kind="stable")[:most]]
    return np.sort(best)


def _first_basis(
    start: InitialGaussians, rows: NDArray[np.int64], motion: Float32Array, coefficients: int
) -> Float32Array:
    """[M, 14, K]: places follow the known modes, in units of their spread; all else is 0."""
    basis = np.zeros((len(rows), DELTA_CHANNELS, coefficients), np.float32)
    scaled = start.modes[rows] * motion_std(motion)[:, None]
    basis[:, :3, :MOTION_SIZE] = scaled.transpose(0, 2, 1)
    return basis


def _first_map(
    motion: Float32Array, config: BasisConfig, size: float, generator: np.random.Generator
) -> dict[str, NDArray[np.float64]]:
    """linear, w1, b1 and w2 of a map whose first 16 coefficients are the motion in units of its spread.

    The others are what a random layer says about the motion [n, 16] beyond a line: its principal
    components, the largest with a spread of `size`, so that what is rare starts small.
    """
    coefficients, hidden = config.coefficients, config.hidden
    spread = motion_std(motion)
    linear = np.zeros((MOTION_SIZE, coefficients))
    linear[:, :MOTION_SIZE] = np.diag(1 / spread)
    w1 = generator.normal(size=(MOTION_SIZE, hidden)) / spread[:, None] / np.sqrt(3)
    b1 = generator.normal(size=hidden) * 0.5
    w2 = np.zeros((hidden, coefficients))
    extra = min(coefficients - MOTION_SIZE, hidden)
    if extra > 0 and len(motion) > 1:
        bends = gelu(motion @ w1 + b1) - gelu(b1)
        variance = np.diag(spread.astype(np.float64) ** 2) * _HELD * len(motion)
        line = np.linalg.solve(motion.T @ motion + variance, motion.T @ bends)
        _, sizes, ways = np.linalg.svd(bends - motion @ line, full_matrices=False)
        extra = min(extra, len(ways))
        unit = max(float(sizes[0]) / np.sqrt(len(motion)), 1e-6) / max(size, 1e-6)
        w2[:, MOTION_SIZE : MOTION_SIZE + extra] = ways[:extra].T / unit
        linear[:, MOTION_SIZE : MOTION_SIZE + extra] = -line @ ways[:extra].T / unit
    return {"linear": linear, "w1": w1, "b1": b1, "w2": w2}


def build_trainer(dataset: Dataset, config: TrainConfig) -> Trainer:
    """A trainer before its first step. Raises TrainingError where the data set has nothing to train on."""
    rows = known_frame_indices(dataset, TRAIN)
    if not len(rows):
        raise TrainingError(
            "data set: expected TRAIN pictures with known motion and poses, found none: track them first"
        )
    start = initialize_gaussians(dataset, rows, config)
    render_loss = _make_render_loss(dataset, config)
    state = TrainingState(
        table=start.table,
        labels=start.labels,
        anchors=start.table[:, [DEPTH, SKIN]],
        moments=zero_adam_state(start.table),
        densification_stats=zero_densification_stats(len(start.table)),
        poses=PoseTrack(dataset),
        motion=np.zeros((len(dataset.frames), MOTION_SIZE)),
        field_trainer=_make_field_trainer(dataset, rows, start, config, render_loss.workers),
    )
    targets = TargetCache(dataset, config.losses, config.cache_gb * 2**30)
    refiner = Refiner(
        config,
        dataset.frames.split,
        usable_frames(dataset),
        targets,
        _make_render_loss(dataset, pose_refinement_config(config)),
    )
    surface_prior = surface_prior_from_points(None if dataset.has_full_geometry else points(dataset))
    return Trainer(state, config, dataset, rows, targets, render_loss, refiner, surface_prior)


def _make_render_loss(dataset: Dataset, config: TrainConfig) -> RenderLoss | TorchRenderLoss:
    background = np.asarray(dataset.background, np.float32)
    if config.device == "cpu":
        return RenderLoss(dataset.camera, background, config.losses, config.threads)
    return TorchRenderLoss(dataset.camera, background, config.losses, config.threads, config.device)


def _make_field_trainer(
    dataset: Dataset, rows: NDArray[np.int64], start: InitialGaussians, config: TrainConfig, workers: Workers
) -> FieldTrainer:
    if not isinstance(config.field, BasisConfig):
        conditions = Conditions(dataset, config.field.conditioning, config.encoder)
        field = make_field(
            config.field,
            unpack(torch.from_numpy(start.table)),
            training_features=conditions.training_features(),
            generator=torch.Generator().manual_seed(config.seed),
        )
        return TorchFieldTrainer(field.to(config.device), conditions, config)
    every = all_motion(dataset)
    field = start_field(config.field, start, every[rows], config.dynamic, config.steady, config.seed)
    return BasisFieldTrainer(field, every, config, workers)
