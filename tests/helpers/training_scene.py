"""Gaussians, a camera, targets and short runs for the tests of training."""

from dataclasses import replace

import numpy as np
from scipy.ndimage import gaussian_filter

from splatface.models.camera import Camera
from splatface.models.training.optimization.gaussian_skinning import (
    OPACITY,
    QUATS,
    SKIN,
    pack_bone_poses,
    row_width,
)
from splatface.models.training.optimization.image_loss import ImageTarget
from splatface.models.training.optimization.render_loss import DeformedGaussians, RenderLoss
from splatface.models.training.optimization.train_config import (
    DensifyConfig,
    GaussianConstraints,
    LossConfig,
    RefineConfig,
    StageConfig,
    preset,
)
from splatface.models.training.optimization.training_run import train


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
    return render_loss.render(still(table), at_rest())


HEIGHT, WIDTH = 47, 61


def smooth(generator):
    noise = generator.random((HEIGHT, WIDTH, 3))
    return np.clip(gaussian_filter(noise, (1.5, 1.5, 0)) * 3 - 1, 0, 1)


def random_target(generator, lips=(20, 11, 33, 42)):
    return ImageTarget(
        image=(smooth(generator) * 255).astype(np.uint8),
        weights=generator.integers(0, 130, (HEIGHT, WIDTH), dtype=np.uint8),
        dynamic_mask=(generator.random((HEIGHT, WIDTH)) < 0.4).astype(np.uint8) * 255,
        silhouette_trimap=-generator.integers(0, 2, (HEIGHT, WIDTH), dtype=np.int8),  # nobody, or an edge
        lips=lips,
    )


ALL_LOSSES = LossConfig(
    l1=0.8, dssim=0.2, lips=0.5, mask=0.3, background_opacity_weight=0.2, foreground_transparency_weight=0.3
)


def square_target(size=64):
    generator = np.random.default_rng(5)
    small = random_target(generator)
    wide = [
        np.pad(a, [(0, size), (0, size)] + [(0, 0)] * (a.ndim - 2))[:size, :size]
        for a in (small.image, small.weights, small.dynamic_mask)
    ]
    return ImageTarget(*wide, generator.integers(-1, 2, (size, size), dtype=np.int8), small.lips)


SHORT_RUN = replace(
    preset("basis"),
    threads=1,
    stages=StageConfig(canonical_steps=20, deformation_steps=60),
    densify=DensifyConfig(interval=20, max_gaussians=3000),
    constraints=GaussianConstraints(max_color_deviation=0.25),
    report_every=20,
    validate_every=40,
    checkpoint_s=0.0,
)
SHORT_STEPS = 80


def counting_clock():
    """Return a clock that advances by 0.01 s at each call."""
    now = [0.0]

    def clock():
        now[0] += 0.01
        return now[0]

    return clock


def run_training(dataset, config, folder, report=lambda progress: None):
    return train(dataset, config, folder, clock=counting_clock(), report=report)


REFINED_RUN = replace(
    SHORT_RUN,
    stages=StageConfig(canonical_steps=80, deformation_steps=80),
    densify=DensifyConfig(interval=20, max_gaussians=3000),
    refine=RefineConfig(rounds=2, iterations=3, focal_sigma=0.0),
    report_every=20,
    validate_every=1000,
)
