"""A few Gaussians and a camera for the tests of training."""

import numpy as np

from splatface.models.camera import Camera
from splatface.models.training.optimization.gaussian_skinning import (
    OPACITY,
    QUATS,
    SKIN,
    pack_bone_poses,
    row_width,
)
from splatface.models.training.optimization.render_loss import DeformedGaussians, RenderLoss
from splatface.models.training.optimization.train_config import LossConfig


def camera(size=64):
    T = np.eye(4)
    T[2, 3] = 1.0
    return Camera(size, size, 2.0 * size, 2.0 * size, size / 2, size / 2, T)


def some_rows(count, *, degree=1, spread=0.15, seed=0):
    generator = np.random.default_rng(seed)
    table = np.zeros((count, row_width(degree)), np.float32)
    table[:, :3] = generator.normal(size=(count, 3)) * spread
    table[:, QUATS] = generator.normal(size=(count, 4))
    table[:, 3] += 2
    table[:, 7:10] = np.log(0.012) + generator.normal(size=(count, 3)) * 0.4
    table[:, OPACITY] = generator.normal(size=count) * 0.5 + 0.5
    table[:, SKIN] = generator.normal(size=count)
    table[:, 12:] = generator.normal(size=table[:, 12:].shape) * 0.4
    return table


def at_rest():
    return pack_bone_poses(np.eye(4), np.eye(4))


def still(table):
    return DeformedGaussians(table, np.empty(0, np.int64), np.empty((0, 14), np.float32))


def drawn(table):
    render_loss = RenderLoss(camera(), np.full(3, 0.5, np.float32), LossConfig(), 1)
    return render_loss.draw(still(table), at_rest())
