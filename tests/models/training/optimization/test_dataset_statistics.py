"""What a data set changes about the settings."""

from dataclasses import replace

import numpy as np
import pytest

from splatface.models.training.dataset.types import TRAIN
from splatface.models.training.optimization.dataset_statistics import adapt_config_to_dataset
from splatface.models.training.optimization.train_config import config_from_yaml, config_to_yaml, preset


def film(dataset, seconds, pictures, source="video", turned_deg=20.0):
    yaw = np.radians(np.linspace(-turned_deg / 2, turned_deg / 2, pictures))
    T = np.tile(np.eye(4), (pictures, 1, 1))
    T[:, 0, 0], T[:, 0, 2], T[:, 2, 0], T[:, 2, 2] = np.cos(yaw), np.sin(yaw), -np.sin(yaw), np.cos(yaw)
    frames = dataset.frames
    some = np.zeros(pictures, np.int64)
    changed = {
        name: getattr(frames, name)[some] for name in ("mouth", "controls", "T_world_torso", "landmarks_px")
    }
    times = np.round(np.linspace(0, seconds * 1e9, pictures)).astype(np.int64)
    split = np.full(pictures, TRAIN, np.uint8)
    return replace(
        dataset, source=source, frames=replace(frames, time_ns=times, split=split, T_world_head=T, **changed)
    )


def test_much_film_of_an_actor_is_trained_on_as_the_preset_says(tiny):
    found = adapt_config_to_dataset(film(tiny, 60, 1500, "actor"), preset("basis"))
    assert found.config == preset("basis")
    assert found.notes == ()


def test_tracked_poses_are_refined(tiny):
    found = adapt_config_to_dataset(film(tiny, 60, 1500), preset("basis"))
    assert found.config.refine.rounds > 0
    assert "refined" in found.notes[0]


def test_the_less_film_the_firmer(tiny):
    configs = [adapt_config_to_dataset(film(tiny, s, 30 * s), preset("basis")).config for s in (16, 10, 7, 5)]
    moving = [config.dynamic for config in configs]
    assert moving == sorted(set(moving), reverse=True)
    holds = [config.constraints.depth_anchor_rate for config in configs]
    assert holds == sorted(set(holds))
    assert configs[-1].dynamic == preset("basis").dynamic * 3 // 4
    assert config_from_yaml(config_to_yaml(configs[-1])) == configs[-1]


def test_tracked_motion_is_not_learnt_by_heart(tiny):
    """It errs however long the film is; less of a long one can be learnt by heart."""
    tracked = [
        adapt_config_to_dataset(film(tiny, s, 30 * s), preset("basis")).config.regularization
        for s in (90, 60, 40, 20, 10)
    ]
    actor = adapt_config_to_dataset(film(tiny, 90, 2700, "actor"), preset("basis")).config.regularization
    assert {regularization.motion_noise_std for regularization in tracked} == {0.25}
    assert actor.motion_noise_std < 0.25
    forgetting = [regularization.basis_weight_decay for regularization in tracked]
    assert forgetting[0] == forgetting[1] == actor.basis_weight_decay
    assert forgetting[1] < forgetting[2] < forgetting[3] == forgetting[4]


def test_an_actors_short_film_is_learnt_steadier(tiny):
    found = adapt_config_to_dataset(film(tiny, 5, 150, "actor"), preset("basis")).config.regularization
    assert found.motion_noise_std == pytest.approx(1.5 * preset("basis").regularization.motion_noise_std)
    assert found.basis_weight_decay == pytest.approx(4 * preset("basis").regularization.basis_weight_decay)


@pytest.mark.parametrize(("turned", "degree"), [(2.0, 0), (20.0, 1)])
def test_a_head_that_never_turned_keeps_its_start(tiny, turned, degree):
    found = adapt_config_to_dataset(film(tiny, 5, 150, turned_deg=turned), preset("basis"))
    assert found.config.sh_degree == degree
    assert any("turned" in note for note in found.notes) == (degree == 0)
    assert any("short clip: 5.0 s, 150 pictures" in note for note in found.notes)


def test_few_pictures_of_a_long_film_are_little_too(tiny):
    assert (
        adapt_config_to_dataset(film(tiny, 60, 120), preset("basis")).config.dynamic < preset("basis").dynamic
    )


def test_the_less_a_head_turned_the_more_what_goes_with_it_is_held(tiny):
    films = [film(tiny, 60, 1500, turned_deg=turned) for turned in (4.0, 12.0, 30.0)]
    holds = [
        adapt_config_to_dataset(dataset, preset("basis")).config.constraints.skinning_anchor_rate
        for dataset in films
    ]
    assert holds[0] > holds[1] > holds[2] > 0
    assert (
        adapt_config_to_dataset(
            film(tiny, 60, 1500, "actor"), preset("basis")
        ).config.constraints.skinning_anchor_rate
        == 0
    )


def test_the_less_film_the_more_slowly_what_moves_is_learnt(tiny):
    rates = [
        adapt_config_to_dataset(film(tiny, s, 30 * s), preset("basis")).config.rates for s in (60, 40, 20, 10)
    ]
    assert rates[0] == preset("basis").rates
    assert rates[0].basis > rates[1].basis > rates[2].basis == rates[3].basis
