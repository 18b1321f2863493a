"""The fit finds again what landmarks were made from: poses, motion, and who it is."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from splatface.models.audio2motion.audio_to_mouth import CONTROLS, MOUTH_MODES
from splatface.models.errors import TrackingError
from splatface.models.training.tracking.face_fit import fit_clip
from splatface.models.training.tracking.face_model import (
    FacePoses,
    Intrinsics,
    deform_landmarks,
    load_face_model,
    project_landmarks,
)

FRAMES, SIDE, FPS = 60, 512, 25.0
BLINK_AT, CLOSED_AT = 30, 45
COLUMNS = MOUTH_MODES + CONTROLS


def poses_made():
    """A head that turns and nods 1.2 m away, talks, blinks once, and shuts its lips for two pictures."""
    t = np.arange(FRAMES) / FPS
    angles = np.radians(np.stack([8 * np.sin(2 * t), 5 * np.sin(3 * t + 1), 2 * np.sin(t)], 1))
    turns = Rotation.from_euler("yxz", angles).as_matrix()
    places = np.stack([0.01 * np.sin(2 * t), 0.01 * np.cos(t), 1.2 + 0 * t], 1)
    motion = np.zeros((FRAMES, len(COLUMNS)))
    motion[:, 0] = 0.35 + 0.3 * np.sin(9 * t)
    motion[CLOSED_AT : CLOSED_AT + 2, 0] = 0
    motion[:, COLUMNS.index("jaw_side")] = 0.2 * np.sin(5 * t + 1)
    motion[:, COLUMNS.index("gaze_yaw")] = 0.15 * np.sign(np.sin(4 * t))
    motion[BLINK_AT : BLINK_AT + 3, [COLUMNS.index("blink_left"), COLUMNS.index("blink_right")]] = 1.0
    return FacePoses(turns, places, motion)


@pytest.fixture(scope="module")
def made():
    model, rng = load_face_model(), np.random.default_rng(1)
    poses = poses_made()
    shape = model.person(rng.normal(0, 0.7, model.identities))
    px, _ = project_landmarks(
        deform_landmarks(model, shape, poses), poses, Intrinsics(1800.0, (SIDE / 2, SIDE / 2))
    )
    return poses, px + rng.normal(0, 0.3, px.shape)


@pytest.fixture(scope="module")
def found(made):
    return fit_clip(made[1], SIDE, SIDE, FPS)


def pose_errors(T, poses):
    """Angles [F] deg left when both frames are turned onto each other."""
    mine, true = Rotation.from_matrix(T[:, :3, :3]), Rotation.from_matrix(poses.turns)
    world, canonical = Rotation.identity(), Rotation.identity()
    for _ in range(10):
        world = (mine * (true * canonical).inv()).mean()
        canonical = ((world * true).inv() * mine).mean()
    return np.degrees(((world * true * canonical).inv() * mine).magnitude())


def test_poses_are_found(made, found):
    assert np.sqrt((pose_errors(found.T_world_head, made[0]) ** 2).mean()) < 1.0


def test_landmarks_are_explained(found):
    assert np.nanmean(found.residual_px) < 1.5
    assert found.confidence.min() > 0.1


def test_the_world_is_the_head_in_its_middle_pose(found):
    middle = np.median(found.T_world_head[:, :3, 3], axis=0)
    np.testing.assert_allclose(middle, 0, atol=1e-3)
    turns = Rotation.from_matrix(found.T_world_head[:, :3, :3]).as_rotvec()
    np.testing.assert_allclose(np.median(turns, axis=0), 0, atol=0.01)


def test_the_mouth_opens_when_it_does_and_a_short_closure_stays(made, found):
    true, mine = made[0].motion[:, 0], found.mouth[:, 0]
    assert np.corrcoef(true, mine)[0, 1] > 0.97
    before = mine[CLOSED_AT - 4 : CLOSED_AT - 1].mean()
    if true[CLOSED_AT - 2] > 0.2:
        assert mine[CLOSED_AT] < 0.5 * before


def test_blinks_are_blinks(found):
    blinks = found.controls[:, :2].min(1)
    assert blinks[BLINK_AT : BLINK_AT + 3].min() > 0.6
    away = np.abs(np.arange(FRAMES) - BLINK_AT - 1) > 3
    assert blinks[away].max() < 0.3


@pytest.mark.parametrize("winking", [False, True])
def test_a_head_that_blinks_and_stands_still_is_held_still(winking):
    model, rng = load_face_model(), np.random.default_rng(2)
    shape, count = model.person(rng.normal(0, 0.7, model.identities)), 150
    motion = np.zeros((count, len(COLUMNS)))
    motion[:, 0] = 0.3 + 0.25 * np.sin(1.1 * np.arange(count))
    for at in (20, 55, 90, 118):
        motion[at : at + 4, 8:10] = np.array([0.6, 1.0, 1.0, 0.4])[:, None]
    poses = FacePoses(np.tile(np.eye(3), (count, 1, 1)), np.tile([0, 0, 1.2], (count, 1)), motion)
    shown, lens = model.winking() if winking else model, Intrinsics(1800.0, (SIDE / 2, SIDE / 2))
    px, _ = project_landmarks(deform_landmarks(shown, shape, poses), poses, lens)
    found = fit_clip(px + rng.normal(0, 0.3, px.shape), SIDE, SIDE, FPS)
    nose_px = 1800 / 1.2 * (found.T_world_head @ [0, 0.03, -0.05, 1])[:, :2]
    assert nose_px.std(axis=0).max() < 0.3
    assert found.controls[21:23, :2].min() > 0.6


def test_gaze_goes_to_the_side_it_goes_to(made, found):
    true = made[0].motion[:, COLUMNS.index("gaze_yaw")]
    assert np.corrcoef(true, found.controls[:, CONTROLS.index("gaze_yaw")])[0, 1] > 0.8


def test_a_jaw_goes_to_the_side_it_goes_to(made, found):
    true, mine = made[0].motion[:, COLUMNS.index("jaw_side")], found.controls[:, CONTROLS.index("jaw_side")]
    assert np.corrcoef(true, mine)[0, 1] > 0.9
    assert 0.5 < mine.std() / true.std() < 1.1  # drawn to what speech does: a head learns its own unit


def test_a_lost_face_is_bridged_and_not_trusted(made):
    px = made[1].copy()
    px[10:13] = np.nan
    found = fit_clip(px, SIDE, SIDE, FPS)
    assert (found.confidence[10:13] == 0).all()
    assert np.isfinite(found.T_world_head).all()
    assert np.isfinite(found.mouth).all()


def test_a_mistaken_picture_moves_nothing(made, found):
    px = made[1].copy()
    px[20] += np.linspace(0, 60, 478)[:, None]
    mistaken = fit_clip(px, SIDE, SIDE, FPS)
    assert mistaken.confidence[20] < 0.5
    moved_m = np.linalg.norm(mistaken.T_world_head[20, :3, 3] - mistaken.T_world_head[18, :3, 3])
    assert moved_m < 0.01


def test_a_known_lens_is_kept(made):
    assert fit_clip(made[1], SIDE, SIDE, FPS, focal_px=1800.0).camera.fx == pytest.approx(1800, rel=1e-3)


@pytest.mark.parametrize("shape", [(4, 68, 2), (4, 478), (4, 478, 4)])
def test_other_landmarks_are_refused(shape):
    with pytest.raises(TrackingError, match="478"):
        fit_clip(np.zeros(shape), SIDE, SIDE, FPS)


def test_a_clip_without_a_face_is_refused():
    with pytest.raises(TrackingError, match="found it in 0"):
        fit_clip(np.full((10, 478, 2), np.nan), SIDE, SIDE, FPS)
