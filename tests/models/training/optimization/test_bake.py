"""Baking a field to a linear basis: principal components, motion map, visibility weights."""

import numpy as np
import pytest
import torch
from performers import make_deformation_source, true_performer

from splatface.models.errors import TrainingError
from splatface.models.training.dataset.types import TRAIN
from splatface.models.training.optimization.bake import (
    BakeConfig,
    DatasetRenderer,
    bake_field,
    fit_motion_map,
    image_sensitivity,
    motion_map_from_torch,
    torch_motion_map_from,
    weighted_pca,
)
from splatface.models.training.optimization.dataset_statistics import known_frame_indices


def deltas_of(baked, dataset, row):
    """What the baked head adds to its own canonical Gaussians, all N."""
    frames = dataset.frames
    deltas = np.zeros((len(baked.gaussians), 14), np.float32)
    deltas[baked.dynamic] = baked.basis @ baked.motion_map(frames.mouth[row], frames.controls[row])
    return deltas


def picture_of(baked, performer, dataset, row):
    g = baked.gaussians
    table = torch.from_numpy(
        np.concatenate(
            [
                g.means, g.quats, g.log_scales, g.opacity_logits[:, None],
                performer.table[:, 11:12].numpy(), g.sh.reshape(len(g), -1),
            ],
            axis=1,
        )
    )  # fmt: skip
    deltas = torch.from_numpy(deltas_of(baked, dataset, row))
    return DatasetRenderer(dataset).render(table, deltas, row).numpy()


def psnr_between(baked, performer, dataset):
    """Field against baked head, over all rows trained on."""
    stage, squares = DatasetRenderer(dataset), []
    for row in known_frame_indices(dataset, TRAIN).tolist():
        field = stage.render(performer.table, performer.deltas(row), row).numpy()
        squares.append(np.mean((field - picture_of(baked, performer, dataset, row)) ** 2))
    return -10 * np.log10(np.mean(squares))


def test_a_linear_field_bakes_without_loss(tiny):
    head, _ = true_performer(tiny)
    rng = np.random.default_rng(0)
    basis = np.zeros((len(head.gaussians), 14, 16))
    basis[:300, :3] = rng.normal(size=(300, 3, 16)) * 2e-3
    basis[:300, 11:] = rng.normal(size=(300, 3, 16)) * 0.2
    performer = make_deformation_source(head, tiny, lambda motion: motion, basis)
    baked = bake_field(performer, tiny, BakeConfig(hidden=0))
    assert set(baked.dynamic) <= set(range(300))
    assert baked.report["lost_with_directions"] < 1e-6
    assert baked.report["not_told_by_motion"] < 1e-4
    assert psnr_between(baked, performer, tiny) > 55
    assert baked.basis.shape == (len(baked.dynamic), 14, 32)


def test_the_true_head_bakes_to_itself(tiny):
    _, performer = true_performer(tiny)
    baked = bake_field(performer, tiny, BakeConfig())
    assert psnr_between(baked, performer, tiny) > 45


def test_at_rest_the_baked_head_is_the_field_at_rest(tiny):
    head, _ = true_performer(tiny)
    rng = np.random.default_rng(1)
    basis = np.zeros((len(head.gaussians), 14, 17))
    basis[:200, 11:] = rng.normal(size=(200, 3, 17)) * 0.3
    constant = make_deformation_source(head, tiny, lambda motion: np.r_[motion, 1.0], basis)
    baked = bake_field(constant, tiny, BakeConfig(hidden=0))
    moved = np.isin(np.arange(200), baked.dynamic)
    found = baked.gaussians.sh[:200, 0] - head.gaussians.sh[:200, 0]
    assert found[moved] == pytest.approx(basis[:200, 11:, 16][moved], abs=0.03)


