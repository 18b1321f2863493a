"""Disturbed poses come back during a run, and stopping it changes nothing."""

import json
from dataclasses import replace

import numpy as np
import pytest
from disturbed import disturbed, off
from test_run import SHORT, a_run

from splatface.models.training.dataset.body_poses import with_poses
from splatface.models.training.dataset.types import TEST, TRAIN, VAL
from splatface.models.training.optimization.train_config import DensifyConfig, RefineConfig, StageConfig
from splatface.models.training.optimization.trainer import STATE
from splatface.models.training.report.training_report import refined_section

REFINED = replace(
    SHORT,
    stages=StageConfig(canonical_steps=80, deformation_steps=80),
    densify=DensifyConfig(interval=20, max_gaussians=3000),
    refine=RefineConfig(rounds=2, iterations=3, focal=0.0),
    report_every=20,
    validate_every=1000,
)


@pytest.fixture(scope="module")
def noisy(tiny):
    return disturbed(tiny)


@pytest.fixture(scope="module")
def run(noisy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("refined")
    return a_run(noisy, REFINED, folder), folder


@pytest.mark.parametrize("part", [TRAIN, VAL, TEST])
def test_poses_come_back_also_of_held_out_pictures(tiny, noisy, run, part):
    rows = np.flatnonzero(tiny.frames.split == part)
    truth = tiny.frames.T_world_head
    turned, shifted = off(truth, noisy.frames.T_world_head, rows)
    left_deg, left_mm = off(truth, run[0].dataset.frames.T_world_head, rows)
    assert np.linalg.norm(left_deg) < 0.6 * np.linalg.norm(turned)
    assert np.linalg.norm(left_mm) < 0.8 * np.linalg.norm(shifted)


def test_rounds_are_told(noisy, run):
    told = json.loads((run[1] / "poses.json").read_text())
    rounds = told["rounds"]
    assert [line["step"] for line in rounds] == [80, 96, 160]
    assert rounds[0]["psnr_after_db"] > rounds[0]["psnr_before_db"] + 0.5
    assert rounds[-1]["jitter_after_px"] < 0.5 * rounds[-1]["jitter_before_px"]
    assert len(told["curves"]["time_s"]) == len(noisy.frames)
    page = refined_section(told)
    assert page.count("<svg") == 2
    assert "PSNR before" in page
    assert "nan" not in page
    assert ">–<" in page  # the first round, before anything moves, fits no motion
    assert ">80<" in page
    assert refined_section(None) == refined_section({"rounds": 3}) == ""


def test_all_pictures_together_do_not_wander(tiny, noisy, run):
    rows = np.flatnonzero(tiny.frames.split == TRAIN)
    change = run[0].dataset.frames.T_world_head[rows] @ np.linalg.inv(noisy.frames.T_world_head[rows])
    assert np.abs(change[:, :3, 3].mean(axis=0)).max() < 1e-4
    assert run[0].dataset.camera.fx == noisy.camera.fx


def test_stopped_anywhere_it_ends_the_same(noisy, run, tmp_path):
    class StoppedError(Exception):
        pass

    for at in (80, 120):

        def stop(progress, at=at):
            if progress.step == at:
                raise StoppedError

        with pytest.raises(StoppedError):
            a_run(noisy, REFINED, tmp_path, stop)
        assert (tmp_path / STATE).is_file()
    again = a_run(noisy, REFINED, tmp_path)
    for name in ("T_world_head", "T_world_torso"):
        assert np.array_equal(getattr(again.dataset.frames, name), getattr(run[0].dataset.frames, name))
    assert np.array_equal(again.gaussians.means, run[0].gaussians.means)


def test_pictures_between_go_along(noisy, tmp_path):
    short = StageConfig(canonical_steps=40, deformation_steps=10)
    few = replace(REFINED, stages=short, refine=replace(REFINED.refine, most=12, rounds=1))
    found = a_run(noisy, few, tmp_path)
    changed = np.abs(found.dataset.frames.T_world_head - noisy.frames.T_world_head).max(axis=(1, 2)) > 1e-6
    assert changed.all()


def test_a_run_that_ends_early_still_places_held_out_pictures(noisy, tmp_path):
    short = replace(REFINED, stages=replace(REFINED.stages, minutes=0.004))
    found = a_run(noisy, short, tmp_path)
    rounds = json.loads((tmp_path / "poses.json").read_text())["rounds"]
    assert rounds[-1]["held_only"] == 1
    assert [line["held_only"] for line in rounds[:-1]] == [0] * (len(rounds) - 1)
    held = noisy.frames.split != TRAIN
    assert not np.array_equal(found.dataset.frames.T_world_head[held], noisy.frames.T_world_head[held])


def test_without_rounds_poses_stay(noisy, tmp_path):
    still = replace(SHORT, stages=StageConfig(canonical_steps=10, deformation_steps=10))
    trained = a_run(noisy, still, tmp_path)
    assert np.array_equal(trained.dataset.frames.T_world_head, noisy.frames.T_world_head)
    assert not (tmp_path / "poses.json").exists()


def test_the_motion_between_pictures_goes_along(tiny):
    frames, track = tiny.frames, tiny.motion
    shift = np.tile(np.eye(4), (len(frames), 1, 1))
    shift[:, 0, 3] = frames.time_ns / 1e9 * 0.01
    moved = with_poses(tiny, shift @ frames.T_world_head, frames.T_world_torso, tiny.camera)
    inside = (track.time_ns >= frames.time_ns[0]) & (track.time_ns <= frames.time_ns[-1])
    way = moved.motion.T_world_head[inside, 0, 3] - track.T_world_head[inside, 0, 3]
    assert np.allclose(way, track.time_ns[inside] / 1e9 * 0.01, atol=1e-9)
    assert np.allclose(moved.motion.T_world_torso, track.T_world_torso)
    both = np.isin(track.time_ns, frames.time_ns)
    assert np.allclose(moved.motion.T_world_head[both], moved.frames.T_world_head, atol=1e-9)
