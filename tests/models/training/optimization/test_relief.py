"""What Gaussians are drawn back to follows the surface, not the place where they were born."""

from types import SimpleNamespace

import numpy as np

from splatface.models.training.dataset.types import FACE, MOUTH, NECK
from splatface.models.training.optimization.densification import surface_prior_from_points


def slope_of(xy):
    return 0.05 + 0.5 * xy[:, 0] - 0.2 * xy[:, 1]


def points(count=4000):
    rng = np.random.default_rng(0)
    xy = rng.uniform(-0.05, 0.05, (count, 2))
    labels = np.where(np.arange(count) < count - 200, FACE, MOUTH).astype(np.uint8)
    skin = np.clip(0.5 + 8 * xy[:, 1], 0, 1)
    means = np.c_[xy, slope_of(xy)].astype(np.float32)
    return SimpleNamespace(means=means, labels=labels, skin=skin.astype(np.float32))


def test_what_wandered_is_drawn_to_the_surface_where_it_is():
    rng = np.random.default_rng(1)
    means = np.c_[rng.uniform(-0.04, 0.04, (300, 2)), np.full(300, 0.2)].astype(np.float32)
    found = surface_prior_from_points(points()).anchors(
        means, np.full(300, FACE, np.uint8), np.zeros((300, 2), np.float32)
    )
    np.testing.assert_allclose(found[:, 0], slope_of(means), atol=2e-3)
    np.testing.assert_allclose(1 / (1 + np.exp(-found[:, 1])), 0.5 + 8 * means[:, 1], atol=0.02)


def test_a_neck_keeps_its_layers():
    rng = np.random.default_rng(3)
    xy = rng.uniform(-0.05, 0.05, (8000, 2))
    depths = np.where(np.arange(8000) % 2, 0.06, 0.1)
    known = SimpleNamespace(
        means=np.c_[xy, depths].astype(np.float32),
        labels=np.full(8000, NECK, np.uint8),
        skin=np.where(np.arange(8000) % 2, 0.3, 0.9).astype(np.float32),
    )
    means = np.array([[0, 0, 0.063], [0, 0, 0.095], [0.01, 0, 0.02]], np.float32)
    found = surface_prior_from_points(known).anchors(
        means, np.full(3, NECK, np.uint8), np.zeros((3, 2), np.float32)
    )
    np.testing.assert_allclose(found[:, 0], [0.06, 0.1, 0.06], atol=1e-3)
    np.testing.assert_allclose(1 / (1 + np.exp(-found[:, 1])), [0.3, 0.9, 0.3], atol=0.01)


def test_what_strayed_to_another_surface_belongs_to_it():
    rng = np.random.default_rng(2)
    xy = rng.uniform(-0.05, 0.05, (8000, 2))
    parts = np.where(xy[:, 1] < 0, FACE, NECK).astype(np.uint8)
    known = SimpleNamespace(
        means=np.c_[xy, slope_of(xy)].astype(np.float32), labels=parts, skin=np.ones(8000, np.float32)
    )
    places = np.array([[0, -0.01, 0], [0, 0.001, 0], [0, 0.02, 0], [0, 0.02, 0]], np.float32)
    labels = np.array([FACE, FACE, FACE, MOUTH], np.uint8)
    found = surface_prior_from_points(known).labels(places, labels)
    np.testing.assert_array_equal(found, [FACE, FACE, NECK, MOUTH])


def test_the_mouth_and_what_is_beyond_the_surface_keep_their_own():
    means = np.array([[0.0, 0.0, 0.2], [0.5, 0.0, 0.3], [0.0, 0.0, 0.4]], np.float32)
    own = np.array([[0.2, 1.0], [0.3, 2.0], [0.4, 3.0]], np.float32)
    found = surface_prior_from_points(points()).anchors(means, np.array([MOUTH, FACE, NECK], np.uint8), own)
    np.testing.assert_array_equal(found, own)


def test_without_points_nothing_changes():
    own = np.array([[0.2, 1.0]], np.float32)
    found = surface_prior_from_points(None).anchors(
        np.zeros((1, 3), np.float32), np.array([FACE], np.uint8), own
    )
    np.testing.assert_array_equal(found, own)
