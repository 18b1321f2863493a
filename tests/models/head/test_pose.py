import numpy as np
import pytest

from splatface.models.head.controls import bone_poses, limit_pose
from splatface.models.head.head import PoseLimits
from splatface.models.messages import HeadControl
from splatface.models.rotations import quat_from_euler, quat_from_matrix

LIMITS = PoseLimits()


def control(yaw=0.0, pitch=0.0, roll=0.0, shift=(0.0, 0.0, 0.0)):
    return HeadControl(
        quat_world_head=quat_from_euler(np.array([yaw, pitch, roll])), translation_m=np.array(shift)
    )


def test_neutral_is_the_identity(head):
    bones = bone_poses(HeadControl(), head.info)
    np.testing.assert_allclose(bones.T_world_head, np.eye(4), atol=1e-15)
    np.testing.assert_allclose(bones.T_world_torso, np.eye(4), atol=1e-15)


def moved_nose(head, **pose):
    """How far the nose, straight before the pivot, goes: x right in the picture, y down, z away."""
    nose = np.array([*head.info.pivot_m, 1.0]) - [0, 0, 0.1, 0]
    return (bone_poses(control(**pose), head.info).T_world_head @ nose - nose)[:3]


def test_axes_are_those_of_rep_103(head):
    assert moved_nose(head, yaw=0.2)[0] > 0.015  # to the head's left: right in the picture
    assert moved_nose(head, pitch=0.2)[1] > 0.015  # a nod goes down
    np.testing.assert_allclose(moved_nose(head, roll=0.2), 0, atol=1e-12)
    np.testing.assert_allclose(moved_nose(head, shift=(0.02, 0.03, 0.04)), [0.03, -0.04, -0.02], atol=1e-12)


def test_roll_goes_to_the_right_shoulder(head):
    top = np.array([*head.info.pivot_m, 1.0]) - [0, 0.1, 0, 0]
    moved = bone_poses(control(roll=0.2), head.info).T_world_head @ top - top
    assert moved[0] < -0.015  # the head's right is the picture's left


def test_the_pivot_stays_and_distances_too(head):
    T = bone_poses(control(0.3, -0.2, 0.1), head.info).T_world_head
    pivot = np.array([*head.info.pivot_m, 1.0])
    np.testing.assert_allclose(T @ pivot, pivot, atol=1e-12)
    np.testing.assert_allclose(T[:3, :3] @ T[:3, :3].T, np.eye(3), atol=1e-12)


def test_the_torso_follows_by_its_share(head):
    bones = bone_poses(control(0.4, shift=(0, 0.02, 0)), head.info)
    turn = quat_from_matrix(bones.T_world_torso[:3, :3])
    assert 2 * np.arccos(turn[0]) == pytest.approx(0.1, abs=1e-9)
    pivot = np.array([*head.info.pivot_m, 1.0])
    assert (bones.T_world_torso @ pivot - pivot)[0] == pytest.approx(0.01)


def test_inside_the_limits_nothing_changes_and_beyond_the_head_stands():
    inside, _ = limit_pose(control(0.3, -0.2, 0.1), LIMITS)
    np.testing.assert_allclose(inside, [0.3, -0.2, 0.1], atol=1e-12)
    beyond, shift = limit_pose(control(1.2, -0.9, 0.1, (1.0, -1.0, 0.0)), LIMITS)
    np.testing.assert_allclose(beyond, [0.5, -0.35, 0.1], atol=1e-12)
    np.testing.assert_allclose(shift, [0.1, -0.1, 0])


@pytest.mark.parametrize("quat", [[0, 0, 0, 0], [np.nan, 0, 0, 1], [np.inf, 0, 0, 0]])
def test_a_broken_control_is_neutral(head, quat):
    bones = bone_poses(
        HeadControl(quat_world_head=np.array(quat), translation_m=np.full(3, np.nan)), head.info
    )
    np.testing.assert_allclose(bones.T_world_head, np.eye(4), atol=1e-12)
