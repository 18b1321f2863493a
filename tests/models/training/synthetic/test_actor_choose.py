from dataclasses import replace

import numpy as np
import pytest

from splatface.models.errors import ActorError
from splatface.models.training.dataset.types import TEST, TRAIN, VAL
from splatface.models.training.synthetic.actor_video import (
    coverage_radius,
    extreme_frames,
    farthest_point_sampling,
    frame_features,
    select_frames,
)
from splatface.models.training.synthetic.performance import POSE_LIMITS_RAD, ActingConfig, Performance
from splatface.models.training.synthetic.speech_track import ActorVoice, SpeechTrack


def acted(moments=400, seed=0):
    """Smooth random motion."""
    rng = np.random.default_rng(seed)

    def track(columns):
        walk = np.cumsum(rng.normal(size=(moments, columns)), axis=0)
        walk -= walk.min(axis=0)
        return walk / walk.max(axis=0)

    voice = ActorVoice("test", "woman", "", lambda text: None)
    return Performance(
        time_ns=np.arange(moments, dtype=np.int64) * 40_000_000,
        mouth=track(8).astype(np.float32),
        controls=track(8).astype(np.float32),
        poses=(2 * track(6) - 1) * np.array(POSE_LIMITS_RAD),
        speech=SpeechTrack(np.zeros(16000, np.float32), (), (), voice),
        acting=ActingConfig(),
    )


def test_the_parts_are_as_promised():
    chosen = select_frames(acted(), 60)
    parts = {split: chosen.moments[chosen.split == split] for split in (TRAIN, VAL, TEST)}
    assert len(parts[TRAIN]) == 60
    assert parts[TRAIN].max() < 340
    assert parts[VAL].min() >= 340
    assert parts[VAL].max() < 360
    assert np.array_equal(parts[TEST], np.arange(360, 400))
    assert (np.diff(chosen.moments) > 0).all()


def test_extremes_are_never_missing():
    film = acted()
    train = select_frames(film, 60).moments[:60]
    for track in (film.mouth, film.controls, film.poses):
        until = track[:340]
        assert np.allclose(until[train].max(axis=0), until.max(axis=0))
    assert np.allclose(film.poses[train].min(axis=0), film.poses[:340].min(axis=0))


def test_half_shut_eyes_are_chosen():
    film = acted()
    controls = film.controls.copy()
    controls[:, :2] = 0
    controls[100:103, :2] = [[0.2, 0.2], [0.52, 0.48], [1, 1]]
    found = extreme_frames(replace(film, controls=controls), 340)
    assert 101 in found
    assert 102 in found


def test_farthest_first_finds_the_corners_of_a_square():
    inside = np.random.default_rng(0).uniform(0.2, 0.8, (200, 2))
    corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    found = farthest_point_sampling(np.vstack([inside, corners]), np.array([200]), 4)
    assert set(found) == {200, 201, 202, 203}


def test_at_most_twice_the_best_radius():
    # On a line of 101 places 5 well-set ones are at most 10 from all others.
    line = np.arange(101.0)[:, None]
    assert coverage_radius(line, farthest_point_sampling(line, np.array([0]), 5)) <= 20


@pytest.mark.parametrize("seed", range(3))
def test_better_than_by_chance(seed):
    film = acted(seed=seed)
    features = frame_features(film)[:340]
    chosen = select_frames(film, 50).moments[:50]
    by_chance = [np.random.default_rng(i).choice(340, 50, replace=False) for i in range(20)]
    assert coverage_radius(features, chosen) < 0.9 * min(
        coverage_radius(features, rows) for rows in by_chance
    )


def test_alike_moments_are_not_chosen_twice():
    found = farthest_point_sampling(np.zeros((10, 2)), np.array([0]), 10)
    assert sorted(found) == list(range(10))


def test_the_same_film_gives_the_same_choice():
    assert np.array_equal(select_frames(acted(), 40).moments, select_frames(acted(), 40).moments)


@pytest.mark.parametrize("count", [0, 341])
def test_too_many_or_none_is_refused(count):
    with pytest.raises(ActorError, match="make the film longer"):
        select_frames(acted(), count)
