"""The state before the first step."""

import numpy as np
import torch
from numpy.typing import NDArray

from splatface.models.errors import TrainingError
from splatface.models.head.motion_map import MOTION_SIZE
from splatface.models.render.workers import Workers
from splatface.models.training.dataset.dataset_io import points
from splatface.models.training.dataset.types import TRAIN, Dataset
from splatface.models.training.fields.config import BasisConfig
from splatface.models.training.fields.factory import make_field
from splatface.models.training.optimization.adam import no_moments
from splatface.models.training.optimization.basis_mover import BasisFieldTrainer
from splatface.models.training.optimization.conditions import Conditions
from splatface.models.training.optimization.config import TrainConfig
from splatface.models.training.optimization.dataset_statistics import all_motion, known_rows
from splatface.models.training.optimization.densify import no_pull
from splatface.models.training.optimization.motion_start import start_field
from splatface.models.training.optimization.movers import FieldTrainer, TorchFieldTrainer
from splatface.models.training.optimization.packed import DEPTH, SKIN, unpack
from splatface.models.training.optimization.points import InitialGaussians, initialize_gaussians
from splatface.models.training.optimization.poses import Poses
from splatface.models.training.optimization.pull import RenderLoss
from splatface.models.training.optimization.refiner import Refiner, pose_refinement_config, usable_frames
from splatface.models.training.optimization.relief import surface_prior_from_points
from splatface.models.training.optimization.state import State
from splatface.models.training.optimization.targets import Targets
from splatface.models.training.optimization.torch_easel import TorchRenderLoss
from splatface.models.training.optimization.trainer import Trainer

__all__ = ["build_trainer"]


def build_trainer(dataset: Dataset, config: TrainConfig) -> Trainer:
    """A trainer before its first step. Raises TrainingError where the data set has nothing to train on."""
    rows = known_rows(dataset, TRAIN)
    if not len(rows):
        raise TrainingError(
            "data set: expected TRAIN pictures with known motion and poses, found none: track them first"
        )
    start = initialize_gaussians(dataset, rows, config)
    easel = _easel(dataset, config)
    state = State(
        table=start.table,
        labels=start.labels,
        anchors=start.table[:, [DEPTH, SKIN]],
        moments=no_moments(start.table),
        densification_stats=no_pull(len(start.table)),
        poses=Poses(dataset),
        motion=np.zeros((len(dataset.frames), MOTION_SIZE)),
        mover=_mover(dataset, rows, start, config, easel.workers),
    )
    targets = Targets(dataset, config.losses, config.cache_gb * 2**30)
    refiner = Refiner(
        config,
        dataset.frames.split,
        usable_frames(dataset),
        targets,
        _easel(dataset, pose_refinement_config(config)),
    )
    relief = surface_prior_from_points(None if dataset.has_full_geometry else points(dataset))
    return Trainer(state, config, dataset, rows, targets, easel, refiner, relief)


def _easel(dataset: Dataset, config: TrainConfig) -> RenderLoss | TorchRenderLoss:
    background = np.asarray(dataset.background, np.float32)
    if config.device == "cpu":
        return RenderLoss(dataset.camera, background, config.losses, config.threads)
    return TorchRenderLoss(dataset.camera, background, config.losses, config.threads, config.device)


def _mover(
    dataset: Dataset, rows: NDArray[np.int64], start: InitialGaussians, config: TrainConfig, workers: Workers
) -> FieldTrainer:
    if not isinstance(config.field, BasisConfig):
        conditions = Conditions(dataset, config.field.listening, config.encoder)
        field = make_field(
            config.field,
            unpack(torch.from_numpy(start.table)),
            feature_dim=conditions.feature_dim,
            generator=torch.Generator().manual_seed(config.seed),
        )
        return TorchFieldTrainer(field.to(config.device), conditions, config)
    every = all_motion(dataset)
    field = start_field(config.field, start, every[rows], config.dynamic, config.steady, config.seed)
    return BasisFieldTrainer(field, every, config, workers)
