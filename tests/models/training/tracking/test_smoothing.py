"""Smoothing takes noise away and leaves lines, places in time and events as they are."""

import numpy as np
import pytest

from splatface.models.training.tracking.face_fit import outlier_weights
from splatface.models.training.tracking.face_motion import eye_closure
from splatface.models.training.tracking.smoothing import (
    SampleWeights,
    estimate_noise,
    interpolate_gaps,
    preserve_outliers,
    smooth,
    smooth_trajectories,
)

FPS = 25.0


def trail(count, trust=None, begins=None):
    return SampleWeights(
        FPS, np.ones(count) if trust is None else trust, np.zeros(count, bool) if begins is None else begins
    )


def lasting_noise(rng, count):
    """Unit noise [count, 1] that lasts about two pictures."""
    noise = rng.normal(size=count)
    for i in range(1, count):
        noise[i] = 0.6 * noise[i - 1] + 0.8 * noise[i]
    return noise[:, None]


def test_noise_is_measured_through_motion():
    rng = np.random.default_rng(0)
    motion = np.sin(np.arange(400) / 15)[:, None] * [1.0, 5.0]
    noise = estimate_noise(motion + rng.normal(0, 0.05, motion.shape))
    assert noise == pytest.approx([0.05, 0.05], rel=0.25)


def test_a_parabola_stays():
    track = (np.arange(50.0) - 20)[:, None] ** 2
    np.testing.assert_allclose(smooth(track, np.array([0.5])), track, atol=1e-3)


def test_noise_goes_and_nothing_lags():
    rng = np.random.default_rng(1)
    clean = np.sin(np.arange(200) / 12)[:, None]
    calm = smooth(clean + rng.normal(0, 0.1, clean.shape), np.array([0.1]))
    assert np.sqrt(((calm - clean) ** 2).mean()) < 0.055
    lags = [float((np.roll(clean, k, 0) * calm)[10:-10].sum()) for k in (-2, 0, 2)]
    assert lags[1] == max(lags)


def test_nothing_is_smoothed_across_a_cut():
    track = np.repeat([0.0, 5.0], 40)[:, None]
    begins = np.arange(80) == 40
    np.testing.assert_allclose(smooth(track, np.array([0.5]), begins), track, atol=1e-3)
    calmed = smooth_trajectories(track, np.array([0.5]), trail(80, begins=begins))
    assert np.abs(calmed - track).max() < 0.02


def test_a_head_that_stands_still_is_held_still():
    rng = np.random.default_rng(5)
    slips = lasting_noise(rng, 500)
    calmed = smooth_trajectories(slips, np.array([1.0]), trail(500))
    assert calmed.std() < 0.35 * slips.std()


def test_a_head_that_nods_may_nod():
    rng = np.random.default_rng(6)
    nods = 8 * np.sin(2 * np.pi * 1.2 * np.arange(500) / FPS)[:, None]
    noise = lasting_noise(rng, 500)
    calmed = smooth_trajectories(nods + noise, np.array([1.0]), trail(500))
    assert (calmed - nods).std() < noise.std()
    lags = [float((np.roll(calmed, k, 0) * nods)[10:-10].sum()) for k in (-1, 0, 1)]
    assert lags[1] == max(lags)


def test_a_moment_without_trust_does_not_count():
    track = np.zeros((40, 1))
    track[20] = 10.0
    trust = np.ones(40)
    trust[20] = 0.0
    assert abs(smooth_trajectories(track, np.array([0.01]), trail(40, trust=trust))[20, 0]) < 0.1


@pytest.mark.parametrize("count", [1, 7, 8, 9, 15])
def test_few_moments_are_no_trouble(count):
    track = np.arange(count, dtype=float)[:, None]
    np.testing.assert_allclose(smooth_trajectories(track, np.array([0.5]), trail(count)), track, atol=0.05)


def test_events_stay_and_noise_does_not():
    rng = np.random.default_rng(2)
    noise = np.array([0.02])
    track = rng.normal(0, noise[0], (100, 1))
    track[50:52] = 1.0
    kept = preserve_outliers(track, smooth(track, noise), noise)
    assert kept[50:52].min() > 0.9
    assert kept[:45].std() < 0.7 * track[:45].std()


def test_a_short_track_is_left_alone():
    np.testing.assert_array_equal(smooth(np.eye(3), np.ones(3)), np.eye(3))


def test_doubts_begin_above_the_usual_error():
    trust = outlier_weights(np.array([1.0, 1.0, 1.0, 2.0, 5.0]))
    assert trust[0] == 1
    assert trust[3] == pytest.approx(0.25)
    assert trust[4] < 0.01


def test_a_bridge_is_straight():
    values = np.array([[0.0], [9.0], [2.0]])
    np.testing.assert_allclose(interpolate_gaps(values, np.array([1.0, 0.0, 1.0])), [[0], [1], [2]])


def test_blinks_are_scaled_to_the_person():
    gaps = np.full((200, 2), [0.30, 0.20])
    for at in (50, 120):
        gaps[at : at + 4] = gaps[0] * 0.2
    blinks = eye_closure(gaps, 25.0)
    assert blinks[[51, 121]].min() > 0.9
    assert blinks[80].max() == 0


def test_eyes_that_never_shut_do_not_blink():
    rng = np.random.default_rng(3)
    assert eye_closure(0.3 + rng.normal(0, 0.008, (300, 2)), 25.0).max() < 0.2
