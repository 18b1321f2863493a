"""Signals whose likeness is known: shifted, weakened, trembling, with holes."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from splatface.models.head.head_file import head_folder
from splatface.models.training.evaluation.mouth_metrics import (
    STEADY,
    LandmarkSequences,
    amplitude_ratio,
    correlation,
    excess_jitter,
    lag_ms,
    lip_distance_px,
    lip_score,
    mouth_opening,
)
from splatface.models.training.tracking.face_detection import LIPS, detect_landmarks

STEP_MS = 40.0


def opening_signal(time_s):
    """Opens and shuts a few times a second, never the same twice."""
    return sum(np.sin(2 * np.pi * f * time_s + f * f) for f in (0.7, 1.3, 2.1, 3.7))


@pytest.fixture
def time_s():
    return np.arange(250) * STEP_MS / 1000


@pytest.mark.parametrize("late_ms", [-120.0, -33.0, 0.0, 12.0, 50.0, 165.0])
def test_lag_is_found_between_the_steps(time_s, late_ms):
    lag = lag_ms(opening_signal(time_s), 0.4 * opening_signal(time_s - late_ms / 1000) + 3, STEP_MS)
    assert lag == pytest.approx(late_ms, abs=2.0)


def test_lag_bridges_holes(time_s):
    truth, found = opening_signal(time_s), opening_signal(time_s - 0.06)
    truth[40:60], found[100:130] = np.nan, np.nan
    assert lag_ms(truth, found, STEP_MS) == pytest.approx(60, abs=3)


def test_there_is_no_lag_between_strangers(time_s):
    assert np.isnan(lag_ms(opening_signal(time_s), np.ones(250), STEP_MS))
    assert np.isnan(lag_ms(time_s[:6], time_s[:6], STEP_MS))
    ramp = np.where(np.arange(250) == 100, 1.0, 0.0)
    far = np.where(np.arange(250) == 150, 1.0, 0.0)
    assert np.isnan(lag_ms(ramp, far, STEP_MS))


def test_correlation_and_strength_of_a_weak_noisy_copy(time_s):
    rng = np.random.default_rng(0)
    truth = opening_signal(time_s)
    found = 0.5 * truth + rng.normal(0, 0.5 * truth.std(), 250) + 2
    assert correlation(truth, found) == pytest.approx(np.sqrt(0.5), abs=0.05)
    assert amplitude_ratio(truth, found) == pytest.approx(np.sqrt(0.5), abs=0.08)
    assert correlation(truth, -truth) == pytest.approx(-1)


def test_unknown_moments_do_not_count(time_s):
    truth = opening_signal(time_s)
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


FRAMES, FRAME_STEP_MS = 120, 40.0
UPPER, LOWER = (82, 13, 312), (87, 14, 317)


def talking(opening_px):
    """Landmarks [F, 478, 3] of a face 100 px from nose to forehead whose lips part by `opening_px` [F]."""
    places = np.random.default_rng(0).uniform(100, 300, (478, 3))
    places[10, :2], places[2, :2] = (200, 100), (200, 200)
    for k, (up, low) in enumerate(zip(UPPER, LOWER, strict=True)):
        places[up, :2] = places[low, :2] = (190 + 10 * k, 230)
    film = np.repeat(places[None], len(opening_px), axis=0)
    for low in LOWER:
        film[:, low, 1] += opening_px
    return film


def lip_motion(time_s):
    return 8 + sum(2 * np.sin(2 * np.pi * f * time_s + f) for f in (0.9, 2.3, 3.1))


@pytest.fixture
def sight():
    time_s = np.arange(FRAMES) * FRAME_STEP_MS / 1000
    film = talking(lip_motion(time_s))
    return LandmarkSequences(
        truth=film,
        found=film.copy(),
        side_px=256,
        time_ns=(time_s * 1e9).round().astype(np.int64) + 5_000_000_000,
        step_ms=FRAME_STEP_MS,
        silent=np.zeros(FRAMES, bool),
    )


def test_opening_is_a_share_of_the_face(sight):
    film = talking(np.array([0.0, 12.0]))
    assert mouth_opening(film) == pytest.approx([0.0, 0.12])
    assert mouth_opening(2.5 * film) == pytest.approx([0.0, 0.12])


def test_a_perfect_copy_is_perfect(sight):
    score = lip_score(sight)
    assert (score.lmd_px, score.jitter_px) == (0, 0)
    assert (score.opening_correlation, score.opening_amplitude) == pytest.approx((1, 1))
    assert score.opening_lag_ms == pytest.approx(0, abs=1e-6)
    assert (score.missed_truth, score.missed_found) == (0, 0)


def test_distance_is_in_pixels_of_a_picture_of_512(sight):
    moved = replace(sight, found=sight.found + np.array([1.5, 2.0, 9.0]))
    assert lip_distance_px(moved) == pytest.approx(np.full(FRAMES, 2.5 * 512 / 256))
    only_the_nose = sight.found.copy()
    only_the_nose[:, 1] += 50
    assert lip_score(replace(sight, found=only_the_nose)).lmd_px == 0


def test_a_late_and_lazy_mouth_is_called_so(sight):
    time_s = np.arange(FRAMES) * FRAME_STEP_MS / 1000
    score = lip_score(replace(sight, found=talking(8 + 0.6 * (lip_motion(time_s - 0.05) - 8))))
    assert score.opening_lag_ms == pytest.approx(50, abs=3)
    assert score.opening_amplitude == pytest.approx(0.6, abs=0.03)
    assert 0 < score.opening_correlation < 0.9


def test_missing_faces_are_counted_and_bridged(sight):
    truth, found = sight.truth.copy(), sight.found.copy()
    truth[3], found[10:14] = np.nan, np.nan
    score = lip_score(replace(sight, truth=truth, found=found))
    assert (score.missed_truth, score.missed_found) == (1, 4)
    assert (score.lmd_px, score.jitter_px) == (0, 0)
    nobody = lip_score(replace(sight, found=np.full_like(found, np.nan)))
    assert nobody.missed_found == FRAMES
    assert np.isnan([nobody.lmd_px, nobody.opening_correlation, nobody.jitter_px, nobody.rest_error]).all()


def test_pictures_that_are_missing_in_the_film_do_not_pull_it_together(sight):
    time_s = np.arange(FRAMES) * FRAME_STEP_MS / 1000
    late = replace(sight, found=talking(lip_motion(time_s - 0.05)))
    kept = np.setdiff1d(np.arange(FRAMES), [20, 21, 50, 77])
    part = LandmarkSequences(
        truth=late.truth[kept],
        found=late.found[kept],
        side_px=256,
        time_ns=late.time_ns[kept],
        step_ms=FRAME_STEP_MS,
        silent=late.silent[kept],
    )
    assert lip_score(part).opening_lag_ms == pytest.approx(50, abs=3)


def test_head_and_lips_tremble_apart(sight):
    rng = np.random.default_rng(3)
    found = sight.found.copy()
    found[:, STEADY, :2] += rng.normal(0, 0.2, (FRAMES, len(STEADY), 2))
    score = lip_score(replace(sight, found=found))
    assert score.head_jitter_px == pytest.approx(0.4, rel=0.1)
    assert score.lip_jitter_px == 0
    assert score.jitter_px == pytest.approx(score.head_jitter_px / np.sqrt(2))


def test_rest_error_is_the_share_of_a_full_opening(sight):
    opening = np.where(np.arange(FRAMES) < 40, 2.0, 12.0)
    silent = np.arange(FRAMES) < 40
    truth = talking(opening)
    gaping = talking(np.where(silent, 5.0, 12.0))
    score = lip_score(replace(sight, truth=truth, found=gaping, silent=silent))
    assert score.rest_error == pytest.approx(0.3)
    assert lip_score(replace(sight, truth=truth, found=truth, silent=silent)).rest_error == 0
    assert np.isnan(lip_score(replace(sight, truth=truth, found=gaping)).rest_error)


def test_a_real_face_moved_by_three_pixels_is_three_pixels_off():
    face = np.ascontiguousarray(cv2.imread(str(head_folder("robin") / "preview.png"))[..., ::-1])
    truth = detect_landmarks([face] * 6, tracked=True)[-1:]
    found = detect_landmarks([np.roll(face, 3, axis=1)] * 6, tracked=True)[-1:]
    sight = LandmarkSequences(truth, found, 512, np.zeros(1, np.int64), FRAME_STEP_MS, np.zeros(1, bool))
    assert lip_distance_px(sight) == pytest.approx([3.0], abs=0.3)


def test_steady_skin_has_no_lips():
    assert not set(STEADY) & set(LIPS)
