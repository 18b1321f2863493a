"""Image losses: definition and kernels agree in values and gradients."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from training_scene import (
    ALL_LOSSES,
    HEIGHT,
    WIDTH,
    at_rest,
    camera,
    random_target,
    smooth,
    some_rows,
    square_target,
)

from splatface.models.errors import MetricError
from splatface.models.render.jit import Workers
from splatface.models.render.render import RenderOutput
from splatface.models.training.optimization.image_loss import (
    ImageLoss,
    add_perceptual_loss,
    make_perceptual_loss,
    mask_loss,
    psnr_db,
    ssim_map,
    weighted_image_loss,
)
from splatface.models.training.optimization.render_loss import DeformedGaussians, RenderLoss, TorchRenderLoss
from splatface.models.training.optimization.train_config import LossConfig


@pytest.fixture
def generator():
    return np.random.default_rng(0)


def seen(image, extra=None):
    """A picture before which nothing covers the background."""
    return RenderOutput(image, np.ones((HEIGHT, WIDTH), np.float32), extra)


def test_covering_the_background_costs_where_nobody_is_and_seeing_it_where_somebody_is(generator):
    cover = generator.integers(-1, 2, (HEIGHT, WIDTH), dtype=np.int8)
    target = replace(random_target(generator), silhouette_trimap=cover)
    image, through = (
        smooth(generator).astype(np.float32),
        generator.random((HEIGHT, WIDTH)).astype(np.float32),
    )
    values = [
        ImageLoss(
            HEIGHT,
            WIDTH,
            LossConfig(background_opacity_weight=outside, foreground_transparency_weight=inside),
            Workers(1),
        )(RenderOutput(image, through), target)
        for outside, inside in ((0.0, 0.0), (0.7, 0.3))
    ]
    nobody, somebody = target.silhouette_trimap < 0, target.silhouette_trimap > 0
    cost = 0.7 * ((1 - through) * nobody).mean() + 0.3 * (through * somebody).mean()
    assert values[1].value - values[0].value == pytest.approx(cost, rel=1e-3)
    assert np.allclose(values[1].transmittance_grad, (0.3 * somebody - 0.7 * nobody) / nobody.size)
    assert (values[0].transmittance_grad == 0).all()


def test_ssim_is_wang_2004_with_zeros_outside(generator):
    x, y = smooth(generator)[..., 0], smooth(generator)[..., 1]

    def blur(z):
        return gaussian_filter(z, 1.5, truncate=5 / 1.5 - 1e-6, mode="constant")

    u, v = blur(x), blur(y)
    s = ((2 * u * v + 1e-4) * (2 * (blur(x * y) - u * v) + 9e-4)) / (
        (u * u + v * v + 1e-4) * (blur(x * x) - u * u + blur(y * y) - v * v + 9e-4)
    )
    assert np.allclose(ssim_map(torch.from_numpy(x), torch.from_numpy(y)), s, atol=1e-10)
    assert np.allclose(ssim_map(torch.from_numpy(x), torch.from_numpy(x)), 1)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "config",
    [
        LossConfig(l1=1.0, dssim=0.0, lips=0.0),
        LossConfig(l1=0.0, dssim=1.0, lips=0.0),
        LossConfig(l1=0.8, dssim=0.2, lips=0.8),
    ],
    ids=["l1", "dssim", "all"],
)
def test_kernels_agree_with_float64(generator, threads, config):
    target = random_target(generator)
    image = torch.from_numpy(smooth(generator) * 1.2 - 0.1).float().double().requires_grad_()
    value = weighted_image_loss(image, target, config)
    value.backward()
    compare = ImageLoss(HEIGHT, WIDTH, config, Workers(threads))
    for _ in range(2):  # the second call meets used buffers
        found = compare(seen(image.detach().float().numpy()), target)
    assert found.value == pytest.approx(value.item(), rel=1e-4)
    assert found.dynamism_grad is None
    off = np.abs(found.image_grad - image.grad.numpy()).max()
    assert off < 2e-3 * image.grad.abs().max()
    true = image.detach().numpy() - target.image / 255
    assert found.squared_error == pytest.approx((true**2).mean(), rel=1e-4)


def test_lips_that_are_unseen_add_nothing(generator):
    target = random_target(generator, lips=(0, 0, 0, 0))
    image = smooth(generator).astype(np.float32)
    values = [
        ImageLoss(HEIGHT, WIDTH, LossConfig(lips=lips), Workers(1))(seen(image), target).value
        for lips in (0, 5)
    ]
    assert values[0] == values[1]


def test_dynamism_is_weighted_to_the_mask_beyond_the_margin(generator):
    target = random_target(generator)
    drawn = torch.from_numpy(generator.random((HEIGHT, WIDTH))).float().double().requires_grad_()
    moving = torch.from_numpy(target.dynamic_mask / 255)
    value = 0.1 * mask_loss(drawn, moving, 0.2)
    value.backward()
    config = LossConfig(l1=0.0, dssim=0.0, mask=0.1, mask_margin=0.2)
    image = smooth(generator).astype(np.float32)
    extra = drawn.detach().float().numpy()[..., None]
    found = ImageLoss(HEIGHT, WIDTH, config, Workers(1))(seen(image, extra), target)
    assert found.value == pytest.approx(value.item(), rel=1e-5)
    assert np.allclose(found.dynamism_grad[..., 0], drawn.grad, atol=1e-9)
    near = torch.where(moving > 0.5, 0.85, 0.15)
    assert mask_loss(near, moving, 0.2) == 0


def test_psnr_of_known_errors():
    assert psnr_db(1.0) == 0
    assert psnr_db(0.01) == pytest.approx(20)
    assert psnr_db(0.0) == 100


PACKAGED = LossConfig(perceptual=0.5)


def test_it_is_off_unless_asked_for():
    assert make_perceptual_loss(LossConfig()) is None


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MetricError, match=r"none\.pth"):
        make_perceptual_loss(LossConfig(perceptual=0.1, perceptual_weights=str(tmp_path / "none.pth")))


def test_down_its_gradient_pictures_grow_alike():
    pytest.importorskip("stlpips_pytorch")
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 256, (64, 64, 3), np.uint8)
    image = rng.random((64, 64, 3), np.float32)
    opinion = make_perceptual_loss(PACKAGED)
    grads = np.zeros_like(image)
    before = add_perceptual_loss(opinion, image, truth, grads)
    nearer = image - 0.1 * grads / np.abs(grads).max()
    assert add_perceptual_loss(opinion, nearer, truth, grads) < before
    same = torch.from_numpy(truth / np.float32(255))
    assert float(opinion(same, same)) == pytest.approx(0, abs=1e-6)


def test_the_quick_render_loss_and_the_plain_one_agree():
    pytest.importorskip("stlpips_pytorch")
    loss = replace(ALL_LOSSES, perceptual=0.5)
    rows = np.arange(10, 50)
    deltas = (np.random.default_rng(1).normal(size=(40, 14)) * 0.02).astype(np.float32)
    deformed, background = DeformedGaussians(some_rows(60), rows, deltas), np.full(3, 0.4, np.float32)
    quick = RenderLoss(camera(), background, loss, 1).loss_and_grads(deformed, at_rest(), square_target())
    plain = TorchRenderLoss(camera(), background, loss, 1, "cpu").loss_and_grads(
        deformed, at_rest(), square_target()
    )
    assert quick.loss == pytest.approx(plain.loss, rel=1e-4)
    np.testing.assert_allclose(quick.table, plain.table, atol=3e-4 * np.abs(plain.table).max())
