"""Parting and pruning: counts, the cap, what is moved, and that the picture stays."""

import numpy as np
import pytest
from training_scene import camera, drawn, some_rows

from splatface.models.training.optimization.densification import (
    DensificationStats,
    densify_and_prune,
    no_pull,
)
from splatface.models.training.optimization.gaussian_skinning import OPACITY
from splatface.models.training.optimization.train_config import DensifyConfig

HOW = DensifyConfig(grow_grad2d=0.1, max_growth_ratio=1.0, max_gaussians=100, prune_opacity=0.05)


def pulled(count, hard=(), seen=10.0):
    slopes = np.zeros(count, np.float32)
    slopes[list(hard)] = seen
    return DensificationStats(slopes, np.full(count, seen, np.float32))


def all_still(count):
    return np.zeros(count, bool)


def test_what_is_not_pulled_at_stays_as_it_is():
    table = some_rows(20)
    found = densify_and_prune(table, pulled(20), all_still(20), 0, HOW)
    assert np.array_equal(found.table, table)
    assert np.array_equal(found.sources, np.arange(20))
    assert not found.fresh.any()


def test_the_hard_pulled_part_in_two_and_the_faint_go():
    table = some_rows(20)
    table[4, OPACITY] = -6
    found = densify_and_prune(table, pulled(20, hard=(2, 7)), all_still(20), 0, HOW)
    assert len(found.table) == 20 - 1 + 2
    assert 4 not in found.sources
    assert sorted(found.sources[found.fresh]) == [2, 2, 7, 7]


def test_faint_ones_that_no_picture_saw_stay():
    table = some_rows(20)
    table[4, OPACITY] = -6
    assert 4 in densify_and_prune(table, no_pull(20), all_still(20), 0, HOW).sources


@pytest.mark.parametrize("most", [20, 23])
def test_the_cap_holds_and_the_freed_go_to_those_pulled_hardest(most):
    table = some_rows(20)
    table[[1, 3], OPACITY] = -6
    pull = pulled(20, hard=range(5, 15))
    pull.slopes[8] *= 3
    how = DensifyConfig(grow_grad2d=0.1, max_growth_ratio=1.0, max_gaussians=most, prune_opacity=0.05)
    found = densify_and_prune(table, pull, all_still(20), 0, how)
    assert len(found.table) == most
    assert (found.sources == 8).sum() == 2


def test_growth_at_once_is_limited():
    how = DensifyConfig(grow_grad2d=0.1, max_growth_ratio=0.1, max_gaussians=100)
    assert (
        len(densify_and_prune(some_rows(20), pulled(20, hard=range(20)), all_still(20), 0, how).table) == 22
    )


def test_movable_ones_part_only_while_there_is_room():
    movable = np.arange(20) < 10
    found = densify_and_prune(some_rows(20), pulled(20, hard=range(20)), movable, 3, HOW)
    parted = np.unique(found.sources[found.fresh])
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


def test_slopes_are_counted_per_half_picture_width():
    pull = no_pull(2)
    pull.add(np.array([[3e-3, 4e-3], [0, 0]], np.float32), camera().width)
    assert pull.slopes[0] == pytest.approx(5e-3 * camera().width / 2)
    assert pull.count.tolist() == [1, 0]
