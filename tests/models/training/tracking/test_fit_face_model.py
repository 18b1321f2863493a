"""The shipped face model: a face, as people have it, that moves as it should, in a small file."""

import numpy as np
import pytest

from splatface.models.audio2motion.audio_to_mouth import CONTROLS, MOUTH_MODES
from splatface.models.errors import TrackingError
from splatface.models.training.tracking.face_model import (
    EYE_CHANNELS,
    FACE_HEIGHT_M,
    FACE_MODEL_FILE,
    load_face_model,
    view_terms,
)


@pytest.fixture(scope="module")
def model():
    return load_face_model()


def test_the_file_is_small():
    assert FACE_MODEL_FILE.stat().st_size < 300_000


def test_a_mean_face(model):
    mean = model.mean_m
    assert mean[152, 1] - mean[10, 1] == pytest.approx(FACE_HEIGHT_M, abs=0.004)
    assert abs(mean[[468, 473]].mean(0)[:2]).max() < 0.004  # the origin is between the eyes
    assert mean[1, 2] < mean[[33, 263], 2].min()  # the nose is nearest to the camera
    assert mean[263, 0] > 0 > mean[33, 0]  # the left eye is at the picture's right
    np.testing.assert_allclose(mean[263] * np.array([-1, 1, 1]), mean[33], atol=0.004)


def test_motions_do_what_they_are_called(model):
    moves = dict(zip(MOUTH_MODES + CONTROLS, model.motion_m, strict=True))
    assert moves["open"][14, 1] > 0.006 > abs(moves["open"][168, 1]) * 5
    width = moves["round"][291, 0] - moves["round"][61, 0]
    assert width < -0.003
    assert moves["blink_left"][386, 1] > 0.004 > abs(moves["blink_left"][159, 1]) * 2
    assert moves["gaze_yaw"][[468, 473], 0].min() > 0.004
    assert moves["brow_up"][[105, 334], 1].max() < -0.002
    assert moves["jaw_side"][[13, 14, 61, 291], 0].min() > 0.003 > 5 * abs(moves["jaw_side"][1, 0])


def test_blinks_and_glances_stay_at_the_eyes(model):
    eyes = model.mean_m[[468, 473]]
    away = np.linalg.norm(model.mean_m[:, None] - eyes, axis=2).min(axis=1)
    assert not model.motion_m[list(EYE_CHANNELS)][:, away > 0.032].any()
    assert np.abs(model.winking().motion_m[list(EYE_CHANNELS)][:, away > 0.032]).max() > 1e-3
    others = np.delete(np.arange(16), EYE_CHANNELS)
    assert np.array_equal(model.winking().motion_m[others], model.motion_m[others])


def test_a_view_from_the_front_is_none():
    terms = view_terms(np.eye(3)[None], np.array([[0.0, 0.0, 1.0]]))
    np.testing.assert_allclose(terms, 0, atol=1e-12)


def test_a_missing_model_is_named(tmp_path):
    with pytest.raises(TrackingError, match="install splatface again"):
        load_face_model(tmp_path / "none.safetensors")
