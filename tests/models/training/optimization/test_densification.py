"""Densification and the surface prior of depth and skinning weight."""

from types import SimpleNamespace

import numpy as np
import pytest
from training_scene import camera, drawn, some_rows

from splatface.models.training.dataset.types import FACE, MOUTH, NECK
from splatface.models.training.optimization.densification import (
    DensificationStats,
    densify_and_prune,
    surface_prior_from_points,
    zero_densification_stats,
)
from splatface.models.training.optimization.gaussian_skinning import OPACITY
from splatface.models.training.optimization.train_config import DensifyConfig

HOW = DensifyConfig(grow_grad2d=0.1, max_growth_ratio=1.0, max_gaussians=100, prune_opacity=0.05)


def pulled(count, hard=(), seen=10.0):
    grads = np.zeros(count, np.float32)
    grads[list(hard)] = seen
    return DensificationStats(grads, np.full(count, seen, np.float32))


def all_still(count):
    return np.zeros(count, bool)


def test_what_is_not_weighted_at_stays_as_it_is():
    table = some_rows(20)
    found = densify_and_prune(table, pulled(20), all_still(20), 0, HOW)
    assert np.array_equal(found.table, table)
    assert np.array_equal(found.sources, np.arange(20))
    assert not found.is_new.any()


def test_the_hard_weighted_part_in_two_and_the_faint_go():
    table = some_rows(20)
    table[4, OPACITY] = -6
    found = densify_and_prune(table, pulled(20, hard=(2, 7)), all_still(20), 0, HOW)
    assert len(found.table) == 20 - 1 + 2
    assert 4 not in found.sources
    assert sorted(found.sources[found.is_new]) == [2, 2, 7, 7]


def test_faint_ones_that_no_picture_saw_stay():
    table = some_rows(20)
    table[4, OPACITY] = -6
    assert 4 in densify_and_prune(table, zero_densification_stats(20), all_still(20), 0, HOW).sources


@pytest.mark.parametrize("most", [20, 23])
def test_the_cap_holds_and_the_freed_go_to_those_weighted_hardest(most):
    table = some_rows(20)
    table[[1, 3], OPACITY] = -6
    stats = pulled(20, hard=range(5, 15))
    stats.grad2d[8] *= 3
    how = DensifyConfig(grow_grad2d=0.1, max_growth_ratio=1.0, max_gaussians=most, prune_opacity=0.05)
    found = densify_and_prune(table, stats, all_still(20), 0, how)
    assert len(found.table) == most
    assert (found.sources == 8).sum() == 2


def test_growth_at_once_is_limited():
    how = DensifyConfig(grow_grad2d=0.1, max_growth_ratio=0.1, max_gaussians=100)
    assert (
        len(densify_and_prune(some_rows(20), pulled(20, hard=range(20)), all_still(20), 0, how).table) == 22
    )


def test_movable_ones_part_only_while_there_is_room():
    dynamic = np.arange(20) < 10
    found = densify_and_prune(some_rows(20), pulled(20, hard=range(20)), dynamic, 3, HOW)
    parted = np.unique(found.sources[found.is_new])
    assert (parted < 10).sum() == 3
    assert (parted >= 10).sum() == 10


def test_a_picture_of_halves_is_the_picture_of_the_whole():
    table = some_rows(40, spread=0.05)
    found = densify_and_prune(table, pulled(40, hard=range(40)), all_still(40), 0, HOW)
    assert len(found.table) == 80
    before, after = drawn(table), drawn(found.table)
    nothing = np.abs(before - drawn(table[:0])).mean()
    assert np.abs(after - before).mean() < 0.1 * nothing
    assert np.abs(after.mean() - before.mean()) < 0.01


def test_gradients_are_counted_per_half_picture_width():
    stats = zero_densification_stats(2)
    stats.add(np.array([[3e-3, 4e-3], [0, 0]], np.float32), camera().width)
    assert stats.grad2d[0] == pytest.approx(5e-3 * camera().width / 2)
    assert stats.count.tolist() == [1, 0]


def slope_of(xy):
    return 0.05 + 0.5 * xy[:, 0] - 0.2 * xy[:, 1]


def points(count=4000):
    rng = np.random.default_rng(0)
    xy = rng.uniform(-0.05, 0.05, (count, 2))
    labels = np.where(np.arange(count) < count - 200, FACE, MOUTH).astype(np.uint8)
    skin = np.clip(0.5 + 8 * xy[:, 1], 0, 1)
    means = np.c_[xy, slope_of(xy)].astype(np.float32)
    return SimpleNamespace(means=means, labels=labels, skinning_weight=skin.astype(np.float32))


def test_what_wandered_is_drawn_to_the_surface_where_it_is():
    rng = np.random.default_rng(1)
    means = np.c_[rng.uniform(-0.04, 0.04, (300, 2)), np.full(300, 0.2)].astype(np.float32)
    found = surface_prior_from_points(points()).anchors_at(
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
        skinning_weight=np.where(np.arange(8000) % 2, 0.3, 0.9).astype(np.float32),
    )
    means = np.array([[0, 0, 0.063], [0, 0, 0.095], [0.01, 0, 0.02]], np.float32)
    found = surface_prior_from_points(known).anchors_at(
        means, np.full(3, NECK, np.uint8), np.zeros((3, 2), np.float32)
    )
    np.testing.assert_allclose(found[:, 0], [0.06, 0.1, 0.06], atol=1e-3)
    np.testing.assert_allclose(1 / (1 + np.exp(-found[:, 1])), [0.3, 0.9, 0.3], atol=0.01)


def test_what_strayed_to_another_surface_belongs_to_it():
    rng = np.random.default_rng(2)
    xy = rng.uniform(-0.05, 0.05, (8000, 2))
    parts = np.where(xy[:, 1] < 0, FACE, NECK).astype(np.uint8)
    known = SimpleNamespace(
        means=np.c_[xy, slope_of(xy)].astype(np.float32),
        labels=parts,
        skinning_weight=np.ones(8000, np.float32),
    )
    places = np.array([[0, -0.01, 0], [0, 0.001, 0], [0, 0.02, 0], [0, 0.02, 0]], np.float32)
    labels = np.array([FACE, FACE, FACE, MOUTH], np.uint8)
    found = surface_prior_from_points(known).labels_at(places, labels)
    np.testing.assert_array_equal(found, [FACE, FACE, NECK, MOUTH])


def test_the_mouth_and_what_is_beyond_the_surface_keep_their_own():
    means = np.array([[0.0, 0.0, 0.2], [0.5, 0.0, 0.3], [0.0, 0.0, 0.4]], np.float32)
    own = np.array([[0.2, 1.0], [0.3, 2.0], [0.4, 3.0]], np.float32)
    found = surface_prior_from_points(points()).anchors_at(
        means, np.array([MOUTH, FACE, NECK], np.uint8), own
    )
    np.testing.assert_array_equal(found, own)


def test_without_points_nothing_changes():
    own = np.array([[0.2, 1.0]], np.float32)
    found = surface_prior_from_points(None).anchors_at(
        np.zeros((1, 3), np.float32), np.array([FACE], np.uint8), own
    )
    np.testing.assert_array_equal(found, own)
