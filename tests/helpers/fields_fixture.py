"""Small Gaussians, conditions and configs for the tests of fields."""

import numpy as np
import torch

from splatface.models.training.fields.basis_field import PointModes
from splatface.models.training.fields.field import Condition, GaussianTensors
from splatface.models.training.fields.field_config import (
    AttentionConfig,
    AudioPlaneConfig,
    BasisConfig,
    ConditioningConfig,
    TriplaneConfig,
)

COUNT, FEATURES = 40, 12


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def features(count=500, seed=7):
    return torch.randn(count, FEATURES, generator=generator(seed))


def gaussians(count=COUNT, seed=3):
    g = generator(seed)
    return GaussianTensors(
        means=torch.randn(count, 3, generator=g) * 0.08,
        quats=torch.randn(count, 4, generator=g),
        log_scales=-5 + torch.randn(count, 3, generator=g),
        opacity_logits=torch.randn(count, generator=g),
        sh=torch.randn(count, 4, 3, generator=g),
    )


def condition(seed=0, conditioning=None):
    g = generator(seed + 100)
    conditioning = conditioning or ConditioningConfig()
    return Condition(
        mouth=torch.rand(8, generator=g),
        controls=torch.rand(8, generator=g),
        pose=torch.randn(6, generator=g) * 0.1,
        audio=torch.randn(conditioning.windows, conditioning.frames, FEATURES, generator=g),
    )


def still():
    return Condition(mouth=torch.zeros(8), controls=torch.zeros(8), pose=torch.zeros(6), audio=None)


def small_attention(**changes):
    return AttentionConfig(triplane=TriplaneConfig(resolution=8, features=16), **changes)


def small_planes(**changes):
    return AudioPlaneConfig(resolution=4, **changes)


def small_basis(**changes):
    return BasisConfig(coefficients=18, hidden=6, **changes)


def points(means):
    """Points where the Gaussians are; the first half move down when the mouth opens, the others do not."""
    count = len(means)
    mouth = np.zeros((count, 8, 3), np.float32)
    mouth[: count // 2, 0, 1] = 0.01
    controls = np.zeros((count, 8, 3), np.float32)
    controls[:3, 0, 1] = 0.004
    return PointModes(
        means=means.numpy(), mouth_modes=mouth, control_modes=controls, dynamic=np.zeros(count, bool)
    )


def shaken(field, seed=9):
    """The field with every weight moved a little, so that nothing starts at zero."""
    g = generator(seed)
    with torch.no_grad():
        for parameter in field.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=g, dtype=torch.float32))
    return field


def learn(field, means, wanted, steps=60, rate=1e-2):
    """Train means to move as `wanted(condition)` [N, 3]; how much of the error is left, 0..1."""
    conditions = [condition(seed) for seed in range(8)]
    optimiser = torch.optim.Adam(field.parameters(), lr=rate)
    losses = []
    for _ in range(steps):
        moved = field.bind_positions(means)
        errors = [(moved(now).deltas[:, :3] - wanted(now)).square().mean() for now in conditions]
        loss = torch.stack(errors).mean() * 1e4
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses[-1] / losses[0]


def jaw(means):
    """The lower half follows the mouth's opening."""
    lower = (means[:, 1:2] > 0).float() * torch.tensor([0.0, 0.01, 0.0])
    return lambda now: lower * now.mouth[0]
