"""The perceptual term: both easels agree, and a step down its slope makes pictures more alike."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_pull import LOSS, a_target
from training_scene import at_rest, camera, some_rows

from splatface.models.errors import MetricError
from splatface.models.training.optimization.image_loss import add_perceptual_loss, make_perceptual_loss
from splatface.models.training.optimization.render_loss import DeformedGaussians, RenderLoss, TorchRenderLoss
from splatface.models.training.optimization.train_config import LossConfig

PACKAGED = LossConfig(perceptual=0.5)


def test_it_is_off_unless_asked_for():
    assert make_perceptual_loss(LossConfig()) is None


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MetricError, match=r"none\.pth"):
        make_perceptual_loss(LossConfig(perceptual=0.1, perceptual_weights=str(tmp_path / "none.pth")))


def test_down_its_slope_pictures_grow_alike():
    pytest.importorskip("stlpips_pytorch")
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 256, (64, 64, 3), np.uint8)
    image = rng.random((64, 64, 3), np.float32)
    opinion = make_perceptual_loss(PACKAGED)
    slopes = np.zeros_like(image)
    before = add_perceptual_loss(opinion, image, truth, slopes)
    nearer = image - 0.1 * slopes / np.abs(slopes).max()
    assert add_perceptual_loss(opinion, nearer, truth, slopes) < before
    same = torch.from_numpy(truth / np.float32(255))
    assert float(opinion(same, same)) == pytest.approx(0, abs=1e-6)


def test_the_quick_easel_and_the_plain_one_agree():
    pytest.importorskip("stlpips_pytorch")
    loss = replace(LOSS, perceptual=0.5)
    rows = np.arange(10, 50)
    deltas = (np.random.default_rng(1).normal(size=(40, 14)) * 0.02).astype(np.float32)
    moves, background = DeformedGaussians(some_rows(60), rows, deltas), np.full(3, 0.4, np.float32)
    quick = RenderLoss(camera(), background, loss, 1).loss_and_grads(moves, at_rest(), a_target())
    plain = TorchRenderLoss(camera(), background, loss, 1, "cpu").pull(moves, at_rest(), a_target())
    assert quick.loss == pytest.approx(plain.loss, rel=1e-4)
    np.testing.assert_allclose(quick.table, plain.table, atol=3e-4 * np.abs(plain.table).max())
