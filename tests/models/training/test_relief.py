"""Depths that Gaussians are drawn back to follow the surface, not the place where they were born."""

from types import SimpleNamespace

import numpy as np

from splatface.models.dataset.types import FACE, NECK
from splatface.models.training.relief import relief_of


def slope_of(xy):
    return 0.05 + 0.5 * xy[:, 0] - 0.2 * xy[:, 1]


def points(count=4000):
    rng = np.random.default_rng(0)
    xy = rng.uniform(-0.05, 0.05, (count, 2))
    labels = np.where(np.arange(count) < count - 200, FACE, NECK).astype(np.uint8)
    return SimpleNamespace(means=np.c_[xy, slope_of(xy)].astype(np.float32), labels=labels)


def test_what_wandered_is_drawn_to_the_surface_where_it_is():
    rng = np.random.default_rng(1)
    means = np.c_[rng.uniform(-0.04, 0.04, (300, 2)), np.full(300, 0.2)].astype(np.float32)
    found = relief_of(points()).depths(means, np.full(300, FACE, np.uint8), means[:, 2])
    np.testing.assert_allclose(found, slope_of(means), atol=2e-3)


def test_other_parts_and_what_is_beyond_the_surface_keep_their_own_depth():
    means = np.array([[0.0, 0.0, 0.2], [0.5, 0.0, 0.3]], np.float32)
    found = relief_of(points()).depths(means, np.array([NECK, FACE], np.uint8), means[:, 2])
    np.testing.assert_array_equal(found, means[:, 2])


def test_without_points_nothing_changes():
    means = np.array([[0.0, 0.0, 0.2]], np.float32)
    found = relief_of(None).depths(means, np.array([FACE], np.uint8), means[:, 2])
    np.testing.assert_array_equal(found, means[:, 2])
