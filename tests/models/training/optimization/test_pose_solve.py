"""From slopes to poses: the gradient against float64 differences, the step against a known answer."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from training_scene import camera, some_rows, still

from splatface.models.render.reference import draw_reference
from splatface.models.training.optimization.gaussian_skinning import pose_rows, skin_gaussians_torch
from splatface.models.training.optimization.image_loss import Target, picture_loss
from splatface.models.training.optimization.pose_refinement import (
    INTRINSICS_DOF,
    POSE_DOF,
    PoseProblem,
    Priors,
    apply_twist,
    gauss_newton_step,
    jitter_px,
    loss_and_pose_grad,
    twist_between,
)
from splatface.models.training.optimization.render_loss import RenderLoss
from splatface.models.training.optimization.train_config import LossConfig

LOSS = LossConfig(mask=0.0)
SIZE = 48


def some_poses(generator, count=1):
    return apply_twist(np.tile(np.eye(4), (2, count, 1, 1)), generator.normal(size=(count, POSE_DOF)) * 0.05)


def a_target(generator):
    picture = generator.integers(0, 255, (6, 6, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    weights = generator.integers(20, 40, (SIZE, SIZE)).astype(np.uint8)
    nowhere = np.zeros((SIZE, SIZE), np.uint8)
    return Target(np.ascontiguousarray(picture), weights, nowhere, nowhere.astype(np.int8), (0, 0, 0, 0))


def test_slopes_of_poses_and_lens_are_those_of_float64_differences():
    generator = np.random.default_rng(3)
    table, target, T = some_rows(40), a_target(generator), some_poses(generator)
    background, view = np.full(3, 0.4, np.float32), camera(SIZE)

    def loss(twist, lens):
        zoom, own = np.exp(lens[0]), view.T_camera_world.copy()
        own[2, 3] *= zoom
        seen = replace(view, fx=view.fx * zoom, fy=view.fy * zoom, cx=view.cx + lens[1], cy=view.cy + lens[2],
                       T_camera_world=own)  # fmt: skip
        bones = apply_twist(T, twist[None])
        pose = torch.from_numpy(pose_rows(bones[1, 0], bones[0, 0]))
        splats = skin_gaussians_torch(
            torch.from_numpy(table).double(), torch.zeros(40, 14, dtype=torch.float64), pose
        )
        image, _, _ = draw_reference(splats, seen, torch.from_numpy(background).double())
        return picture_loss(image, target, LOSS).item()

    true = []
    for k in range(POSE_DOF + INTRINSICS_DOF):
        nudge = np.zeros(POSE_DOF + INTRINSICS_DOF)
        nudge[k] = 1e-6
        ends = [loss(sign * nudge[:POSE_DOF], sign * nudge[POSE_DOF:]) for sign in (1, -1)]
        true.append((ends[0] - ends[1]) / 2e-6)
    found = loss_and_pose_grad(
        RenderLoss(view, background, LOSS, 1), still(table), pose_rows(T[1, 0], T[0, 0]), target
    )
    assert found.loss == pytest.approx(loss(np.zeros(POSE_DOF), np.zeros(INTRINSICS_DOF)), rel=1e-3)
    off = np.abs(found.slopes - true)
    assert (off[:POSE_DOF] < 5e-3 * np.abs(true[:POSE_DOF]).max()).all()
    assert off[POSE_DOF] < 0.02 * abs(true[POSE_DOF]) + 1e-3
    assert (off[POSE_DOF + 1 :] < 5e-3 * np.abs(true[POSE_DOF + 1 :]).max()).all()


def test_twists_come_back():
    generator = np.random.default_rng(5)
    before, twists = some_poses(generator, 7), generator.normal(size=(7, POSE_DOF)) * 0.1
    assert np.allclose(twist_between(before, apply_twist(before, twists)), twists, atol=1e-12)


def asked(truth, curvature, time_s, **changes):
    """Pictures whose loss is a parabola about `truth` [n, FREEDOMS]."""
    slopes = np.zeros((len(truth), POSE_DOF + INTRINSICS_DOF))
    slopes[:, :POSE_DOF] = -truth @ curvature[:POSE_DOF, :POSE_DOF]
    whole = PoseProblem(
        time_s=time_s,
        T=np.tile(np.eye(4), (2, len(truth), 1, 1)),
        deviation=np.zeros((len(truth), POSE_DOF)),
        lens=np.zeros(INTRINSICS_DOF),
        free=np.ones(len(truth), np.bool_),
        losses=np.full(len(truth), 0.02),
        slopes=slopes,
        residuals=2000.0,
    )
    return replace(whole, **changes)


LOOSE = Priors(np.full(POSE_DOF, 10.0), np.full(POSE_DOF, 1e4), np.zeros(INTRINSICS_DOF))


def test_without_doubt_about_the_pictures_they_are_followed():
    generator = np.random.default_rng(1)
    half = generator.normal(size=(POSE_DOF + INTRINSICS_DOF, POSE_DOF + INTRINSICS_DOF))
    curvature, truth = (
        half @ half.T + np.eye(POSE_DOF + INTRINSICS_DOF),
        generator.normal(size=(9, POSE_DOF)) * 0.01,
    )
    twists, lens = gauss_newton_step(asked(truth, curvature, np.arange(9) / 25), curvature, LOOSE)
    # The damping makes a step short: a few of them arrive.
    left = truth - twists
    assert np.linalg.norm(left) < 0.5 * np.linalg.norm(truth)
    for _ in range(20):
        left = left - gauss_newton_step(asked(left, curvature, np.arange(9) / 25), curvature, LOOSE)[0]
    assert np.linalg.norm(left) < 0.1 * np.linalg.norm(truth)
    assert (lens == 0).all()


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
    question.slopes[:, POSE_DOF] = -0.03
    free = np.array([True, False, True, True, False])
    priors = replace(LOOSE, lens=np.array([0.05, 0.0, 0.0]))
    twists, lens = gauss_newton_step(replace(question, free=free), curvature, priors)
    assert (twists[~free] == 0).all()
    assert (twists[free] > 0.005).all()
    assert 0.02 < lens[0] < 0.03
    assert (lens[1:] == 0).all()


def test_jitter_is_what_neighbors_do_not_share():
    generator = np.random.default_rng(4)
    time_s = np.arange(2000) / 25
    still_head, way = np.zeros((2000, 3, 2)), np.linspace(0, 90, 2000)[:, None, None]
    assert jitter_px(time_s, still_head + way) == pytest.approx(0, abs=1e-9)
    noise = generator.normal(size=(2000, 3, 2)) * 0.2
    assert jitter_px(time_s, still_head + noise) == pytest.approx(0.2 * np.sqrt(2), rel=0.05)
    assert jitter_px(time_s * 10, noise) == 0
