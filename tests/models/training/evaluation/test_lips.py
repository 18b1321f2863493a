"""The mouth's figures, on made landmarks and on a real face moved by a known way."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from splatface.models.head.head_file import head_folder
from splatface.models.training.evaluation.mouth_metrics import (
    STEADY,
    LandmarkSequences,
    lip_distance_px,
    lip_score,
    mouth_opening,
)
from splatface.models.training.tracking.face_detection import LIPS, detect_landmarks

FRAMES, STEP_MS = 120, 40.0
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


def speech(time_s):
    return 8 + sum(2 * np.sin(2 * np.pi * f * time_s + f) for f in (0.9, 2.3, 3.1))


@pytest.fixture
def sight():
    time_s = np.arange(FRAMES) * STEP_MS / 1000
    film = talking(speech(time_s))
    return LandmarkSequences(
        truth=film,
        found=film.copy(),
        side_px=256,
        time_ns=(time_s * 1e9).round().astype(np.int64) + 5_000_000_000,
        step_ms=STEP_MS,
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
    time_s = np.arange(FRAMES) * STEP_MS / 1000
    score = lip_score(replace(sight, found=talking(8 + 0.6 * (speech(time_s - 0.05) - 8))))
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
    time_s = np.arange(FRAMES) * STEP_MS / 1000
    late = replace(sight, found=talking(speech(time_s - 0.05)))
    kept = np.setdiff1d(np.arange(FRAMES), [20, 21, 50, 77])
    part = LandmarkSequences(
        truth=late.truth[kept],
        found=late.found[kept],
        side_px=256,
        time_ns=late.time_ns[kept],
        step_ms=STEP_MS,
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
    sight = LandmarkSequences(truth, found, 512, np.zeros(1, np.int64), STEP_MS, np.zeros(1, bool))
    assert lip_distance_px(sight) == pytest.approx([3.0], abs=0.3)


def test_steady_skin_has_no_lips():
    assert not set(STEADY) & set(LIPS)
