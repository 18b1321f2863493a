"""Pose refinement: gradients, Gauss-Newton step, rounds."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from disturbed import disturbed, off
from training_scene import REFINED_RUN, SHORT_RUN, camera, run_training, some_rows, still

from splatface.models.render.reference import draw_reference
from splatface.models.training.dataset.body_poses import with_poses
from splatface.models.training.dataset.types import TEST, TRAIN, VAL
from splatface.models.training.optimization.dataset_statistics import (
    subsample_interior,
    subsample_with_stride,
)
from splatface.models.training.optimization.gaussian_skinning import pack_bone_poses, skin_gaussians_torch
from splatface.models.training.optimization.image_loss import ImageTarget, weighted_image_loss
from splatface.models.training.optimization.pose_refinement import (
    INTRINSICS_DOF,
    POSE_DOF,
    PosePriors,
    PoseProblem,
    apply_twist,
    gauss_newton_step,
    loss_and_pose_grad,
    nearest_psd,
    twist_between,
)
from splatface.models.training.optimization.refinement import jitter_px
from splatface.models.training.optimization.render_loss import RenderLoss
from splatface.models.training.optimization.train_config import (
    LossConfig,
    StageConfig,
)
from splatface.models.training.optimization.trainer import CHECKPOINT
from splatface.models.training.report.training_report import refined_section

pytestmark = pytest.mark.slow


def test_no_more_are_looked_at_than_asked_and_all_of_the_film_is():
    known = np.arange(100, 1100, 2)
    assert subsample_with_stride(known, 500).tolist() == known.tolist()
    for most in (499, 250, 60, 7):
        rows = subsample_with_stride(known, most)
        assert len(rows) <= most
        gaps = np.diff(np.append(rows, known[-1] + 2))
        assert gaps.max() <= 2 * 2 * np.ceil(len(known) / most)


def test_probes_stand_within_the_film():
    rows = np.arange(50, 150)
    few = subsample_interior(rows, 4)
    assert len(few) == 4
    assert few.min() > 60
    assert few.max() < 140
    assert subsample_interior(rows[:2], 4).tolist() == [50]


def test_a_saddle_becomes_a_bowl():
    generator = np.random.default_rng(0)
    basis = np.linalg.qr(generator.standard_normal((5, 5)))[0]
    bowl = (basis * [5.0, 4.0, 3.0, 2.0, 1.0]) @ basis.T
    np.testing.assert_allclose(nearest_psd(bowl), bowl, atol=1e-12)
    saddle = (basis * [5.0, 4.0, 3.0, 2.0, -1.0]) @ basis.T
    lop = generator.standard_normal((5, 5))
    skewed = saddle + lop - lop.T
    found = nearest_psd(skewed)
    np.testing.assert_allclose(found, found.T, atol=1e-12)
    np.testing.assert_allclose(found @ basis[:, :4], saddle @ basis[:, :4], atol=1e-9)
    assert np.linalg.eigvalsh(found).min() > 0
    assert np.linalg.eigvalsh(nearest_psd(-np.eye(3))).min() > 0


LOSS = LossConfig(mask=0.0)
SIZE = 48


def some_poses(generator, count=1):
    return apply_twist(np.tile(np.eye(4), (2, count, 1, 1)), generator.normal(size=(count, POSE_DOF)) * 0.05)


def a_target(generator):
    picture = generator.integers(0, 255, (6, 6, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    weights = generator.integers(20, 40, (SIZE, SIZE)).astype(np.uint8)
    nowhere = np.zeros((SIZE, SIZE), np.uint8)
    return ImageTarget(np.ascontiguousarray(picture), weights, nowhere, nowhere.astype(np.int8), (0, 0, 0, 0))


def test_gradients_of_poses_and_lens_are_those_of_float64_differences():
    generator = np.random.default_rng(3)
    table, target, T = some_rows(40), a_target(generator), some_poses(generator)
    background, view = np.full(3, 0.4, np.float32), camera(SIZE)

    def loss(twist, intrinsics):
        zoom, own = np.exp(intrinsics[0]), view.T_camera_world.copy()
        own[2, 3] *= zoom
        center = {"cx": view.cx + intrinsics[1], "cy": view.cy + intrinsics[2]}
        seen = replace(view, fx=view.fx * zoom, fy=view.fy * zoom, T_camera_world=own, **center)
        bones = apply_twist(T, twist[None])
        pose = torch.from_numpy(pack_bone_poses(bones[1, 0], bones[0, 0]))
        splats = skin_gaussians_torch(
            torch.from_numpy(table).double(), torch.zeros(40, 14, dtype=torch.float64), pose
        )
        image, _, _ = draw_reference(splats, seen, torch.from_numpy(background).double())
        return weighted_image_loss(image, target, LOSS).item()

    true = []
    for k in range(POSE_DOF + INTRINSICS_DOF):
        nudge = np.zeros(POSE_DOF + INTRINSICS_DOF)
        nudge[k] = 1e-6
        ends = [loss(sign * nudge[:POSE_DOF], sign * nudge[POSE_DOF:]) for sign in (1, -1)]
        true.append((ends[0] - ends[1]) / 2e-6)
    found = loss_and_pose_grad(
        RenderLoss(view, background, LOSS, 1), still(table), pack_bone_poses(T[1, 0], T[0, 0]), target
    )
    assert found.loss == pytest.approx(loss(np.zeros(POSE_DOF), np.zeros(INTRINSICS_DOF)), rel=1e-3)
    off = np.abs(found.grads - true)
    assert (off[:POSE_DOF] < 5e-3 * np.abs(true[:POSE_DOF]).max()).all()
    assert off[POSE_DOF] < 0.02 * abs(true[POSE_DOF]) + 1e-3
    assert (off[POSE_DOF + 1 :] < 5e-3 * np.abs(true[POSE_DOF + 1 :]).max()).all()


def test_twists_come_back():
    generator = np.random.default_rng(5)
    before, twists = some_poses(generator, 7), generator.normal(size=(7, POSE_DOF)) * 0.1
    assert np.allclose(twist_between(before, apply_twist(before, twists)), twists, atol=1e-12)


def asked(truth, curvature, time_s, **changes):
    """Pictures whose loss is a parabola about `truth` [n, FREEDOMS]."""
    grads = np.zeros((len(truth), POSE_DOF + INTRINSICS_DOF))
    grads[:, :POSE_DOF] = -truth @ curvature[:POSE_DOF, :POSE_DOF]
    whole = PoseProblem(
        time_s=time_s,
        T=np.tile(np.eye(4), (2, len(truth), 1, 1)),
        deviation=np.zeros((len(truth), POSE_DOF)),
        intrinsics=np.zeros(INTRINSICS_DOF),
        free=np.ones(len(truth), np.bool_),
        losses=np.full(len(truth), 0.02),
        grads=grads,
        residuals=2000.0,
    )
    return replace(whole, **changes)


LOOSE = PosePriors(np.full(POSE_DOF, 10.0), np.full(POSE_DOF, 1e4), np.zeros(INTRINSICS_DOF))


def test_without_doubt_about_the_pictures_they_are_followed():
    generator = np.random.default_rng(1)
    half = generator.normal(size=(POSE_DOF + INTRINSICS_DOF, POSE_DOF + INTRINSICS_DOF))
    curvature, truth = (
        half @ half.T + np.eye(POSE_DOF + INTRINSICS_DOF),
        generator.normal(size=(9, POSE_DOF)) * 0.01,
    )
    twists, intrinsics = gauss_newton_step(asked(truth, curvature, np.arange(9) / 25), curvature, LOOSE)
    # The damping makes a step short: a few of them arrive.
    left = truth - twists
    assert np.linalg.norm(left) < 0.5 * np.linalg.norm(truth)
    for _ in range(20):
        left = left - gauss_newton_step(asked(left, curvature, np.arange(9) / 25), curvature, LOOSE)[0]
    assert np.linalg.norm(left) < 0.1 * np.linalg.norm(truth)
    assert (intrinsics == 0).all()


def test_inertia_takes_jitter_out_and_anchors_hold():
    generator = np.random.default_rng(2)
    time_s, curvature = np.arange(60) / 30, np.eye(POSE_DOF + INTRINSICS_DOF)
    slow = 0.01 * np.sin(2 * np.pi * time_s)[:, None] * np.ones(POSE_DOF)
    noise = generator.normal(size=(60, POSE_DOF)) * 0.003
    stiff = replace(LOOSE, inertia=np.full(POSE_DOF, 1.0))
    question = asked(slow + noise, curvature, time_s)
    calm, loose = (gauss_newton_step(question, curvature, p)[0] for p in (stiff, LOOSE))
    assert np.abs(np.diff(calm, 2, axis=0)).mean() < 0.1 * np.abs(np.diff(loose, 2, axis=0)).mean()
    assert np.corrcoef(calm[:, 0], slow[:, 0])[0, 1] > 0.98
    held = gauss_newton_step(question, curvature, replace(LOOSE, anchor=np.full(POSE_DOF, 1e-4)))[0]
    assert np.abs(held).max() < 1e-3


def test_what_is_not_free_stays_and_the_lens_is_found_with_the_poses():
    curvature = np.eye(POSE_DOF + INTRINSICS_DOF)
    question = asked(np.full((5, POSE_DOF), 0.01), curvature, np.arange(5) / 25)
    question.grads[:, POSE_DOF] = -0.03
    free = np.array([True, False, True, True, False])
    priors = replace(LOOSE, intrinsics=np.array([0.05, 0.0, 0.0]))
    twists, intrinsics = gauss_newton_step(replace(question, free=free), curvature, priors)
    assert (twists[~free] == 0).all()
    assert (twists[free] > 0.005).all()
    assert 0.02 < intrinsics[0] < 0.03
    assert (intrinsics[1:] == 0).all()


def test_jitter_is_what_neighbors_do_not_share():
    generator = np.random.default_rng(4)
    time_s = np.arange(2000) / 25
    still_head, way = np.zeros((2000, 3, 2)), np.linspace(0, 90, 2000)[:, None, None]
    assert jitter_px(time_s, still_head + way) == pytest.approx(0, abs=1e-9)
    noise = generator.normal(size=(2000, 3, 2)) * 0.2
    assert jitter_px(time_s, still_head + noise) == pytest.approx(0.2 * np.sqrt(2), rel=0.05)
    assert jitter_px(time_s * 10, noise) == 0


@pytest.fixture(scope="module")
def noisy(tiny):
    return disturbed(tiny)


@pytest.fixture(scope="module")
def run(noisy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("refined")
    return run_training(noisy, REFINED_RUN, folder), folder


@pytest.mark.parametrize("part", [TRAIN, VAL, TEST])
def test_poses_come_back_also_of_held_out_pictures(tiny, noisy, run, part):
    rows = np.flatnonzero(tiny.frames.split == part)
    truth = tiny.frames.T_world_head
    turned, shifted = off(truth, noisy.frames.T_world_head, rows)
    left_deg, left_mm = off(truth, run[0].dataset.frames.T_world_head, rows)
    assert np.linalg.norm(left_deg) < 0.6 * np.linalg.norm(turned)
    assert np.linalg.norm(left_mm) < 0.8 * np.linalg.norm(shifted)


def test_rounds_are_reported(noisy, run):
    saved = json.loads((run[1] / "poses.json").read_text())
    rounds = saved["rounds"]
    assert [line["step"] for line in rounds] == [80, 96, 160]
    assert rounds[0]["psnr_after_db"] > rounds[0]["psnr_before_db"] + 0.5
    assert rounds[-1]["jitter_after_px"] < 0.5 * rounds[-1]["jitter_before_px"]
    assert len(saved["curves"]["time_s"]) == len(noisy.frames)
    page = refined_section(saved)
    assert page.count("data:image/svg+xml") == 2
    assert "PSNR before" in page
    assert "nan" not in re.sub(r"base64,[^\"]+", "", page)
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
            run_training(noisy, REFINED_RUN, tmp_path, stop)
        assert (tmp_path / CHECKPOINT).is_file()
    again = run_training(noisy, REFINED_RUN, tmp_path)
    for name in ("T_world_head", "T_world_torso"):
        assert np.array_equal(getattr(again.dataset.frames, name), getattr(run[0].dataset.frames, name))
    assert np.array_equal(again.gaussians.means, run[0].gaussians.means)


def test_pictures_between_go_along(noisy, tmp_path):
    short = StageConfig(canonical_steps=40, deformation_steps=10)
    few = replace(REFINED_RUN, stages=short, refine=replace(REFINED_RUN.refine, max_frames=12, rounds=1))
    found = run_training(noisy, few, tmp_path)
    changed = np.abs(found.dataset.frames.T_world_head - noisy.frames.T_world_head).max(axis=(1, 2)) > 1e-6
    assert changed.all()


def test_a_run_that_ends_early_still_places_held_out_pictures(noisy, tmp_path):
    short = replace(REFINED_RUN, stages=replace(REFINED_RUN.stages, minutes=0.004))
    found = run_training(noisy, short, tmp_path)
    rounds = json.loads((tmp_path / "poses.json").read_text())["rounds"]
    assert rounds[-1]["held_only"] == 1
    assert [line["held_only"] for line in rounds[:-1]] == [0] * (len(rounds) - 1)
    held = noisy.frames.split != TRAIN
    assert not np.array_equal(found.dataset.frames.T_world_head[held], noisy.frames.T_world_head[held])


def test_without_rounds_poses_stay(noisy, tmp_path):
    still = replace(SHORT_RUN, stages=StageConfig(canonical_steps=10, deformation_steps=10))
    trained = run_training(noisy, still, tmp_path)
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
