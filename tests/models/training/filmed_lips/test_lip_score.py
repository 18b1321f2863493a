import numpy as np
import pytest
from lips_scene import filmed

from splatface.models.training.filmed_lips.lip_score import closure_threshold, lip_score, mean_score


@pytest.fixture(scope="module")
def film():
    return filmed()


def test_the_filmed_mouth_itself_scores_fully(film):
    score = lip_score(film, film.times_s, film.modes)
    assert score.r_raw == pytest.approx(1)
    assert score.r_speech == pytest.approx(1)
    assert score.r_gap > 0.99
    assert score.amplitude == pytest.approx(1)
    assert score.lag_ms == pytest.approx(0, abs=1)
    assert score.closure_recall == score.closure_precision == 1
    assert score.onset_delay_ms == 0


@pytest.mark.parametrize("late_ms", [-80, -30, 30, 80])
def test_a_late_prediction_is_told_as_late(film, late_ms):
    assert lip_score(film, film.times_s + late_ms / 1000, film.modes).lag_ms == pytest.approx(late_ms, abs=6)


def test_a_muted_mouth_follows_and_is_small(film):
    score = lip_score(film, film.times_s, 0.5 * film.modes)
    assert score.r_speech == pytest.approx(1)
    assert score.amplitude == pytest.approx(0.5)


def test_drift_counts_in_the_raw_correlation_alone(film):
    drifting = film.modes + np.linspace(0, 2, len(film.modes))[:, None]
    score = lip_score(film, film.times_s, drifting)
    assert score.r_raw < 0.6
    assert score.r_speech > 0.95


def test_a_mouth_that_never_closes_misses_every_closure(film):
    open_wide = film.modes.copy()
    open_wide[:, 0] = np.maximum(open_wide[:, 0], 0.3)
    score = lip_score(film, film.times_s, open_wide)
    assert score.closure_recall == 0
    assert np.isnan(score.closure_precision)


def test_invented_closures_cost_precision(film):
    closing = film.modes.copy()
    closing[::6] = 0.0
    score = lip_score(film, film.times_s, closing)
    assert score.closure_precision < 0.7
    assert score.closure_recall == 1


def test_lips_that_never_come_near_each_other_have_no_closures():
    assert closure_threshold(np.linspace(0.1, 0.3, 100)) == -np.inf
    assert 0.0 < closure_threshold(np.linspace(0.0, 0.3, 100)) < 0.1


def test_every_clip_counts_the_same_in_the_mean(film):
    whole = lip_score(film, film.times_s, film.modes)
    other = lip_score(filmed(1, seconds=30), film.times_s, film.modes)
    mean = mean_score([whole, other])
    assert mean["r_speech"] == pytest.approx((whole.r_speech + other.r_speech) / 2)
    assert mean["clips"] == 2