def test_fewer_ways_lose_more_and_say_so(tiny):
    head, _ = true_performer(tiny)
    rng = np.random.default_rng(2)
    basis = np.zeros((len(head.gaussians), 14, 16))
    basis[:300, 11:] = rng.normal(size=(300, 3, 16)) * 0.4
    performer = make_deformation_source(head, tiny, lambda motion: motion, basis)
    lost = [
        bake_field(performer, tiny, BakeConfig(hidden=0, coefficients=k)).report["lost_with_directions"]
        for k in (2, 4, 16)
    ]
    assert lost[0] > lost[1] > lost[2]
    assert lost[2] < 1e-6


def test_those_whose_movement_shows_least_stand_still(tiny):
    head, _ = true_performer(tiny)
    basis = np.zeros((len(head.gaussians), 14, 16))
    basis[:100, 11] = 0.3
    basis[100:200, 11] = 1e-3
    performer = make_deformation_source(head, tiny, lambda motion: motion, basis)
    baked = bake_field(performer, tiny, BakeConfig(hidden=0, dynamic=100))
    assert len(baked.dynamic) <= 100
    assert set(baked.dynamic) <= set(range(100))


def test_a_still_field_has_nothing_dynamic(tiny):
    head, _ = true_performer(tiny)
    performer = make_deformation_source(
        head, tiny, lambda motion: motion, np.zeros((len(head.gaussians), 14, 16))
    )
    baked = bake_field(performer, tiny, BakeConfig())
    assert baked.dynamic.shape == (0,)
    assert baked.gaussians.means == pytest.approx(head.gaussians.means)


def test_a_field_that_ran_away_is_an_error(tiny):
    head, _ = true_performer(tiny)
    basis = np.zeros((len(head.gaussians), 14, 16))
    basis[5, 0, 0] = np.nan
    with pytest.raises(TrainingError, match="finite"):
        bake_field(make_deformation_source(head, tiny, lambda m: m, basis), tiny, BakeConfig())


def test_the_effect_is_that_of_a_small_push(tiny):
    """Against finite differences of one Gaussian's color and place."""
    _, performer = true_performer(tiny)
    row = known_frame_indices(tiny, TRAIN)[3]
    stage = DatasetRenderer(tiny)
    effect = image_sensitivity(performer, stage, np.array([row]), probes=64, seed=0)
    one = int(np.argsort(effect[:, 11])[-20])
    deltas = performer.deltas(row)
    for channel, step in ((11, 1e-2), (0, 2e-5)):
        ends = []
        for sign in (1, -1):
            pushed = deltas.clone()
            pushed[one, channel] += sign * step
            ends.append(stage.render(performer.table, pushed, row).double())
        found = float(((ends[0] - ends[1]) / (2 * step)).norm())
        assert effect[one, channel] == pytest.approx(found, rel=0.35)


@pytest.mark.parametrize(("name", "value"), [("coefficients", 0), ("dynamic", 0), ("hidden", -1)])
def test_settings_that_make_no_sense_are_refused(name, value):
    with pytest.raises(TrainingError, match=name):
        BakeConfig(**{name: value})


def _of_rank(rank, frames=60, features=900, seed=0):
    rng = np.random.default_rng(seed)
    codes = rng.normal(size=(frames, rank)) * np.geomspace(1, 0.05, rank)
    return (codes @ rng.normal(size=(rank, features)) + rng.normal(size=features)).astype(np.float32)


def _drawn(found):
    return found.mean + found.codes @ found.basis.T


def test_what_has_few_directions_is_reported_whole():
    samples = _of_rank(12)
    found = weighted_pca(samples, np.ones(900, np.float32), 32)
    assert found.lost < 1e-9
    assert np.abs(_drawn(found) - samples).max() < 1e-5
    assert (found.basis[:, 12:] == 0).all()
    assert found.codes[:, :12].std(axis=0) == pytest.approx(1, rel=1e-6)


def test_what_has_more_loses_what_the_theory_says():
    samples = _of_rank(40)
    found = weighted_pca(samples, np.ones(900, np.float32), 32)
    centerd = samples.astype(np.float64) - samples.mean(axis=0, dtype=np.float64)
    squares = np.linalg.svd(centerd, compute_uv=False) ** 2
    assert found.lost == pytest.approx(squares[32:].sum() / squares.sum(), rel=1e-6)
    assert ((_drawn(found) - samples) ** 2).sum() == pytest.approx(squares[32:].sum(), rel=1e-3)
    assert found.explained_variance == pytest.approx(squares[:32] / len(samples), rel=1e-6)


