import numpy as np
import pytest

from splatface.models.rotations import (
    CANONICAL_REP103,
    blend_quats,
    euler_from_quat,
    matrices_from_quats,
    matrix_from_quat,
    multiply_quats,
    quat_from_euler,
    quat_from_matrix,
    quats_from_matrices,
    rep103_angles,
    slerp,
)


def test_angles_quaternions_and_matrices_agree():
    rng = np.random.default_rng(0)
    for angles in rng.uniform(-1.5, 1.5, (50, 3)):
        quat = quat_from_euler(angles)
        np.testing.assert_allclose(euler_from_quat(quat * 3), angles, atol=1e-9)
        np.testing.assert_allclose(euler_from_quat(-quat), angles, atol=1e-9)
        again = quat_from_matrix(matrix_from_quat(quat))
        assert abs(again @ quat) == pytest.approx(1, abs=1e-12)
    yaw = matrix_from_quat(quat_from_euler(np.array([np.pi / 2, 0, 0])))
    np.testing.assert_allclose(yaw @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(np.abs(quat_from_matrix(np.diag([1.0, -1.0, -1.0]))), [0, 1, 0, 0], atol=1e-12)


def test_quaternions_blend_the_short_way():
    q = quat_from_euler(np.array([0.3, 0.2, 0.1]))
    share = np.array([[0.0], [0.5], [1.0]])
    for sign in (1, -1):
        blended = blend_quats(np.array([1.0, 0, 0, 0]), sign * q, share)
        np.testing.assert_allclose(np.abs(blended @ q), [q[0], np.sqrt((1 + q[0]) / 2), 1], atol=1e-12)


def test_two_half_turns_are_one():
    half, quarter = quat_from_euler(np.array([np.pi, 0, 0])), quat_from_euler(np.array([np.pi / 2, 0, 0]))
    np.testing.assert_allclose(multiply_quats(quarter, quarter), half, atol=1e-12)


def test_a_zero_or_infinite_quaternion_is_no_rotation():
    for quat in (np.zeros(4), np.array([np.nan, 0, 0, 1]), np.array([np.inf, 0, 0, 0])):
        np.testing.assert_array_equal(euler_from_quat(quat), np.zeros(3))


def test_arrays_agree_with_single_rotations():
    rng = np.random.default_rng(1)
    quats = np.stack([quat_from_euler(angles) for angles in rng.uniform(-1.5, 1.5, (20, 3))])
    matrices = matrices_from_quats(quats * rng.uniform(0.5, 2.0, (20, 1)))
    np.testing.assert_allclose(matrices, [matrix_from_quat(quat) for quat in quats], atol=1e-12)
    np.testing.assert_allclose(np.abs((quats_from_matrices(matrices) * quats).sum(1)), 1, atol=1e-12)


def test_canonical_rotations_have_rep_103_angles():
    angles = np.array([0.4, -0.2, 0.1])
    rotation = CANONICAL_REP103 @ matrix_from_quat(quat_from_euler(angles)) @ CANONICAL_REP103.T
    np.testing.assert_allclose(rep103_angles(rotation), angles, atol=1e-12)


def test_slerp_runs_evenly_along_the_shorter_arc():
    start, end = quat_from_euler((0.0, 0.0, 0.0)), -quat_from_euler((1.0, 0.0, 0.0))
    for fraction in (0.0, 0.25, 0.5, 1.0):
        np.testing.assert_allclose(euler_from_quat(slerp(start, end, fraction)), [fraction, 0, 0], atol=1e-12)
