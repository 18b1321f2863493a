import numpy as np
import pytest

from splatface.models.errors import TrainingError
from splatface.models.training.optimization.bake import weighted_pca


def _of_rank(rank, frames=60, features=900, seed=0):
    rng = np.random.default_rng(seed)
    codes = rng.normal(size=(frames, rank)) * np.geomspace(1, 0.05, rank)
    return (codes @ rng.normal(size=(rank, features)) + rng.normal(size=features)).astype(np.float32)


def _drawn(found):
    return found.mean + found.codes @ found.basis.T


def test_what_has_few_directions_is_told_whole():
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


def test_what_counts_more_is_told_better():
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
