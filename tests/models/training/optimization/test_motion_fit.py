import numpy as np
import pytest
import torch

from splatface.models.training.optimization.bake import fit_motion_map, motion_map_of, torch_map_of


def _motion(frames=400, seed=0):
    return np.random.default_rng(seed).uniform(0, 1, (frames, 16))


def test_a_line_with_a_rest_is_found_exactly():
    motion, rng = _motion(), np.random.default_rng(1)
    linear, rest = rng.normal(size=(16, 8)), rng.normal(size=8)
    fit = fit_motion_map(motion, motion @ linear + rest, np.ones(8), hidden=16, steps=50, seed=0)
    assert fit.unexplained < 1e-6
    said = np.stack([fit.motion_map(m[:8], m[8:]) for m in motion.astype(np.float32)])
    assert np.abs(said + fit.at_rest - (motion @ linear + rest)).max() < 5e-3


def test_at_rest_the_map_is_nothing():
    motion = _motion()
    fit = fit_motion_map(motion, np.sin(3 * motion[:, :4]), np.ones(4), hidden=16, steps=100, seed=0)
    assert fit.motion_map(np.zeros(8, np.float32), np.zeros(8, np.float32)) == pytest.approx(0, abs=1e-6)


def test_a_bend_says_what_a_line_cannot():
    motion = _motion()
    codes = np.stack([np.maximum(motion[:, 0] - 0.5, 0) * 4, motion[:, 1] * motion[:, 2] * 4], axis=1)
    straight = fit_motion_map(motion, codes, np.ones(2), hidden=0, steps=0, seed=0)
    bent = fit_motion_map(motion, codes, np.ones(2), hidden=32, steps=400, seed=0)
    assert bent.unexplained < 0.2 * straight.unexplained


def test_what_never_moved_drives_nothing():
    motion = _motion()
    motion[:, 9] = 0
    fit = fit_motion_map(motion, motion[:, :2] * 3, np.ones(2), hidden=0, steps=0, seed=0)
    assert np.abs(fit.motion_map.linear[9]).max() < 1e-9


def test_numpy_and_torch_say_the_same():
    motion = _motion()
    fit = fit_motion_map(motion, np.cos(4 * motion[:, :5]), np.ones(5), hidden=24, steps=50, seed=3)
    learned = torch_map_of(fit.motion_map)
    x = motion[7].astype(np.float32)
    assert learned(torch.from_numpy(x)).detach().numpy() == pytest.approx(
        fit.motion_map(x[:8], x[8:]), abs=1e-5
    )
    assert (motion_map_of(learned).w1 == fit.motion_map.w1).all()