def test_what_counts_more_is_reported_better():
    lips, shirt = _of_rank(20, features=100, seed=1), _of_rank(20, features=800, seed=2)
    samples, weights = np.hstack([lips, shirt]), np.ones(900, np.float32)
    weights[:100] = 300
    plain = _drawn(weighted_pca(samples, np.ones(900, np.float32), 20)) - samples
    weighted = _drawn(weighted_pca(samples, weights, 20)) - samples
    assert np.abs(weighted[:, :100]).max() < 0.01 * np.abs(plain[:, :100]).max()
    assert np.std(weighted[:, 100:]) > np.std(plain[:, 100:])


def test_features_that_count_nothing_follow_the_rest():
    samples = _of_rank(6)
    weights = np.r_[np.ones(450), np.zeros(450)].astype(np.float32)
    assert np.abs(_drawn(weighted_pca(samples, weights, 6)) - samples).max() < 1e-4


def test_a_still_field_has_no_directions():
    found = weighted_pca(np.ones((5, 30), np.float32), np.ones(30, np.float32), 3)
    assert (found.basis == 0).all()
    assert found.lost == 0.0


def test_movement_that_ran_away_is_an_error():
    samples = _of_rank(3)
    samples[4, 5] = np.nan
    with pytest.raises(TrainingError, match="train the field again"):
        weighted_pca(samples, np.ones(900, np.float32), 3)


def _motion(frames=400, seed=0):
    return np.random.default_rng(seed).uniform(0, 1, (frames, 16))


def test_a_line_with_a_rest_is_found_exactly():
    motion, rng = _motion(), np.random.default_rng(1)
    linear, rest = rng.normal(size=(16, 8)), rng.normal(size=8)
    fit = fit_motion_map(motion, motion @ linear + rest, np.ones(8), hidden=16, steps=50, seed=0)
    assert fit.unexplained < 1e-6
    said = np.stack([fit.motion_map(m[:8], m[8:]) for m in motion.astype(np.float32)])
    assert np.abs(said + fit.at_rest - (motion @ linear + rest)).max() < 5e-3


def test_at_rest_the_map_is_nothing():
    motion = _motion()
    fit = fit_motion_map(motion, np.sin(3 * motion[:, :4]), np.ones(4), hidden=16, steps=100, seed=0)
    assert fit.motion_map(np.zeros(8, np.float32), np.zeros(8, np.float32)) == pytest.approx(0, abs=1e-6)


def test_a_bend_says_what_a_line_cannot():
    motion = _motion()
    codes = np.stack([np.maximum(motion[:, 0] - 0.5, 0) * 4, motion[:, 1] * motion[:, 2] * 4], axis=1)
    straight = fit_motion_map(motion, codes, np.ones(2), hidden=0, steps=0, seed=0)
    bent = fit_motion_map(motion, codes, np.ones(2), hidden=32, steps=400, seed=0)
    assert bent.unexplained < 0.2 * straight.unexplained


def test_what_never_moved_drives_nothing():
    motion = _motion()
    motion[:, 9] = 0
    fit = fit_motion_map(motion, motion[:, :2] * 3, np.ones(2), hidden=0, steps=0, seed=0)
    assert np.abs(fit.motion_map.linear[9]).max() < 1e-9


def test_numpy_and_torch_say_the_same():
    motion = _motion()
    fit = fit_motion_map(motion, np.cos(4 * motion[:, :5]), np.ones(5), hidden=24, steps=50, seed=3)
    learned = torch_motion_map_from(fit.motion_map)
    x = motion[7].astype(np.float32)
    assert learned(torch.from_numpy(x)).detach().numpy() == pytest.approx(
        fit.motion_map(x[:8], x[8:]), abs=1e-5
    )
    assert (motion_map_from_torch(learned).w1 == fit.motion_map.w1).all()
