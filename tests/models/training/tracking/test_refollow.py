"""The mouth's motion follows poses that were put right."""

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
    refit_motion_with_poses,
    save_tracking_result,
)
from splatface.models.training.tracking.face_model import (
    FacePoses,
    Intrinsics,
    deform_landmarks,
    load_face_model,
    project_landmarks,
)
from splatface.models.training.tracking.face_motion import fit_motion_coefficients

FRAMES, SIDE, FOCAL_PX = 24, 512, 1800.0
LOST = 7
LENS = Intrinsics(FOCAL_PX, (SIDE / 2, SIDE / 2))


def matrices(poses):
    T = np.tile(np.eye(4), (FRAMES, 1, 1))
    T[:, :3, :3], T[:, :3, 3] = poses.turns, poses.places_m
    return T


def turned(axis, angles_deg):
    return Rotation.from_euler(axis, angles_deg[:, None], degrees=True).as_matrix()


def true_poses():
    t = np.arange(FRAMES) / 25
    turns = turned("y", 6 * np.sin(3 * t))
    motion = np.zeros((FRAMES, len(MOUTH_MODES) + len(CONTROLS)))
    motion[:, 0] = 0.4 + 0.3 * np.sin(9 * t)
    return FacePoses(turns, np.tile([0, 0, 1.2], (FRAMES, 1)), motion)


def off(poses):
    """Nodding by up to 1 degree and bobbing by up to 2 mm, which never was."""
    way = np.sin(np.arange(FRAMES) * 0.6)
    bob = np.c_[0 * way, 0.002 * way, 0 * way]
    return replace(poses, rotations=turned("x", way) @ poses.turns, translations_m=poses.places_m + bob)


def lips_off_px(table, T, px):
    """Mean distance of modelled lips from those in the pictures."""
    model = load_face_model()
    poses = FacePoses(T[:, :3, :3], T[:, :3, 3], np.hstack([table.mouth, table.controls]).astype(np.float64))
    modelled, _ = project_landmarks(deform_landmarks(model, model.mean_m, poses), poses, LENS)
    return np.nanmean(np.linalg.norm(modelled[:, LIPS] - px[:, LIPS], axis=-1))


@pytest.fixture
def film(tmp_path):
    """A data set whose poses nod wrongly, and the true ones."""
    model, true = load_face_model(), true_poses()
    px, _ = project_landmarks(deform_landmarks(model, model.mean_m, true), true, LENS)
    wrong = off(true)
    motion = fit_motion_coefficients(model, model.mean_m, wrong, px, LENS).astype(np.float32)
    mouth, controls = motion[:, : len(MOUTH_MODES)], np.clip(motion[:, len(MOUTH_MODES) :], 0, 0.6)
    px[LOST] = np.nan
    time_ns = np.arange(FRAMES) * 40_000_000
    T = matrices(wrong)
    dataset = Dataset(
        folder=tmp_path,
        name="nod",
        source="video",
        license="trial",
        consent="trial",
        camera=Camera(SIDE, SIDE, FOCAL_PX, FOCAL_PX, SIDE / 2, SIDE / 2, np.eye(4)),
        fps=25.0,
        background=np.zeros(3, np.float32),
        pivot_m=np.zeros(3),
        landmark_scheme="mediapipe478",
        frames=FrameTable(time_ns, np.zeros(FRAMES, np.uint8), T, T, mouth, controls, px.astype(np.float32)),
        motion=MotionTrack(time_ns, mouth, controls, T, T),
    )
    zeros = np.zeros(FRAMES)
    save_tracking_result(
        tmp_path, TrackingResult(model.mean_m, np.zeros(model.identities), zeros, zeros + 1, np.zeros(3))
    )
    return dataset, matrices(true)


def put_right(film):
    dataset, T = film
    return with_poses(dataset, T, dataset.frames.T_world_torso, dataset.camera)


def test_lips_are_where_they_were_found_once_the_pose_is_right(film):
    posed = put_right(film)
    found = refit_motion_with_poses(film[0], posed)
    px = film[0].frames.landmarks_px
    for before, after in ((posed.frames, found.frames), (posed.motion, found.motion)):
        assert lips_off_px(after, film[1], px) < 0.5 * lips_off_px(before, film[1], px)
        assert np.isfinite(after.mouth).all()


def test_eyes_stay_as_they_were_found(film):
    found = refit_motion_with_poses(film[0], put_right(film))
    np.testing.assert_array_equal(found.frames.controls[:, :4], film[0].frames.controls[:, :4])


def test_the_same_poses_ask_for_the_same_motion(film):
    dataset = film[0]
    frames = dataset.frames
    same = with_poses(dataset, frames.T_world_head, frames.T_world_torso, dataset.camera)
    found = refit_motion_with_poses(dataset, same)
    np.testing.assert_array_equal(found.frames.mouth, frames.mouth)
    np.testing.assert_array_equal(found.frames.controls, frames.controls)


def test_what_was_not_tracked_here_keeps_its_motion(film):
    (film[0].folder / TRACKING_FILE).unlink()
    posed = put_right(film)
    assert refit_motion_with_poses(film[0], posed) is posed


def test_a_damaged_fit_is_told(film):
    (film[0].folder / TRACKING_FILE).write_bytes(b"no tensors")
    with pytest.raises(TrackingError, match="track again"):
        refit_motion_with_poses(film[0], put_right(film))
