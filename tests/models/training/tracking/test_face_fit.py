"""The face model and its fit: poses, motion and identity are recovered; motion refitted with other poses."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from splatface.models.audio2motion.audio_to_mouth import CONTROLS, MOUTH_MODES
from splatface.models.camera import Camera
from splatface.models.errors import TrackingError
from splatface.models.training.dataset.body_poses import with_poses
from splatface.models.training.dataset.types import Dataset, FrameTable, MotionTrack
from splatface.models.training.tracking.face_detection import LIPS
from splatface.models.training.tracking.face_fit import (
    TRACKING_FILE,
    TrackingResult,
    fit_clip,
    refit_motion_with_poses,
    save_tracking_result,
)
from splatface.models.training.tracking.face_model import (
    EYE_CHANNELS,
    FACE_HEIGHT_M,
    FACE_MODEL_FILE,
    FacePoses,
    Intrinsics,
    deform_landmarks,
    load_face_model,
    project_landmarks,
    view_terms,
)
from splatface.models.training.tracking.face_motion import fit_motion_coefficients

pytestmark = pytest.mark.slow

FRAMES, SIDE, FPS = 60, 512, 25.0
BLINK_AT, CLOSED_AT = 30, 45
COLUMNS = MOUTH_MODES + CONTROLS
INTRINSICS = Intrinsics(1800.0, (SIDE / 2, SIDE / 2))


def true_poses():
    """A head that turns and nods 1.2 m away, talks, blinks once, and closes its lips for two frames."""
    t = np.arange(FRAMES) / FPS
    angles = np.radians(np.stack([8 * np.sin(2 * t), 5 * np.sin(3 * t + 1), 2 * np.sin(t)], 1))
    rotations = Rotation.from_euler("yxz", angles).as_matrix()
    translations = np.stack([0.01 * np.sin(2 * t), 0.01 * np.cos(t), 1.2 + 0 * t], 1)
    motion = np.zeros((FRAMES, len(COLUMNS)))
    motion[:, 0] = 0.35 + 0.3 * np.sin(9 * t)
    motion[CLOSED_AT : CLOSED_AT + 2, 0] = 0
    motion[:, COLUMNS.index("jaw_side")] = 0.2 * np.sin(5 * t + 1)
    motion[:, COLUMNS.index("gaze_yaw")] = 0.15 * np.sign(np.sin(4 * t))
    motion[BLINK_AT : BLINK_AT + 3, [COLUMNS.index("blink_left"), COLUMNS.index("blink_right")]] = 1.0
    return FacePoses(rotations, translations, motion)


@pytest.fixture(scope="module")
def clip():
    model, rng = load_face_model(), np.random.default_rng(1)
    poses = true_poses()
    shape = model.identity_shape(rng.normal(0, 0.7, model.identities))
    px, _ = project_landmarks(deform_landmarks(model, shape, poses), poses, INTRINSICS)
    return poses, px + rng.normal(0, 0.3, px.shape)


@pytest.fixture(scope="module")
def fitted(clip):
    return fit_clip(clip[1], SIDE, SIDE, FPS)


def pose_errors(T, poses):
    """Angles [F] deg that remain when both frames are aligned."""
    estimated, true = Rotation.from_matrix(T[:, :3, :3]), Rotation.from_matrix(poses.rotations)
    world, canonical = Rotation.identity(), Rotation.identity()
    for _ in range(10):
        world = (estimated * (true * canonical).inv()).mean()
        canonical = ((world * true).inv() * estimated).mean()
    return np.degrees(((world * true * canonical).inv() * estimated).magnitude())


def test_poses_are_found(clip, fitted):
    assert np.sqrt((pose_errors(fitted.T_world_head, clip[0]) ** 2).mean()) < 1.0


def test_the_residual_is_small(fitted):
    assert np.nanmean(fitted.residual_px) < 1.5
    assert fitted.confidence.min() > 0.1


def test_the_world_is_the_head_in_its_middle_pose(fitted):
    middle = np.median(fitted.T_world_head[:, :3, 3], axis=0)
    np.testing.assert_allclose(middle, 0, atol=1e-3)
    vectors = Rotation.from_matrix(fitted.T_world_head[:, :3, :3]).as_rotvec()
    np.testing.assert_allclose(np.median(vectors, axis=0), 0, atol=0.01)


def test_the_mouth_opens_when_it_does_and_a_short_closure_stays(clip, fitted):
    true, opening = clip[0].motion[:, 0], fitted.mouth[:, 0]
    assert np.corrcoef(true, opening)[0, 1] > 0.97
    before = opening[CLOSED_AT - 4 : CLOSED_AT - 1].mean()
    if true[CLOSED_AT - 2] > 0.2:
        assert opening[CLOSED_AT] < 0.5 * before


def test_blinks_are_blinks(fitted):
    blinks = fitted.controls[:, :2].min(1)
    assert blinks[BLINK_AT : BLINK_AT + 3].min() > 0.6
    away = np.abs(np.arange(FRAMES) - BLINK_AT - 1) > 3
    assert blinks[away].max() < 0.3


@pytest.mark.parametrize("coupled", [False, True])
def test_a_head_that_blinks_and_stands_still_is_held_still(coupled):
    model, rng = load_face_model(), np.random.default_rng(2)
    shape, count = model.identity_shape(rng.normal(0, 0.7, model.identities)), 150
    motion = np.zeros((count, len(COLUMNS)))
    motion[:, 0] = 0.3 + 0.25 * np.sin(1.1 * np.arange(count))
    for at in (20, 55, 90, 118):
        motion[at : at + 4, 8:10] = np.array([0.6, 1.0, 1.0, 0.4])[:, None]
    poses = FacePoses(np.tile(np.eye(3), (count, 1, 1)), np.tile([0, 0, 1.2], (count, 1)), motion)
    detector = model.with_blink_coupling() if coupled else model
    px, _ = project_landmarks(deform_landmarks(detector, shape, poses), poses, INTRINSICS)
    fitted = fit_clip(px + rng.normal(0, 0.3, px.shape), SIDE, SIDE, FPS)
    nose_px = 1800 / 1.2 * (fitted.T_world_head @ [0, 0.03, -0.05, 1])[:, :2]
    assert nose_px.std(axis=0).max() < 0.3
    assert fitted.controls[21:23, :2].min() > 0.6


def test_gaze_goes_to_the_side_it_goes_to(clip, fitted):
    true = clip[0].motion[:, COLUMNS.index("gaze_yaw")]
    assert np.corrcoef(true, fitted.controls[:, CONTROLS.index("gaze_yaw")])[0, 1] > 0.8


def test_a_jaw_goes_to_the_side_it_goes_to(clip, fitted):
    true, jaw = clip[0].motion[:, COLUMNS.index("jaw_side")], fitted.controls[:, CONTROLS.index("jaw_side")]
    assert np.corrcoef(true, jaw)[0, 1] > 0.9
    assert 0.5 < jaw.std() / true.std() < 1.1  # the prior shrinks it: a head learns its own unit


def test_a_lost_face_is_interpolated_with_confidence_0(clip):
    px = clip[1].copy()
    px[10:13] = np.nan
    fitted = fit_clip(px, SIDE, SIDE, FPS)
    assert (fitted.confidence[10:13] == 0).all()
    assert np.isfinite(fitted.T_world_head).all()
    assert np.isfinite(fitted.mouth).all()


def test_an_outlier_frame_moves_nothing(clip, fitted):
    px = clip[1].copy()
    px[20] += np.linspace(0, 60, 478)[:, None]
    outlier = fit_clip(px, SIDE, SIDE, FPS)
    assert outlier.confidence[20] < 0.5
    step_m = np.linalg.norm(outlier.T_world_head[20, :3, 3] - outlier.T_world_head[18, :3, 3])
    assert step_m < 0.01


def test_known_intrinsics_are_kept(clip):
    assert fit_clip(clip[1], SIDE, SIDE, FPS, intrinsics=INTRINSICS).camera.fx == pytest.approx(
        1800, rel=1e-3
    )


@pytest.mark.parametrize("shape", [(4, 68, 2), (4, 478), (4, 478, 4)])
def test_other_landmarks_are_refused(shape):
    with pytest.raises(TrackingError, match="478"):
        fit_clip(np.zeros(shape), SIDE, SIDE, FPS)


def test_a_clip_without_a_face_is_refused():
    with pytest.raises(TrackingError, match="found it in 0"):
        fit_clip(np.full((10, 478, 2), np.nan), SIDE, SIDE, FPS)


@pytest.fixture(scope="module")
def face_model():
    return load_face_model()


def test_the_file_is_small():
    assert FACE_MODEL_FILE.stat().st_size < 300_000


def test_a_mean_face(face_model):
    mean = face_model.mean_m
    assert mean[152, 1] - mean[10, 1] == pytest.approx(FACE_HEIGHT_M, abs=0.004)
    assert abs(mean[[468, 473]].mean(0)[:2]).max() < 0.004  # the origin is between the eyes
    assert mean[1, 2] < mean[[33, 263], 2].min()  # the nose is nearest to the camera
    assert mean[263, 0] > 0 > mean[33, 0]  # the left eye is at the picture's right
    np.testing.assert_allclose(mean[263] * np.array([-1, 1, 1]), mean[33], atol=0.004)


def test_motion_modes_match_their_names(face_model):
    modes = dict(zip(MOUTH_MODES + CONTROLS, face_model.motion_m, strict=True))
    assert modes["open"][14, 1] > 0.006 > abs(modes["open"][168, 1]) * 5
    width = modes["round"][291, 0] - modes["round"][61, 0]
    assert width < -0.003
    assert modes["blink_left"][386, 1] > 0.004 > abs(modes["blink_left"][159, 1]) * 2
    assert modes["gaze_yaw"][[468, 473], 0].min() > 0.004
    assert modes["brow_up"][[105, 334], 1].max() < -0.002
    assert modes["jaw_side"][[13, 14, 61, 291], 0].min() > 0.003 > 5 * abs(modes["jaw_side"][1, 0])


def test_blinks_and_glances_stay_at_the_eyes(face_model):
    eyes = face_model.mean_m[[468, 473]]
    distance = np.linalg.norm(face_model.mean_m[:, None] - eyes, axis=2).min(axis=1)
    assert not face_model.motion_m[list(EYE_CHANNELS)][:, distance > 0.032].any()
    assert (
        np.abs(face_model.with_blink_coupling().motion_m[list(EYE_CHANNELS)][:, distance > 0.032]).max()
        > 1e-3
    )
    others = np.delete(np.arange(16), EYE_CHANNELS)
    assert np.array_equal(face_model.with_blink_coupling().motion_m[others], face_model.motion_m[others])


def test_a_view_from_the_front_is_none():
    terms = view_terms(np.eye(3)[None], np.array([[0.0, 0.0, 1.0]]))
    np.testing.assert_allclose(terms, 0, atol=1e-12)


def test_a_missing_model_is_named(tmp_path):
    with pytest.raises(TrackingError, match="install splatface again"):
        load_face_model(tmp_path / "none.safetensors")


NOD_FRAMES, LOST = 24, 7


def matrices(poses):
    T = np.tile(np.eye(4), (NOD_FRAMES, 1, 1))
    T[:, :3, :3], T[:, :3, 3] = poses.rotations, poses.translations_m
    return T


def rotation_about(axis, angles_deg):
    return Rotation.from_euler(axis, angles_deg[:, None], degrees=True).as_matrix()


def nodding_poses():
    t = np.arange(NOD_FRAMES) / 25
    rotations = rotation_about("y", 6 * np.sin(3 * t))
    motion = np.zeros((NOD_FRAMES, len(MOUTH_MODES) + len(CONTROLS)))
    motion[:, 0] = 0.4 + 0.3 * np.sin(9 * t)
    return FacePoses(rotations, np.tile([0, 0, 1.2], (NOD_FRAMES, 1)), motion)


def with_pose_errors(poses):
    """Poses with errors of up to 1 degree of pitch and 2 mm of height."""
    error = np.sin(np.arange(NOD_FRAMES) * 0.6)
    offset = np.c_[0 * error, 0.002 * error, 0 * error]
    rotations = rotation_about("x", error) @ poses.rotations
    return replace(poses, rotations=rotations, translations_m=poses.translations_m + offset)


def lip_error_px(table, T, px):
    """Mean distance of modelled lips from the landmarks."""
    model = load_face_model()
    poses = FacePoses(T[:, :3, :3], T[:, :3, 3], np.hstack([table.mouth, table.controls]).astype(np.float64))
    modelled, _ = project_landmarks(deform_landmarks(model, model.mean_m, poses), poses, INTRINSICS)
    return np.nanmean(np.linalg.norm(modelled[:, LIPS] - px[:, LIPS], axis=-1))


@pytest.fixture
def tracked(tmp_path):
    """A data set whose poses nod wrongly, and the true ones."""
    model, true = load_face_model(), nodding_poses()
    px, _ = project_landmarks(deform_landmarks(model, model.mean_m, true), true, INTRINSICS)
    wrong = with_pose_errors(true)
    motion = fit_motion_coefficients(model, model.mean_m, wrong, px, INTRINSICS).astype(np.float32)
    mouth, controls = motion[:, : len(MOUTH_MODES)], np.clip(motion[:, len(MOUTH_MODES) :], 0, 0.6)
    px[LOST] = np.nan
    time_ns = np.arange(NOD_FRAMES) * 40_000_000
    T = matrices(wrong)
    dataset = Dataset(
        folder=tmp_path,
        name="nod",
        source="video",
        license="trial",
        consent="trial",
        camera=Camera(512, 512, 1800.0, 1800.0, 512 / 2, 512 / 2, np.eye(4)),
        fps=25.0,
        background=np.zeros(3, np.float32),
        pivot_m=np.zeros(3),
        landmark_scheme="mediapipe478",
        frames=FrameTable(
            time_ns, np.zeros(NOD_FRAMES, np.uint8), T, T, mouth, controls, px.astype(np.float32)
        ),
        motion=MotionTrack(time_ns, mouth, controls, T, T),
    )
    zeros = np.zeros(NOD_FRAMES)
    save_tracking_result(
        tmp_path, TrackingResult(model.mean_m, np.zeros(model.identities), zeros, zeros + 1, np.zeros(3))
    )
    return dataset, matrices(true)


def with_true_poses(tracked):
    dataset, T = tracked
    return with_poses(dataset, T, dataset.frames.T_world_torso, dataset.camera)


def test_lips_match_the_landmarks_once_the_pose_is_right(tracked):
    refined = with_true_poses(tracked)
    refitted = refit_motion_with_poses(tracked[0], refined)
    px = tracked[0].frames.landmarks_px
    for before, after in ((refined.frames, refitted.frames), (refined.motion, refitted.motion)):
        assert lip_error_px(after, tracked[1], px) < 0.5 * lip_error_px(before, tracked[1], px)
        assert np.isfinite(after.mouth).all()


def test_refitting_leaves_the_eyes(tracked):
    refitted = refit_motion_with_poses(tracked[0], with_true_poses(tracked))
    np.testing.assert_array_equal(refitted.frames.controls[:, :4], tracked[0].frames.controls[:, :4])


def test_the_same_poses_give_the_same_motion(tracked):
    dataset = tracked[0]
    frames = dataset.frames
    same = with_poses(dataset, frames.T_world_head, frames.T_world_torso, dataset.camera)
    refitted = refit_motion_with_poses(dataset, same)
    np.testing.assert_array_equal(refitted.frames.mouth, frames.mouth)
    np.testing.assert_array_equal(refitted.frames.controls, frames.controls)


def test_a_data_set_without_a_tracking_result_keeps_its_motion(tracked):
    (tracked[0].folder / TRACKING_FILE).unlink()
    refined = with_true_poses(tracked)
    assert refit_motion_with_poses(tracked[0], refined) is refined


def test_a_damaged_fit_is_reported(tracked):
    (tracked[0].folder / TRACKING_FILE).write_bytes(b"no tensors")
    with pytest.raises(TrackingError, match="track again"):
        refit_motion_with_poses(tracked[0], with_true_poses(tracked))
