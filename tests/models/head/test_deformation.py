from dataclasses import fields, replace

import numpy as np
import pytest

from splatface.models.head.controls import Bones, bone_poses
from splatface.models.head.deformation import Deformer, deform_reference
from splatface.models.head.head import Splats
from splatface.models.messages import HeadControl
from splatface.models.rotations import quat_from_euler

REST = Bones(np.eye(4), np.eye(4))


def turned(head, yaw=0.3, pitch=0.1, roll=-0.2, shift=(0.01, 0.02, -0.03)):
    quat = quat_from_euler(np.array([yaw, pitch, roll]))
    return bone_poses(HeadControl(quat_world_head=quat, translation_m=np.array(shift)), head.info)


def unit(quats):
    return quats / np.linalg.norm(quats, axis=-1, keepdims=True)


def coefficients(head, seed=5):
    return np.random.default_rng(seed).normal(size=head.basis.shape[2]).astype(np.float32)


def assert_same(found: Splats, wanted: Splats):
    np.testing.assert_allclose(found.means, wanted.means, atol=2e-6)
    np.testing.assert_allclose(np.abs((unit(found.quats) * unit(wanted.quats)).sum(1)), 1, atol=2e-6)
    np.testing.assert_allclose(found.scales, wanted.scales, rtol=1e-5)
    np.testing.assert_allclose(found.opacities, wanted.opacities, atol=2e-6)
    np.testing.assert_allclose(found.sh, wanted.sh, atol=2e-6)


@pytest.mark.parametrize(
    ("count", "moving", "sh"), [(150, 70, 4), (64, 64, 1), (65, 0, 9), (500, 129, 16), (1, 1, 1)]
)
def test_fast_and_plain_agree(make_head, count, moving, sh):
    head = make_head(count, moving, sh)
    c = coefficients(head)
    bones = turned(head)
    assert_same(Deformer(head)(c, bones), deform_reference(head, c, bones))


def test_no_coefficient_and_no_turn_is_the_canonical_head(head):
    splats = Deformer(head)(np.zeros(11, np.float32), REST)
    g = head.gaussians
    np.testing.assert_allclose(splats.means, g.means, atol=1e-7)
    np.testing.assert_allclose(splats.quats, g.quats, atol=1e-7)
    np.testing.assert_allclose(splats.scales, np.exp(g.log_scales), rtol=1e-6)
    np.testing.assert_array_equal(splats.sh, g.sh)


def test_a_picture_does_not_depend_on_the_one_before(head):
    deform, bones, c = Deformer(head), turned(head), coefficients(head)
    first = {f.name: getattr(deform(c, bones), f.name).copy() for f in fields(Splats)}
    deform(coefficients(head, 9), REST)
    again = deform(c, bones)
    for name, values in first.items():
        np.testing.assert_array_equal(getattr(again, name), values)


def test_only_dynamic_gaussians_speak(head):
    deform = Deformer(head)
    rest = deform(np.zeros(11, np.float32), REST).means.copy()
    moved = np.abs(deform(coefficients(head), REST).means - rest).max(axis=1) > 0
    np.testing.assert_array_equal(np.flatnonzero(moved), head.dynamic)


def test_skin_one_goes_with_the_head_and_skin_zero_with_the_torso(head):
    bones, ends = turned(head), np.zeros(150, np.float32)
    ends[:75] = 1
    head = replace(head, skinning_weight=ends)
    splats = Deformer(head)(np.zeros(11, np.float32), bones)
    for rows, T in ((slice(0, 75), bones.T_world_head), (slice(75, None), bones.T_world_torso)):
        expected = head.gaussians.means[rows] @ T[:3, :3].T + T[:3, 3]
        np.testing.assert_allclose(splats.means[rows], expected, atol=1e-6)


def test_the_neck_is_continuous(head):
    """Neighbors along the neck stay neighbors: skin weights blend, nothing gaps."""
    line = np.linspace(0, 1, 150, dtype=np.float32)
    column = np.stack([0 * line, 0.2 - 0.2 * line, 1 + 0 * line], axis=1)
    head = replace(head, skinning_weight=line, gaussians=replace(head.gaussians, means=column))
    means = Deformer(head)(np.zeros(11, np.float32), turned(head)).means
    step = np.linalg.norm(np.diff(means, axis=0), axis=1)
    assert step.max() < 3 * step.min()


def test_a_coefficient_gone_wild_stays_finite(head):
    splats = Deformer(head)(np.full(11, 1e4, np.float32), REST)
    for field in fields(Splats):
        assert np.isfinite(getattr(splats, field.name)).all()
    np.testing.assert_allclose(
        splats.scales, deform_reference(head, np.full(11, 1e4), REST).scales, rtol=1e-4
    )


def test_shading_turns_with_the_head(make_head):
    """Camera and head turned alike show the same colors: only how they stand to each other counts."""
    head = make_head(60, 20, 4)
    bones = turned(head)
    rotation = bones.T_world_head[:3, :3]
    stiff = replace(head, skinning_weight=np.ones(60, np.float32))
    turned_sh = Deformer(stiff)(np.zeros(head.basis.shape[2], np.float32), bones).sh
    direction = np.array([0.3, -0.5, 0.8])

    def slope_color(sh, d):
        return -d[1] * sh[:, 1] + d[2] * sh[:, 2] - d[0] * sh[:, 3]

    np.testing.assert_allclose(
        slope_color(turned_sh, rotation @ direction), slope_color(head.gaussians.sh, direction), atol=1e-6
    )
