"""The state before the first step."""

import numpy as np
import torch
from numpy.typing import NDArray

from splatface.models.dataset.types import TRAIN, Dataset
from splatface.models.errors import TrainingError
from splatface.models.fields.config import BasisConfig
from splatface.models.training.adam import no_moments
from splatface.models.training.basis_mover import BasisMover
from splatface.models.training.conditions import Conditions
from splatface.models.training.config import TrainConfig
from splatface.models.training.densify import no_pull
from splatface.models.training.motion_start import first_basis, first_map, moving_rows
from splatface.models.training.movers import FieldMover, Mover
from splatface.models.training.packed import unpack
from splatface.models.training.performer import known_rows, motion_of
from splatface.models.training.points import Start, start_of
from splatface.models.training.poses import Poses
from splatface.models.training.pull import Easel
from splatface.models.training.state import State
from splatface.models.training.targets import Targets
from splatface.models.training.trainer import Trainer

__all__ = ["begin"]


def begin(dataset: Dataset, config: TrainConfig) -> Trainer:
    """A trainer before its first step. Raises TrainingError where the data set has nothing to train on."""
    rows = known_rows(dataset, TRAIN)
    if not len(rows):
        raise TrainingError(
            "data set: expected TRAIN pictures with known motion and poses, found none: track them first"
        )
    start = start_of(dataset, rows, config)
    easel = Easel(dataset.camera, np.asarray(dataset.background, np.float32), config.losses, config.threads)
    state = State(
        table=start.table,
        labels=start.labels,
        depths=start.table[:, 2].copy(),
        moments=no_moments(start.table),
        pull=no_pull(len(start.table)),
        poses=Poses(dataset),
        mover=_mover(dataset, rows, start, config, easel),
    )
    targets = Targets(dataset, config.losses, config.cache_gb * 2**30)
    return Trainer(state, config, rows, targets, easel)


def _mover(
    dataset: Dataset, rows: NDArray[np.int64], start: Start, config: TrainConfig, easel: Easel
) -> Mover:
    if isinstance(config.field, BasisConfig):
        return _basis(dataset, rows, start, config, easel)
    conditions = Conditions(dataset, config.field.listening, config.encoder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        field = make_field(config.field, unpack(torch.from_numpy(start.table)), conditions.feature_dim)
    return FieldMover(field, conditions, config.rates, masked=config.losses.mask > 0)


def _basis(
    dataset: Dataset, rows: NDArray[np.int64], start: Start, config: TrainConfig, easel: Easel
) -> BasisMover:
    how = config.field
    assert isinstance(how, BasisConfig)
    every = np.nan_to_num(motion_of(dataset, np.arange(len(dataset.frames)))).astype(np.float32)
    motion = every[rows]
    moving = moving_rows(start, motion, config.dynamic)
    basis = first_basis(start, moving, motion, how.coefficients)
    generator = np.random.default_rng([config.seed, 3])
    motion_map = first_map(motion, how.coefficients, how.hidden, generator)
    mover = BasisMover(moving, basis, motion_map, every, config.rates, easel.workers)
    mover.masked = how.dynamism == "learned" and config.losses.mask > 0
    return mover
