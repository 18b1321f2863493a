"""Signals whose likeness is known: shifted, weakened, trembling, with holes."""

import numpy as np
import pytest

from splatface.models.training.evaluation.mouth_metrics import (
    amplitude_ratio,
    correlation,
    excess_jitter,
    lag_ms,
)

STEP_MS = 40.0


def speech(time_s):
    """Opens and shuts a few times a second, never the same twice."""
    return sum(np.sin(2 * np.pi * f * time_s + f * f) for f in (0.7, 1.3, 2.1, 3.7))


@pytest.fixture
def time_s():
    return np.arange(250) * STEP_MS / 1000


@pytest.mark.parametrize("late_ms", [-120.0, -33.0, 0.0, 12.0, 50.0, 165.0])
def test_lag_is_found_between_the_steps(time_s, late_ms):
    lag = lag_ms(speech(time_s), 0.4 * speech(time_s - late_ms / 1000) + 3, STEP_MS)
    assert lag == pytest.approx(late_ms, abs=2.0)


def test_lag_bridges_holes(time_s):
    truth, found = speech(time_s), speech(time_s - 0.06)
    truth[40:60], found[100:130] = np.nan, np.nan
    assert lag_ms(truth, found, STEP_MS) == pytest.approx(60, abs=3)


def test_there_is_no_lag_between_strangers(time_s):
    assert np.isnan(lag_ms(speech(time_s), np.ones(250), STEP_MS))
    assert np.isnan(lag_ms(time_s[:6], time_s[:6], STEP_MS))
    ramp = np.where(np.arange(250) == 100, 1.0, 0.0)
    far = np.where(np.arange(250) == 150, 1.0, 0.0)
    assert np.isnan(lag_ms(ramp, far, STEP_MS))


def test_correlation_and_strength_of_a_weak_noisy_copy(time_s):
    rng = np.random.default_rng(0)
    truth = speech(time_s)
    found = 0.5 * truth + rng.normal(0, 0.5 * truth.std(), 250) + 2
    assert correlation(truth, found) == pytest.approx(np.sqrt(0.5), abs=0.05)
    assert amplitude_ratio(truth, found) == pytest.approx(np.sqrt(0.5), abs=0.08)
    assert correlation(truth, -truth) == pytest.approx(-1)


def test_unknown_moments_do_not_count(time_s):
    truth = speech(time_s)
    found = 2 * truth
    found[::3] = np.nan
    assert correlation(truth, found) == pytest.approx(1)
    assert amplitude_ratio(truth, found) == pytest.approx(2)


def test_too_little_says_nothing():
    still, few = np.ones(50), np.arange(5.0)
    for say in (correlation, amplitude_ratio):
        assert np.isnan(say(still, np.arange(50.0)))
        assert np.isnan(say(few, few))


def test_trembling_of_white_noise_is_its_spread():
    rng = np.random.default_rng(1)
    truth = np.cumsum(rng.normal(0, 2, (2000, 5, 2)), axis=0)  # the face itself may move as it likes
    found = truth + rng.normal(0, 0.3, truth.shape)
    assert excess_jitter(truth, found) == pytest.approx(0.3, rel=0.03)


def test_a_constant_or_slow_error_does_not_tremble():
    truth = np.random.default_rng(2).normal(size=(100, 5, 2))
    drift = np.linspace(0, 10, 100)[:, None, None]
    assert excess_jitter(truth, truth + 4) == pytest.approx(0, abs=1e-9)
    assert excess_jitter(truth, truth + drift) == pytest.approx(0, abs=1e-9)


def test_trembling_leaves_out_what_is_next_to_a_hole():
    truth = np.zeros((60, 2, 2))
    found = np.zeros((60, 2, 2))
    found[30] = np.nan
    found[31:] = 7  # found again elsewhere
    assert excess_jitter(truth, found) == 0
    assert np.isnan(excess_jitter(truth[:2], found[:2]))
