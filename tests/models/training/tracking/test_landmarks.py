"""The door to mediapipe: a face is found where it is, moved with its picture, and missed where none is."""

import subprocess
import sys

import cv2
import numpy as np
import pytest

from splatface.models.errors import TrackingError
from splatface.models.head.head_file import head_folder
from splatface.models.training.tracking.face_detection import (
    LANDMARKS,
    LIPS,
    PERSON_MASK,
    Graph,
    Landmarker,
    detect_landmarks,
)

LEFT_EYE, RIGHT_EYE, NOSE, CHIN = 263, 33, 1, 152  # of the person: the left eye is right in the picture


@pytest.fixture(scope="module")
def face():
    return np.ascontiguousarray(cv2.imread(str(head_folder("robin") / "preview.png"))[..., ::-1])


def shifted(picture, x, y):
    return np.roll(picture, (y, x), (0, 1))


def test_features_stand_where_faces_have_them(face):
    (found,) = detect_landmarks([face])
    assert found.shape == (LANDMARKS, 3)
    assert found[RIGHT_EYE, 0] < found[NOSE, 0] < found[LEFT_EYE, 0]
    lips_y = found[list(LIPS), 1]
    assert found[NOSE, 1] < lips_y.min() < lips_y.max() < found[CHIN, 1]
    assert found[468:473, 1].mean() == pytest.approx(found[RIGHT_EYE, 1], abs=8)
    assert found[NOSE, 2] < found[CHIN, 2]  # the nose is nearer to the camera


def test_the_forty_lip_landmarks_are_distinct_and_go_around():
    assert len(set(LIPS)) == len(LIPS) == 40


def test_a_moved_picture_moves_its_landmarks(face):
    at_rest, moved = detect_landmarks([face, shifted(face, 5, -3)])
    assert np.median(moved - at_rest, axis=0)[:2] == pytest.approx([5, -3], abs=0.5)


def test_a_still_picture_gives_the_same_landmarks_whatever_came_before(face):
    first, _, again = detect_landmarks([face, shifted(face, 40, 0), face])
    np.testing.assert_array_equal(first, again)


def test_tracking_follows_a_moving_face(face):
    film = [shifted(face, 2 * i, 0) for i in range(9)]
    found = detect_landmarks(film, tracked=True)[3:]  # it settles in a few pictures
    assert np.diff(found[:, NOSE, 0]) == pytest.approx(np.full(5, 2.0), abs=0.5)


def test_no_face_is_nan_and_the_next_is_found_again(face):
    gray = np.full_like(face, 128)
    found = detect_landmarks([gray, face, gray], tracked=True)
    assert np.isnan(found[[0, 2]]).all()
    assert np.isfinite(found[1]).all()


def test_pictures_need_not_be_square(face):
    wide = np.pad(face, ((0, 0), (100, 200), (0, 0)), mode="edge")
    (found,), (alone,) = detect_landmarks([wide]), detect_landmarks([face])
    assert found[NOSE, :2] - alone[NOSE, :2] == pytest.approx([100, 0], abs=4)


def test_no_pictures_no_landmarks():
    assert detect_landmarks([]).shape == (0, LANDMARKS, 3)


def test_what_is_no_picture_is_refused(face):
    with Landmarker() as find, pytest.raises(TrackingError, match="uint8"):
        find(face.astype(np.float32))


def test_other_graphs_answer_with_pictures(face):
    with Graph(PERSON_MASK) as graph:
        mask = graph.image(face)
    assert mask.shape == face.shape[:2]
    assert mask[256, 256] > 0.9 > 0.1 > mask[5, 5]


def test_nothing_is_said_on_the_way(face, tmp_path):
    cv2.imwrite(str(tmp_path / "face.png"), face[..., ::-1])
    code = (
        "import cv2; from splatface.models.training.tracking.landmarks import landmarks; "
        f"print(landmarks([cv2.imread(r'{tmp_path / 'face.png'}')]).shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(1, 478, 3)"
    assert done.stderr == ""


def test_a_missing_mediapipe_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(TrackingError, match=r"splatface\[train\]"):
        Landmarker()
