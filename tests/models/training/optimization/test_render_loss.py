"""From a picture back to everything it is made of: kernels end to end against autograd in float64."""

import numpy as np
import pytest
import torch
from training_scene import ALL_LOSSES, at_rest, camera, some_rows, square_target, still

from splatface.models.render.reference import SplatTensors, draw_reference
from splatface.models.training.optimization.gaussian_skinning import skin_gaussians_torch
from splatface.models.training.optimization.image_loss import (
    mask_loss,
    silhouette_loss,
    weighted_image_loss,
)
from splatface.models.training.optimization.render_loss import DeformedGaussians, RenderLoss, TorchRenderLoss


@pytest.mark.parametrize("threads", [1, 2])
def test_gradients_are_those_of_autograd(threads):
    generator = np.random.default_rng(1)
    table, target = some_rows(60), square_target()
    rows = np.arange(10, 50)
    deltas = (generator.normal(size=(40, 14)) * 0.02).astype(np.float32)
    share = generator.random(40).astype(np.float32)
    background = np.full(3, 0.4, np.float32)
    found = RenderLoss(camera(), background, ALL_LOSSES, threads).loss_and_grads(
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
    loss = weighted_image_loss(image, target, ALL_LOSSES) + ALL_LOSSES.mask * mask_loss(
        others[..., 0], moving, ALL_LOSSES.mask_margin
    )
    loss = loss + silhouette_loss(through, target.silhouette_trimap, ALL_LOSSES)
    loss.backward()

    assert found.loss == pytest.approx(loss.item(), rel=1e-3)
    for mine, leaf in zip((found.table, found.deltas, found.dynamism), leaves, strict=True):
        off = np.abs(mine - leaf.grad.numpy()).max()
        assert off < 0.02 * leaf.grad.abs().max()
    assert found.finite


def test_the_render_loss_of_torch_says_the_same():
    generator = np.random.default_rng(2)
    table, target, rows = some_rows(60), square_target(), np.arange(5, 40)
    deltas = (generator.normal(size=(35, 14)) * 0.02).astype(np.float32)
    background = np.full(3, 0.4, np.float32)
    fast = RenderLoss(camera(), background, ALL_LOSSES, 1)
    plain = TorchRenderLoss(camera(), background, ALL_LOSSES, 1, "cpu")
    for dynamism in (None, generator.random(35).astype(np.float32)):
        deformed = DeformedGaussians(table, rows, deltas, dynamism)
        assert np.allclose(plain.render(deformed, at_rest()), fast.render(deformed, at_rest()), atol=1e-4)
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
    render_loss = RenderLoss(camera(), np.zeros(3, np.float32), ALL_LOSSES, 1)
    assert not render_loss.loss_and_grads(still(table), at_rest(), square_target()).finite
