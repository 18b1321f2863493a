"""Skinning: the torch definition against the head's, the kernels against the definition."""

import numpy as np
import pytest
import torch

from splatface.models.head.controls import Bones
from splatface.models.head.deformation import rotate_sh1
from splatface.models.render.cpu import SplatGrads
from splatface.models.render.jit import Workers
from splatface.models.rotations import blend_quats, multiply_quats, quat_from_matrix
from splatface.models.training.fields.field import GaussianTensors
from splatface.models.training.optimization.gaussian_skinning import (
    SKIN,
    apply_small_twist,
    pack,
    pack_bone_poses,
    row_width,
    skin_backward,
    skin_gaussians,
    skin_gaussians_torch,
    unpack,
)

NAMES = ("means", "quats", "scales", "opacities", "sh")


def some_bones(generator):
    def one():
        turn = generator.normal(size=3) * 0.3
        angle = np.linalg.norm(turn)
        x, y, z = turn / angle
        K = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
        T = np.eye(4)
        T[:3, :3] += np.sin(angle) * K + (1 - np.cos(angle)) * K @ K
        T[:3, 3] = generator.normal(size=3) * 0.05
        return T

    return one(), one()


def some_table(generator, count=200, degree=1):
    table = generator.normal(size=(count, row_width(degree))) * 0.5
    table[:, 3] += 1
    table[:, 7:10] -= 4
    return torch.from_numpy(table)


@pytest.fixture
def generator():
    return np.random.default_rng(3)


def test_packing_is_undone_by_unpacking(generator):
    table = some_table(generator)
    assert torch.equal(pack(unpack(table), table[:, SKIN]), table)
    assert isinstance(unpack(table), GaussianTensors)


def test_definition_agrees_with_the_head(generator):
    head, torso = some_bones(generator)
    table = some_table(generator)
    splats = skin_gaussians_torch(
        table, torch.zeros(200, 14, dtype=torch.float64), torch.from_numpy(pack_bone_poses(head, torso))
    )
    share = torch.sigmoid(table[:, SKIN]).numpy()
    w = share[:, None]
    means = table[:, :3].numpy()
    expected = w * (means @ head[:3, :3].T + head[:3, 3]) + (1 - w) * (means @ torso[:3, :3].T + torso[:3, 3])
    assert np.allclose(splats.means, expected, atol=1e-12)
    turn = blend_quats(quat_from_matrix(torso[:3, :3]), quat_from_matrix(head[:3, :3]), w)
    quats = multiply_quats(turn, table[:, 3:7].numpy())
    found = splats.quats.numpy()
    unit = [q / np.linalg.norm(q, axis=1, keepdims=True) for q in (quats, found)]
    assert np.allclose(*unit, atol=1e-12)
    sh = unpack(table).sh.numpy()
    assert np.allclose(splats.sh[:, 1:4], rotate_sh1(sh[:, 1:4], share, Bones(head, torso)), atol=1e-12)


@pytest.mark.parametrize("degree", [0, 1])
@pytest.mark.parametrize("threads", [1, 2])
def test_kernels_agree_with_the_definition(generator, degree, threads):
    table = some_table(generator, degree=degree).requires_grad_()
    rows = np.sort(generator.permutation(200)[:70])
    deformed = torch.from_numpy(generator.normal(size=(70, 14)) * 0.2)
    deformed[0, 7:11] = 9.0  # beyond the limit
    deformed.requires_grad_()
    pose = torch.from_numpy(pack_bone_poses(*some_bones(generator))).requires_grad_()
    every = torch.zeros(200, 14, dtype=torch.float64).index_copy(0, torch.from_numpy(rows), deformed)
    splats = skin_gaussians_torch(table, every, pose)
    above = [torch.from_numpy(generator.normal(size=getattr(splats, name).shape)) for name in NAMES]
    for a, name in zip(above, NAMES, strict=True):
        a[: len(a)] /= getattr(splats, name).detach().abs().mean() + 1e-3
    torch.autograd.backward([getattr(splats, name) for name in NAMES], above)

    workers = Workers(threads)
    plain = table.detach().float().numpy()
    moved = skin_gaussians(plain, rows, deformed.detach().float().numpy(), pose.detach().numpy(), workers)
    for name in NAMES:
        assert np.allclose(getattr(moved.splats, name), getattr(splats, name).detach(), rtol=2e-4, atol=1e-5)
    arrays = [np.ascontiguousarray(a.numpy(), np.float32) for a in above]
    none = np.empty((200, 0), np.float32)
    found = skin_backward(moved, rows, SplatGrads(*arrays, none, none), workers)
    for mine, true in ((found.table, table.grad), (found.deltas, deformed.grad), (found.pose, pose.grad)):
        assert np.abs(mine - true.numpy()).max() < 1e-4 * true.abs().max()


def test_a_small_twist_turns_and_shifts(generator):
    head, torso = some_bones(generator)
    pose = torch.from_numpy(pack_bone_poses(head, torso))
    twist = torch.tensor([[0.0] * 6, [0, 0, 1e-5, 0.1, 0, 0]], dtype=torch.float64)
    moved = apply_small_twist(pose, twist)
    turn = np.array([[1, -1e-5, 0], [1e-5, 1, 0], [0, 0, 1]])
    assert torch.equal(moved[0], pose[0])
    assert np.allclose(moved[1, :9].reshape(3, 3), turn @ head[:3, :3], atol=1e-9)
    assert np.allclose(moved[1, 9:12], turn @ head[:3, 3] + [0.1, 0, 0], atol=1e-9)
    true = pack_bone_poses(np.block([[turn @ head[:3, :3], np.zeros((3, 1))], [np.zeros(3), 1]]), torso)[
        1, 12:
    ]
    assert np.allclose(moved[1, 12:], true, atol=1e-8)
