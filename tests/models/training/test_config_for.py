"""What a data set changes about the settings."""

from dataclasses import replace

import numpy as np
import pytest

from splatface.models.dataset.types import TRAIN
from splatface.models.training.config import config_of_yaml, config_to_yaml, preset
from splatface.models.training.config_for import config_for


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
    found = config_for(film(tiny, 60, 1500, "actor"), preset("basis"))
    assert found.config == preset("basis")
    assert found.notes == ()


def test_tracked_poses_are_refined(tiny):
    found = config_for(film(tiny, 60, 1500), preset("basis"))
    assert found.config.refine.rounds > 0
    assert "refined" in found.notes[0]


def test_the_less_film_the_firmer(tiny):
    configs = [config_for(film(tiny, s, 30 * s), preset("basis")).config for s in (16, 10, 7, 5)]
    moving = [config.dynamic for config in configs]
    assert moving == sorted(set(moving), reverse=True)
    for path in ("steady.jitter", "steady.forget", "shape.depth_hold"):
        part, name = path.split(".")
        values = [getattr(getattr(c, part), name) for c in configs]
        assert values == sorted(set(values)), path
    assert configs[-1].dynamic == preset("basis").dynamic * 3 // 4
    assert config_of_yaml(config_to_yaml(configs[-1])) == configs[-1]


@pytest.mark.parametrize(("turned", "degree"), [(2.0, 0), (20.0, 1)])
def test_a_head_that_never_turned_keeps_its_start(tiny, turned, degree):
    found = config_for(film(tiny, 5, 150, turned_deg=turned), preset("basis"))
    assert found.config.sh_degree == degree
    assert any("turned" in note for note in found.notes) == (degree == 0)
    assert any("short clip: 5.0 s, 150 pictures" in note for note in found.notes)


def test_few_pictures_of_a_long_film_are_little_too(tiny):
    assert config_for(film(tiny, 60, 120), preset("basis")).config.dynamic < preset("basis").dynamic
