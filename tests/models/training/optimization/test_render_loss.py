"""From a picture back to everything it is made of: kernels end to end against autograd in float64."""

import numpy as np
import pytest
import torch
from test_losses import some_target
from training_scene import at_rest, camera, some_rows, still

from splatface.models.render.reference import SplatTensors, draw_reference
from splatface.models.training.optimization.gaussian_skinning import skin_gaussians_torch
from splatface.models.training.optimization.image_loss import (
    ImageTarget,
    mask_loss,
    picture_loss,
    silhouette_loss,
)
from splatface.models.training.optimization.render_loss import DeformedGaussians, RenderLoss, TorchRenderLoss
from splatface.models.training.optimization.train_config import LossConfig

LOSS = LossConfig(
    l1=0.8, dssim=0.2, lips=0.5, mask=0.3, background_opacity_weight=0.2, foreground_transparency_weight=0.3
)


def a_target(size=64):
    generator = np.random.default_rng(5)
    small = some_target(generator)
    wide = [
        np.pad(a, [(0, size), (0, size)] + [(0, 0)] * (a.ndim - 2))[:size, :size]
        for a in (small.picture, small.weights, small.dynamic_mask)
    ]
    return ImageTarget(*wide, generator.integers(-1, 2, (size, size), dtype=np.int8), small.lips)


@pytest.mark.parametrize("threads", [1, 2])
def test_slopes_are_those_of_autograd(threads):
    generator = np.random.default_rng(1)
    table, target = some_rows(60), a_target()
    rows = np.arange(10, 50)
    deltas = (generator.normal(size=(40, 14)) * 0.02).astype(np.float32)
    share = generator.random(40).astype(np.float32)
    background = np.full(3, 0.4, np.float32)
    found = RenderLoss(camera(), background, LOSS, threads).loss_and_grads(
        DeformedGaussians(table, rows, deltas, share), at_rest(), target
    )

    leaves = [torch.from_numpy(a).double().requires_grad_() for a in (table, deltas, share)]
    at = torch.from_numpy(rows)
    every = torch.zeros(60, 14, dtype=torch.float64).index_copy(0, at, leaves[1])
    splats = skin_gaussians_torch(leaves[0], every, torch.from_numpy(at_rest()))
    extra = torch.zeros(60, 1, dtype=torch.float64).index_copy(0, at, leaves[2][:, None])
    splats = SplatTensors(splats.means, splats.quats, splats.scales, splats.opacities, splats.sh, extra)
    image, through, others = draw_reference(splats, camera(), torch.from_numpy(background).double())
    moving = torch.from_numpy(target.dynamic_mask / 255)
    loss = picture_loss(image, target, LOSS) + LOSS.mask * mask_loss(others[..., 0], moving, LOSS.mask_margin)
    loss = loss + silhouette_loss(through, target.silhouette_trimap, LOSS)
    loss.backward()

    assert found.loss == pytest.approx(loss.item(), rel=1e-3)
    for mine, leaf in zip((found.table, found.deltas, found.dynamism), leaves, strict=True):
        off = np.abs(mine - leaf.grad.numpy()).max()
        assert off < 0.02 * leaf.grad.abs().max()
    assert found.finite


def test_the_easel_of_torch_says_the_same():
    generator = np.random.default_rng(2)
    table, target, rows = some_rows(60), a_target(), np.arange(5, 40)
    deltas = (generator.normal(size=(35, 14)) * 0.02).astype(np.float32)
    background = np.full(3, 0.4, np.float32)
    fast = RenderLoss(camera(), background, LOSS, 1)
    plain = TorchRenderLoss(camera(), background, LOSS, 1, "cpu")
    for dynamism in (None, generator.random(35).astype(np.float32)):
        deformed = DeformedGaussians(table, rows, deltas, dynamism)
        assert np.allclose(plain.draw(deformed, at_rest()), fast.draw(deformed, at_rest()), atol=1e-4)
        a, b = (render_loss.loss_and_grads(deformed, at_rest(), target) for render_loss in (plain, fast))
        assert a.loss == pytest.approx(b.loss, rel=1e-4)
        assert a.squared_error == pytest.approx(b.squared_error, rel=1e-3)
        for name in ("table", "deltas", "pose") + (() if dynamism is None else ("dynamism",)):
            mine, theirs = getattr(a, name), getattr(b, name)
            assert np.abs(mine - theirs).max() < 5e-3 * np.abs(theirs).max(), name
        # Centers leave out how size and color follow the place: close enough to say who is pulled at.
        lengths = [np.hypot(*found.means2d_grad.T) for found in (a, b)]
        assert np.corrcoef(*lengths)[0, 1] > 0.95


def test_a_broken_table_is_noticed():
    table = some_rows(60)
    table[3, 12] = np.nan
    render_loss = RenderLoss(camera(), np.zeros(3, np.float32), LOSS, 1)
    assert not render_loss.loss_and_grads(still(table), at_rest(), a_target()).finite
