"""Export of a baked head: limits, pruning, consent; the shell behind a head filmed from the front."""

from dataclasses import replace

import numpy as np
import pytest
from performers import true_performer
from scipy.spatial.transform import Rotation

from splatface.models.audio2motion.audio_to_mouth import CONTROLS, MOUTH_MODES
from splatface.models.camera import Camera
from splatface.models.errors import TrainingError
from splatface.models.head.controls import bone_poses
from splatface.models.head.head import Gaussians, Splats, linear_map
from splatface.models.head.head_file import load_head
from splatface.models.messages import HeadControl
from splatface.models.render.cpu import CpuRenderer
from splatface.models.rotations import quat_from_euler
from splatface.models.training.audio_to_mouth.speaker_calibration import METHODS
from splatface.models.training.optimization.bake import BakeConfig, BakedHead, bake_field
from splatface.models.training.optimization.dataset_statistics import (
    bone_pose_parameters,
    fit_torso_follow_ratio,
    motion_limits_from_dataset,
    pose_limits_from_dataset,
)
from splatface.models.training.optimization.head_export import (
    add_back_of_head_shell,
    calibrated_nets,
    export_head,
    write_head,
)


@pytest.fixture(scope="module")
def baked(tiny):
    return bake_field(true_performer(tiny)[1], tiny, BakeConfig())


def _head(baked, dataset):
    return export_head(baked, dataset, name="tiny", reports={"training": {"minutes": 1.0}})


def test_a_head_comes_back_from_the_disk_bit_for_bit(tiny, baked, tmp_path):
    head = _head(baked, tiny)
    preview = write_head(head, tmp_path / "head")
    found = load_head(tmp_path / "head")
    assert (found.basis == head.basis).all()
    assert (found.gaussians.sh == head.gaussians.sh).all()
    assert (found.motion_map.linear == head.motion_map.linear).all()
    assert found.info.consent == tiny.consent
    assert found.info.reports["training"] == {"minutes": 1.0}
    assert preview.shape == (512, 512, 3)
    numbers = sum(getattr(head.gaussians, name).size for name in head.gaussians.__slots__) + head.basis.size
    assert (tmp_path / "head" / "head.safetensors").stat().st_size < 2.6 * numbers


def test_a_head_says_whether_it_shows_somebody(tiny, baked):
    shown = {source: _head(baked, replace(tiny, source=source)).info.person for source in ("video", "actor")}
    assert shown["video"] == tiny.name
    assert shown["actor"].startswith("nobody")


def test_rounding_does_not_show(tiny, baked):
    head = _head(baked, tiny)
    assert np.abs(head.basis - baked.basis[: len(head.basis)]).max() < 1e-3 * np.abs(baked.basis).max()
    assert (head.gaussians.means == baked.gaussians.means).all()


def test_what_can_never_be_seen_is_left_out(tiny, baked):
    logits = baked.gaussians.opacity_logits.copy()
    still = np.setdiff1d(np.arange(len(logits)), baked.dynamic)[:50]
    moving = baked.dynamic[:7]
    logits[still] = logits[moving] = -9.0
    basis = baked.basis.copy()
    basis[:7, 10] = 0
    basis[3, 10, 0] = 5.0  # appears when it moves: stays
    faint = replace(baked, gaussians=replace(baked.gaussians, opacity_logits=logits), basis=basis)
    head = _head(faint, tiny)
    assert len(head.gaussians) == len(logits) - 56
    assert len(head.dynamic) == len(baked.dynamic) - 6
    kept = np.setdiff1d(np.arange(len(logits)), np.r_[still, np.delete(moving, 3)])
    assert (kept[head.dynamic] == np.delete(baked.dynamic, [0, 1, 2, 4, 5, 6])).all()
    assert (head.gaussians.means == baked.gaussians.means[kept]).all()


def test_a_person_of_nothing_is_an_error(tiny, baked):
    logits = np.full_like(baked.gaussians.opacity_logits, -30)
    nobody = replace(baked, gaussians=replace(baked.gaussians, opacity_logits=logits), basis=0 * baked.basis)
    with pytest.raises(TrainingError, match="train longer"):
        _head(nobody, tiny)


def test_angles_and_shifts_are_those_of_the_control(tiny):
    info = true_performer(tiny)[0].info
    angles, shift = np.array([0.2, -0.1, 0.05]), np.array([0.01, -0.02, 0.015])
    bones = bone_poses(HeadControl(quat_world_head=quat_from_euler(angles), translation_m=shift), info)
    found = bone_pose_parameters(bones.T_world_head[None], np.array(info.pivot_m))
    assert found[0][0] == pytest.approx(angles)
    assert found[1][0] == pytest.approx(shift)


def test_limits_are_what_was_seen(tiny):
    limits = pose_limits_from_dataset(tiny)
    angles, _ = bone_pose_parameters(tiny.frames.T_world_head[tiny.frames.split != 2], tiny.pivot_m)
    assert limits.yaw_rad == pytest.approx((angles[:, 0].min(), angles[:, 0].max()))
    assert limits.pitch_rad[0] <= 0 <= limits.pitch_rad[1]


def test_the_mouth_keeps_to_what_was_seen(tiny):
    frames = tiny.frames
    seen = np.nan_to_num(frames.mouth[frames.split != 2])
    wild = np.where((frames.split == 2)[:, None], np.float32(9), np.nan_to_num(frames.mouth))
    limits = motion_limits_from_dataset(replace(tiny, frames=replace(frames, mouth=wild)))
    low, high = np.array(limits.mouth).T
    assert np.all(low <= 0)
    assert np.all(high <= np.maximum(seen.max(axis=0), 0) + 1e-4)
    assert high[0] == pytest.approx(seen[:, 0].max(), rel=0.1)


def test_controls_keep_to_what_was_seen(tiny):
    """Brows that were never raised are not torn off the forehead."""
    frames = tiny.frames
    controls = np.zeros_like(frames.controls)
    controls[:, CONTROLS.index("brow_up")] = np.linspace(0, 0.3, len(controls))
    controls[:, CONTROLS.index("gaze_yaw")] = -0.2
    found = motion_limits_from_dataset(replace(tiny, frames=replace(frames, controls=controls))).controls
    limits = dict(zip(CONTROLS, found, strict=True))
    assert limits["brow_up"][0] == 0
    assert 0.2 < limits["brow_up"][1] <= 0.3
    assert limits["gaze_yaw"] == pytest.approx((-0.2, 0))
    assert limits["brow_down"] == (0, 0)


def test_the_torso_follows_as_it_did(tiny):
    info = true_performer(tiny)[0].info
    turn, way = fit_torso_follow_ratio(tiny)
    assert turn == pytest.approx(info.torso_follow[0], abs=0.01)
    assert way == pytest.approx(info.torso_follow[1], abs=0.01)


def test_a_torso_that_was_not_seen_follows_as_usual(tiny):
    lost = replace(tiny.motion, T_world_torso=np.full_like(tiny.motion.T_world_torso, np.nan))
    assert fit_torso_follow_ratio(replace(tiny, motion=lost)) == (0.25, 0.5)


def test_a_head_hears_with_all_encoders(tiny):
    nets, found = calibrated_nets(tiny, ["logmel"])
    assert nets["logmel"].outputs == len(MOUTH_MODES)
    assert set(MOUTH_MODES) < set(found["logmel"])
    assert found["logmel"]["method"] in METHODS


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
    return BakedHead(
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
