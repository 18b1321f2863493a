"""PSNR and SSIM against their definitions, and what the regions are."""

import numpy as np
import pytest

from splatface.models.errors import MetricError
from splatface.models.training.dataset.types import BACKGROUND, EYES, FACE, HAIR, LIPS, MOUTH, TORSO
from splatface.models.training.evaluation.image_metrics import (
    MOST_DB,
    face_region,
    mouth_region,
    psnr,
    psnr_db,
    ssim,
    ssim_map,
)


@pytest.fixture
def pictures(rng):
    truth = rng.integers(0, 256, (24, 20, 3)).astype(np.uint8)
    noise = rng.normal(0, 25, truth.shape)
    return truth, np.clip(truth + noise, 0, 255).astype(np.uint8)


@pytest.fixture
def rng():
    return np.random.default_rng(4)


def test_psnr_of_a_known_error_is_known():
    truth = np.full((8, 8, 3), 100, np.uint8)
    assert psnr(truth, truth + np.uint8(5)) == pytest.approx(20 * np.log10(255 / 5))
    # an unsigned difference must not wrap around
    assert psnr(truth, truth - np.uint8(5)) == pytest.approx(20 * np.log10(255 / 5))


def test_psnr_of_a_region_sees_nothing_else():
    truth = np.full((8, 8, 3), 100, np.uint8)
    found = truth.copy()
    found[:4] += 10
    upper = np.zeros((8, 8), bool)
    upper[:4] = True
    assert psnr(truth, found, upper) == pytest.approx(20 * np.log10(255 / 10))
    assert psnr(truth, found, ~upper) == MOST_DB
    assert np.isnan(psnr(truth, found, np.zeros((8, 8), bool)))


def test_ssim_is_wangs_definition(pictures):
    x, y = (picture.astype(np.float64) for picture in pictures)
    offset = np.arange(-5, 6)
    bell = np.exp(-(offset**2) / (2 * 1.5**2))
    window = np.outer(bell, bell)[..., None] / np.outer(bell, bell).sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    expected = np.empty((14, 10))
    for i in range(14):
        for j in range(10):
            a, b = x[i : i + 11, j : j + 11], y[i : i + 11, j : j + 11]
            ma, mb = (window * a).sum((0, 1)), (window * b).sum((0, 1))
            va, vb = (window * (a - ma) ** 2).sum((0, 1)), (window * (b - mb) ** 2).sum((0, 1))
            both = (window * (a - ma) * (b - mb)).sum((0, 1))
            values = (2 * ma * mb + c1) * (2 * both + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))
            expected[i, j] = values.mean()
    similarity = ssim_map(*pictures)
    assert similarity[5:-5, 5:-5] == pytest.approx(expected, abs=1e-9)
    assert ssim(similarity) == pytest.approx(expected.mean())
    lower = np.zeros((24, 20), bool)
    lower[15:] = True
    assert ssim(similarity, lower) == pytest.approx(similarity[15:].mean())


def test_ssim_of_equal_pictures_is_one_and_falls_with_noise(pictures, rng):
    truth, noisy = pictures
    noisier = np.clip(truth + rng.normal(0, 80, truth.shape), 0, 255).astype(np.uint8)
    assert ssim(ssim_map(truth, truth)) == pytest.approx(1.0)
    assert 1 > ssim(ssim_map(truth, noisy)) > ssim(ssim_map(truth, noisier)) > 0
    assert np.isnan(ssim(ssim_map(truth, noisy), np.zeros((24, 20), bool)))


def test_pictures_of_unlike_size_are_refused(pictures):
    truth, _ = pictures
    with pytest.raises(MetricError, match=r"\[24, 20, 3\]"):
        psnr(truth, truth[:-1])
    with pytest.raises(MetricError, match="camera"):
        ssim_map(truth, truth[:, 1:])


def test_the_face_has_eyes_and_mouth_but_neither_hair_nor_shirt():
    labels = np.array([[BACKGROUND, TORSO, HAIR, FACE, EYES, LIPS, MOUTH]], np.uint8)
    assert face_region(labels).tolist() == [[False, False, False, True, True, True, True]]


def test_the_mouth_reaches_ten_pixels_of_512_beyond_the_lips():
    labels = np.full((64, 512), FACE, np.uint8)
    labels[30:34, 200:300] = LIPS
    labels[31:33, 220:280] = MOUTH
    rows, columns = np.nonzero(mouth_region(labels))
    assert (columns.min(), columns.max()) == (190, 309)
    assert (rows.min(), rows.max()) == (20, 43)
    assert not mouth_region(np.full((64, 512), FACE, np.uint8)).any()


def test_psnr_of_known_errors():
    assert psnr_db(1.0) == 0
    assert psnr_db(0.01) == pytest.approx(20)
    assert psnr_db(0.0) == 100
