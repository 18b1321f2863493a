""""""

from dataclasses import replace

import numpy as np
import pytest

from splatface.models.audio2motion.audio_to_mouth import CONTROLS, MOUTH_MODES
from splatface.models.head.controls import (
    EXPRESSIONS,
    basis_coefficients,
    bone_poses,
    control_values,
    limit_pose,
    soft_limit_motion,
)
from splatface.models.head.head import MotionLimits, PoseLimits
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


def test_a_control_is_read_by_name():
    control = HeadControl(
        blink_left=0.25,
        blink_right=0.5,
        gaze_yaw_rad=0.1,
        gaze_pitch_rad=-0.2,
        expression=(("brow_up", 0.75),),
    )
    expected = dict.fromkeys(CONTROLS, 0.0)
    expected |= {"blink_left": 0.25, "blink_right": 0.5, "gaze_yaw": 0.1, "gaze_pitch": -0.2, "brow_up": 0.75}
    np.testing.assert_allclose(control_values(control), list(expected.values()), rtol=1e-6)


def test_controls_stay_in_their_ranges():
    wild = HeadControl(
        blink_left=7,
        blink_right=-3,
        gaze_yaw_rad=9,
        gaze_pitch_rad=float("nan"),
        expression=(("smile", 2), ("smile", 3), ("jaw_side", -4)),
    )
    np.testing.assert_allclose(control_values(wild), [1, 0, 0.6, 0, 0, 0, 1, -1], rtol=1e-6)


def test_what_is_heard_and_what_is_meant_add_up(head):
    heard = np.linspace(0.0, 0.5, 8, dtype=np.float32)
    control = HeadControl(blink_left=1.0, expression=(("funnel", 0.5), ("nonsense", 1.0)))
    c = basis_coefficients(head, heard, control)
    mouth = heard.copy()
    mouth[MOUTH_MODES.index("funnel")] += 0.5
    np.testing.assert_array_equal(c, head.motion_map(mouth, np.eye(len(CONTROLS), dtype=np.float32)[0]))


def test_neutral_is_rest(head):
    assert not basis_coefficients(head, np.zeros(8, np.float32), HeadControl()).any()
    assert {"smile", "brow_up", "open"} <= set(EXPRESSIONS)


SHOWN = MotionLimits(mouth=((-0.1, 0.5),) * 8, controls=((0.0, 0.3),) * 8)
STILL = np.zeros(8, np.float32)


def test_a_mouth_within_its_limits_is_left_as_it_is():
    mouth = np.linspace(-0.1, 0.5, 8, dtype=np.float32)
    np.testing.assert_array_equal(soft_limit_motion(mouth, STILL, SHOWN)[0], mouth)


def test_beyond_its_limits_a_mouth_goes_on_ever_slower_without_a_jolt():
    wanted = np.linspace(-1.0, 2.0, 3001, dtype=np.float32)
    shown = np.array([soft_limit_motion(np.full(8, x, np.float32), STILL, SHOWN)[0][0] for x in wanted])
    slopes = np.diff(shown) / np.diff(wanted)
    assert slopes.min() > -1e-3
    assert slopes.max() < 1.01
    assert np.abs(np.diff(slopes)).max() < 0.03
    assert -0.16 - 1e-6 <= shown.min() < -0.15
    assert 0.55 < shown.max() <= 0.56 + 1e-6


def test_what_was_never_shown_is_never_shown():
    nothing = MotionLimits(mouth=((0.0, 0.0),) * 8)
    shown, _ = soft_limit_motion(np.linspace(-3, 3, 8).astype(np.float32), STILL, nothing)
    np.testing.assert_allclose(shown, 0, atol=1e-5)


def test_a_head_goes_no_farther_than_it_was_shown(head):
    far, farther = (basis_coefficients(head, np.full(8, x, np.float32), HeadControl()) for x in (5.0, 50.0))
    np.testing.assert_allclose(far, farther, atol=1e-5)
    meant = HeadControl(expression=(("upper_lip", 1.0),))
    small = replace(head, info=replace(head.info, motion_limits=SHOWN))
    wanted = np.zeros(8, np.float32)
    wanted[MOUTH_MODES.index("upper_lip")] = 1.0
    c = basis_coefficients(small, np.zeros(0, np.float32), meant)
    np.testing.assert_array_equal(c, head.motion_map(*soft_limit_motion(wanted, STILL, SHOWN)))


def test_brows_go_no_farther_than_they_were_shown(head):
    small = replace(head, info=replace(head.info, motion_limits=SHOWN))
    half, full = (
        basis_coefficients(small, np.zeros(0, np.float32), HeadControl(expression=(("brow_up", x),)))
        for x in (0.3, 1.0)
    )
    assert 0 < np.abs(full - half).max() <= 0.15 * np.abs(half).max()
