from dataclasses import replace

import numpy as np
import pytest
from performers import true_performer

from splatface.models.dataset.types import MotionTrack
from splatface.models.errors import TrainingError
from splatface.models.head.coefficients import CONTROLS, MOUTH_MODES, silent_net
from splatface.models.head.file import load_head
from splatface.models.head.pose import bones_of, quat_of_euler
from splatface.models.training.bake import BakeConfig, bake_field
from splatface.models.training.calibrate import calibrate_net, calibration_of, heard_along
from splatface.models.training.export import export_head, hearing_of, write_head
from splatface.models.training.seen import poses_of, seen_limits, seen_motion, torso_follow
from splatface.models.values import HeadControl


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
    bones = bones_of(HeadControl(quat_world_head=quat_of_euler(angles), translation_m=shift), info)
    found = poses_of(bones.T_world_head[None], np.array(info.pivot_m))
    assert found[0][0] == pytest.approx(angles)
    assert found[1][0] == pytest.approx(shift)


def test_limits_are_what_was_seen(tiny):
    limits = seen_limits(tiny)
    angles, _ = poses_of(tiny.frames.T_world_head[tiny.frames.split != 2], tiny.pivot_m)
    assert limits.yaw_rad == pytest.approx((angles[:, 0].min(), angles[:, 0].max()))
    assert limits.pitch_rad[0] <= 0 <= limits.pitch_rad[1]


def test_the_mouth_keeps_to_what_was_seen(tiny):
    frames = tiny.frames
    seen = np.nan_to_num(frames.mouth[frames.split != 2])
    wild = np.where((frames.split == 2)[:, None], np.float32(9), np.nan_to_num(frames.mouth))
    limits = seen_motion(replace(tiny, frames=replace(frames, mouth=wild)))
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
    found = seen_motion(replace(tiny, frames=replace(frames, controls=controls))).controls
    limits = dict(zip(CONTROLS, found, strict=True))
    assert limits["brow_up"][0] == 0
    assert 0.2 < limits["brow_up"][1] <= 0.3
    assert limits["gaze_yaw"] == pytest.approx((-0.2, 0))
    assert limits["brow_down"] == (0, 0)


def test_the_torso_follows_as_it_did(tiny):
    info = true_performer(tiny)[0].info
    turn, way = torso_follow(tiny)
    assert turn == pytest.approx(info.torso_follow[0], abs=0.01)
    assert way == pytest.approx(info.torso_follow[1], abs=0.01)


def test_a_torso_that_was_not_seen_follows_as_usual(tiny):
    lost = replace(tiny.motion, T_world_torso=np.full_like(tiny.motion.T_world_torso, np.nan))
    assert torso_follow(replace(tiny, motion=lost)) == (0.25, 0.5)


def _spoken(seed=0, moments=400):
    rng = np.random.default_rng(seed)
    return np.abs(np.cumsum(rng.normal(size=(moments, 8)), axis=0) % 2 - 1).astype(np.float32)


def test_a_muted_mouth_is_amplified():
    done = _spoken()
    heard = (0.6 * done + 0.02 * np.random.default_rng(1).normal(size=done.shape)).astype(np.float32)
    found = calibration_of(heard, done)
    assert np.diag(found.mix) == pytest.approx(1 / 0.6, rel=0.08)
    assert (found.after > 0.99).all()


def test_modes_that_a_person_does_together_are_mixed():
    """Somebody whose lips protrude where others round: told from 15 s, on words not heard before."""
    rng = np.random.default_rng(3)
    own = np.eye(8)
    own[2, 2], own[2, 6] = 0.1, 0.7
    heard = _spoken()
    done = (heard @ own + 0.1 * rng.normal(size=heard.shape)).astype(np.float32)
    found = calibration_of(heard[:250], done[:250])
    said = heard[250:] @ found.mix + found.bias
    assert np.corrcoef(said[:, 6], done[250:, 6])[0, 1] > 0.9
    assert np.abs(said - done[250:]).mean() < 0.6 * np.abs(heard[250:] - done[250:]).mean()


def test_what_is_heard_badly_keeps_the_spread_of_the_person():
    """Regression alone would mute: a mouth half of whose motion is not heard would move half."""
    rng = np.random.default_rng(4)
    heard = _spoken(moments=2000)
    unheard = _spoken(5, moments=2000)
    done = (0.7 * heard + 0.7 * unheard + 0.01 * rng.normal(size=heard.shape)).astype(np.float32)
    found = calibration_of(heard, done)
    said = heard @ found.mix + found.bias
    assert said.std(axis=0) / done.std(axis=0) == pytest.approx(0.95, abs=0.02)


def test_what_was_not_heard_stays_as_it_is():
    for heard, done in ((_spoken(1, 2000), _spoken(2, 2000)), (_spoken(1)[:20], _spoken(1)[:20])):
        found = calibration_of(heard, done)
        assert (found.mix == np.eye(8)).all()
        assert (found.bias == 0).all()


def test_mix_and_bias_are_folded_into_the_net(tiny):
    """A net that hears its one feature as every mode, of a person who does 1.5 of it."""
    zeros = silent_net("logmel", 3, window=2)
    project, w1 = np.zeros((3, 32), np.float32), np.zeros((64, 64), np.float32)
    project[0, 0] = w1[32, 0] = 1.0
    w2 = np.zeros((64, 8), np.float32)
    w2[0] = 0.5
    net = replace(
        zeros,
        project=project,
        w1=w1,
        b1=np.full(64, 3.0, np.float32),
        w2=w2,
        b2=-1.5 * np.ones(8, np.float32),
    )
    centres = np.arange(500, dtype=np.int64) * 20_000_000
    values = np.zeros((500, 3), np.float32)
    values[:, 0] = np.abs(np.sin(np.arange(500) / 7)) + 0.2
    heard = heard_along(net, (values, centres), centres)
    unit = np.tile(np.eye(4), (500, 1, 1))
    motion = MotionTrack(centres, 1.5 * heard, np.zeros((500, 8), np.float32), unit, unit)
    frames = replace(tiny.frames, time_ns=tiny.frames.time_ns + 10**12)
    calibrated, found = calibrate_net(net, replace(tiny, motion=motion, frames=frames), (values, centres))
    again = heard_along(calibrated, (values, centres), centres)
    assert again == pytest.approx(heard @ found.mix + found.bias, abs=0.03)
    assert again.std(axis=0) == pytest.approx(0.95 * motion.mouth.std(axis=0), rel=0.1)


def test_a_head_hears_with_all_encoders(tiny):
    nets, found = hearing_of(tiny, ["logmel"])
    assert nets["logmel"].outputs == len(MOUTH_MODES)
    assert set(found["logmel"]) == set(MOUTH_MODES)
