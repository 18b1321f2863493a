"""The far side of a head that was filmed from the front."""

import numpy as np
from scipy.spatial.transform import Rotation

from splatface.models.camera import Camera
from splatface.models.head.motion_map import linear_map
from splatface.models.head.splats import Gaussians, Splats
from splatface.models.render.cpu import CpuRenderer
from splatface.models.training.optimization.bake import Baked
from splatface.models.training.optimization.head_export import add_back_of_head_shell

WIDE_M, TALL_M = 0.08, 0.11
HAIR, SKIN = (-1.0, -1.0, -1.0), (0.5, 0.2, 0.1)


def front_half(count=6000):
    """A face like half an egg, open to the back; the upper half is dark."""
    rng = np.random.default_rng(0)
    out = rng.normal(size=(count, 3))
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    out[:, 2] = -np.abs(out[:, 2])
    sh = np.zeros((count, 4, 3), np.float32)
    sh[:, 0] = np.where(out[:, 1:2] < 0, HAIR, SKIN)
    gaussians = Gaussians(
        means=(out * (WIDE_M, TALL_M, WIDE_M) + (0, 0, WIDE_M)).astype(np.float32),
        quats=np.tile(np.array([1, 0, 0, 0], np.float32), (count, 1)),
        log_scales=np.full((count, 3), np.log(0.003), np.float32),
        opacity_logits=np.full(count, 3.0, np.float32),
        sh=sh,
    )
    return Baked(
        gaussians=gaussians,
        skin=np.ones(count, np.float32),
        dynamic=np.arange(3, dtype=np.int32),
        basis=np.zeros((3, 14, 2), np.float32),
        motion_map=linear_map(np.zeros((16, 2), np.float32)),
    )


def seen(baked, yaw_deg):
    """How much of the background [H, W] is seen through the turned head, and the picture."""
    g = baked.gaussians
    turn = Rotation.from_euler("y", yaw_deg, degrees=True)
    means = turn.apply(g.means - np.array([0, 0, WIDE_M])) + np.array([0, 0, 1.0])
    quats = (turn * Rotation.from_quat(g.quats[:, [1, 2, 3, 0]])).as_quat()[:, [3, 0, 1, 2]]
    splats = Splats(
        means=np.ascontiguousarray(means, np.float32),
        quats=np.ascontiguousarray(quats, np.float32),
        scales=np.exp(g.log_scales),
        opacities=1 / (1 + np.exp(-g.opacity_logits)),
        sh=g.sh,
    )
    drawn = CpuRenderer(1).draw(splats, Camera(160, 160, 500.0, 500.0, 80.0, 80.0), np.ones(3, np.float32))
    return drawn.transmittance, drawn.image


def test_what_was_filmed_looks_as_before_and_the_back_is_closed():
    half = front_half()
    head = add_back_of_head_shell(half)
    added = len(head.gaussians) - len(half.gaussians)
    assert 300 < added < 2000
    assert len(head.skin) == len(head.gaussians)
    assert (head.skin[-added:] == 1).all()
    np.testing.assert_allclose(np.linalg.norm(head.gaussians.quats, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(head.gaussians.means[:-added], half.gaussians.means)
    (through, before), (_, after) = (seen(which, 0.0) for which in (half, head))
    assert (through < 0.02).mean() > 0.1
    assert np.abs(before - after)[through < 0.02].max() < 0.02
    assert np.abs(before - after)[through > 0.999].max() < 0.1  # nothing beside the outline
    # Where the forehead is taken away, one no longer looks through.
    open_half = half.gaussians.means[:, 2] < 0.04
    half.gaussians.opacity_logits[open_half] = -12
    head.gaussians.opacity_logits[: len(open_half)][open_half] = -12
    middle = np.s_[50:110, 60:100]
    assert (seen(half, 0.0)[0][middle] > 0.9).all()
    assert (seen(head, 0.0)[0][middle] < 0.1).all()


def test_turned_it_comes_out_beside_the_face_by_a_few_millimetres_only():
    half = front_half()
    head = add_back_of_head_shell(half)
    added = head.gaussians.means[len(half.gaussians) :] - (0, 0, WIDE_M)
    for yaw_deg in (-20, 20):
        turn = Rotation.from_euler("y", yaw_deg, degrees=True)
        beside = np.abs(turn.apply(added)[:, 0]).max() - WIDE_M
        assert beside < 0.004


def test_it_takes_the_color_of_what_is_beside_it():
    half = front_half()
    added = add_back_of_head_shell(half).gaussians
    new = np.arange(len(half.gaussians), len(added))
    heights = added.means[new, 1]
    np.testing.assert_allclose(added.sh[new[heights < -0.02], 0], np.tile(HAIR, ((heights < -0.02).sum(), 1)))
    np.testing.assert_allclose(added.sh[new[heights > 0.02], 0], np.tile(SKIN, ((heights > 0.02).sum(), 1)))
    assert not added.sh[new, 1:].any()


def test_without_a_head_nothing_is_added():
    half = front_half()
    half.skin[:] = 0.0
    assert add_back_of_head_shell(half) is half
