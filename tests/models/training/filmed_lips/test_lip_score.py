import numpy as np
import pytest
from lips_scene import filmed

from splatface.models.training.filmed_lips.lip_score import closure_threshold, lip_score, mean_score


@pytest.fixture(scope="module")
def clip():
    return filmed()


def test_the_filmed_mouth_itself_scores_fully(clip):
    score = lip_score(clip, clip.times_s, clip.modes)
    assert score.r_raw == pytest.approx(1)
    assert score.r_speech == pytest.approx(1)
    assert score.r_gap > 0.99
    assert score.amplitude == pytest.approx(1)
    assert score.lag_ms == pytest.approx(0, abs=1)
    assert score.closure_recall == score.closure_precision == 1
    assert score.onset_delay_ms == 0


@pytest.mark.parametrize("late_ms", [-80, -30, 30, 80])
def test_the_lag_of_a_late_prediction_is_measured(clip, late_ms):
    assert lip_score(clip, clip.times_s + late_ms / 1000, clip.modes).lag_ms == pytest.approx(late_ms, abs=6)


def test_a_muted_mouth_has_full_correlation_and_half_the_amplitude(clip):
    score = lip_score(clip, clip.times_s, 0.5 * clip.modes)
    assert score.r_speech == pytest.approx(1)
    assert score.amplitude == pytest.approx(0.5)


def test_drift_lowers_only_the_raw_correlation(clip):
    drifting = clip.modes + np.linspace(0, 2, len(clip.modes))[:, None]
    score = lip_score(clip, clip.times_s, drifting)
    assert score.r_raw < 0.6
    assert score.r_speech > 0.95


def test_a_mouth_that_never_closes_misses_every_closure(clip):
    open_wide = clip.modes.copy()
    open_wide[:, 0] = np.maximum(open_wide[:, 0], 0.3)
    score = lip_score(clip, clip.times_s, open_wide)
    assert score.closure_recall == 0
    assert np.isnan(score.closure_precision)


def test_false_closures_cost_precision(clip):
    closing = clip.modes.copy()
    closing[::6] = 0.0
    score = lip_score(clip, clip.times_s, closing)
    assert score.closure_precision < 0.7
    assert score.closure_recall == 1


def test_lips_that_never_meet_have_no_closures():
    assert closure_threshold(np.linspace(0.1, 0.3, 100)) == -np.inf
    assert 0.0 < closure_threshold(np.linspace(0.0, 0.3, 100)) < 0.1


def test_every_clip_has_the_same_weight_in_the_mean(clip):
    whole = lip_score(clip, clip.times_s, clip.modes)
    other = lip_score(filmed(1, seconds=30), clip.times_s, clip.modes)
    mean = mean_score([whole, other])
    assert mean["r_speech"] == pytest.approx((whole.r_speech + other.r_speech) / 2)
    assert mean["clips"] == 2
