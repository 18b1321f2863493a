"""The background comes back from behind a person who moves."""

import numpy as np
import pytest

from splatface.models.training.tracking.segmentation import composite_over_background, estimate_background

SIZE = 96


def passing(background, count=12, noise=0.0):
    """A gray person walks through: pictures and shares."""
    rng = np.random.default_rng(0)
    pictures, shares = [], []
    for i in range(count):
        share = np.zeros((SIZE, SIZE), np.float32)
        left = round(i * (SIZE - 20) / (count - 1))
        share[20:, left : left + 20] = 1
        picture = np.where(share[..., None] > 0, 128, background(i)) + rng.normal(0, noise, (SIZE, SIZE, 3))
        pictures.append(picture.clip(0, 255).astype(np.uint8))
        shares.append(share)
    return pictures, shares


def wall(_):
    y, x = np.mgrid[:SIZE, :SIZE]
    return np.stack([60 + x, 200 - y, 40 + (x + y) / 2], axis=2)


def test_the_wall_is_seen_whole_though_never_at_once():
    plate = estimate_background(*passing(wall, noise=1.0))
    assert np.abs(plate.picture * 255 - wall(0)).max() < 5
    assert plate.seen > 0.95
    assert plate.moving == 0
    assert not plate.flat


def test_one_color_is_flat():
    assert estimate_background(*passing(lambda i: np.full((SIZE, SIZE, 3), 90.0), noise=1.0)).flat


def test_what_nobody_saw_is_continued_smoothly():
    pictures, shares = passing(wall)
    for picture, share in zip(pictures, shares, strict=True):
        share[30:60, 40:60], picture[30:60, 40:60] = 1, 255
    plate = estimate_background(pictures, shares)
    assert plate.seen < 0.9
    hole = plate.picture[35:55, 42:58] * 255
    assert np.abs(hole - wall(0)[35:55, 42:58]).max() < 45


def test_a_background_that_moves_is_noticed_and_replaced():
    rng = np.random.default_rng(1)
    pictures, shares = passing(lambda i: rng.uniform(0, 255, (SIZE, SIZE, 3)))
    plate = estimate_background(pictures, shares)
    assert plate.moving > 0.8
    still = composite_over_background(pictures[3], shares[3], plate)
    inside, outside = shares[3] == 1, shares[3] == 0
    np.testing.assert_array_equal(still[inside], pictures[3][inside])
    assert np.abs(still[outside] - plate.picture[outside] * 255).max() <= 1


def test_a_person_who_fills_the_picture_leaves_a_plate_all_the_same():
    pictures = [np.full((SIZE, SIZE, 3), 70, np.uint8)] * 4
    plate = estimate_background(pictures, [np.ones((SIZE, SIZE), np.float32)] * 4)
    assert plate.seen == 0
    assert np.isfinite(plate.picture).all()
    assert plate.picture.shape == pytest.approx((SIZE, SIZE, 3))
