"""Face detection: landmarks move with their image; the face and crop window of a video."""

import subprocess
import sys

import cv2
import numpy as np
import pytest
from clips import robin

from splatface.models.errors import TrackingError
from splatface.models.head.head_file import head_folder
from splatface.models.training.tracking.face_detection import (
    LANDMARKS,
    LIPS,
    PERSON_MASK,
    CropWindow,
    FaceDetector,
    Graph,
    Landmarker,
    choose_face,
    crop,
    crop_window,
    detect_landmarks,
)

LEFT_EYE, RIGHT_EYE, NOSE, CHIN = 263, 33, 1, 152  # of the person: the left eye is right in the picture


@pytest.fixture(scope="module")
def face():
    return np.ascontiguousarray(cv2.imread(str(head_folder("robin") / "preview.png"))[..., ::-1])


def shifted(picture, x, y):
    return np.roll(picture, (y, x), (0, 1))


def test_features_stand_where_faces_have_them(face):
    (landmarks,) = detect_landmarks([face])
    assert landmarks.shape == (LANDMARKS, 3)
    assert landmarks[RIGHT_EYE, 0] < landmarks[NOSE, 0] < landmarks[LEFT_EYE, 0]
    lips_y = landmarks[list(LIPS), 1]
    assert landmarks[NOSE, 1] < lips_y.min() < lips_y.max() < landmarks[CHIN, 1]
    assert landmarks[468:473, 1].mean() == pytest.approx(landmarks[RIGHT_EYE, 1], abs=8)
    assert landmarks[NOSE, 2] < landmarks[CHIN, 2]  # the nose is nearer to the camera


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
    landmarks = detect_landmarks(film, tracked=True)[3:]  # it settles in a few pictures
    assert np.diff(landmarks[:, NOSE, 0]) == pytest.approx(np.full(5, 2.0), abs=0.5)


def test_no_face_is_nan_and_the_next_is_found_again(face):
    gray = np.full_like(face, 128)
    landmarks = detect_landmarks([gray, face, gray], tracked=True)
    assert np.isnan(landmarks[[0, 2]]).all()
    assert np.isfinite(landmarks[1]).all()


def test_pictures_need_not_be_square(face):
    wide = np.pad(face, ((0, 0), (100, 200), (0, 0)), mode="edge")
    (landmarks,), (alone,) = detect_landmarks([wide]), detect_landmarks([face])
    assert landmarks[NOSE, :2] - alone[NOSE, :2] == pytest.approx([100, 0], abs=4)


def test_no_pictures_no_landmarks():
    assert detect_landmarks([]).shape == (0, LANDMARKS, 3)


def test_what_is_no_picture_is_refused(face):
    with Landmarker() as detect, pytest.raises(TrackingError, match="uint8"):
        detect(face.astype(np.float32))


def test_other_graphs_answer_with_pictures(face):
    with Graph(PERSON_MASK) as graph:
        mask = graph.image(face)
    assert mask.shape == face.shape[:2]
    assert mask[256, 256] > 0.9 > 0.1 > mask[5, 5]


def test_detection_prints_nothing(face, tmp_path):
    cv2.imwrite(str(tmp_path / "face.png"), face[..., ::-1])
    code = (
        "import cv2; from splatface.models.training.tracking.face_detection import detect_landmarks; "
        f"print(detect_landmarks([cv2.imread(r'{tmp_path / 'face.png'}')]).shape)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "(1, 478, 3)"
    assert result.stderr == ""


def test_a_missing_mediapipe_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(TrackingError, match=r"splatface\[train\]"):
        Landmarker()


def on_canvas(places, size):
    """Robin at (left, top, side) places on a gray canvas of (width, height)."""
    canvas = np.full((size[1], size[0], 3), 118, np.uint8)
    for left, top, side in places:
        canvas[top : top + side, left : left + side] = cv2.resize(
            robin(), (side, side), interpolation=cv2.INTER_AREA
        )
    return canvas


def box(x, y, height):
    return np.array([x - 0.4 * height, y - 0.5 * height, x + 0.4 * height, y + 0.5 * height])


def test_two_faces_are_two_boxes():
    with FaceDetector() as detect:
        boxes = detect(on_canvas([(0, 0, 400), (420, 60, 300)], (720, 400)))
    assert len(boxes) == 2
    centers = np.sort((boxes[:, 0] + boxes[:, 2]) / 2)
    assert centers == pytest.approx([200, 570], abs=15)


def test_a_face_too_small_for_the_whole_picture_is_found_in_its_parts_and_followed():
    with FaceDetector() as detect:
        found = [detect(on_canvas([(600 + 6 * i, 60, 110)], (960, 540))) for i in range(3)]
    assert [len(boxes) for boxes in found] == [1, 1, 1]
    assert [(boxes[0, 0] + boxes[0, 2]) / 2 for boxes in found] == pytest.approx([655, 661, 667], abs=6)


def test_an_empty_room_has_no_face():
    with FaceDetector() as detect:
        assert detect(np.full((270, 480, 3), 90, np.uint8)).shape == (0, 4)


def test_the_largest_face_is_followed_past_gaps_and_passers_by():
    detections = [np.array([box(300 + 3 * i, 200, 100)]) for i in range(20)]
    detections[7] = np.empty((0, 4))
    for i in range(10, 16):
        detections[i] = np.concatenate([[box(60 + 40 * (i - 10), 220, 50)], detections[i]])
    chosen = choose_face(detections)
    centers = (chosen.boxes[:, 0] + chosen.boxes[:, 2]) / 2
    assert np.isnan(centers[7])
    assert np.delete(centers, 7) == pytest.approx(np.delete(300 + 3 * np.arange(20), 7))
    assert np.flatnonzero(chosen.other_faces).tolist() == list(range(10, 16))


def test_nobody_is_an_error_in_words():
    with pytest.raises(TrackingError, match="face: expected one"):
        choose_face([np.empty((0, 4))] * 5)


def test_the_window_shows_head_and_shoulders_wherever_the_head_goes():
    boxes = np.stack([box(900 + 60 * np.sin(i / 5), 500 + 20 * np.cos(i / 3), 200) for i in range(60)])
    window = crop_window(boxes, 1920, 1080)
    assert window.left <= boxes[:, 0].min() - 20
    assert window.left + window.side >= boxes[:, 2].max() + 20
    assert window.top <= boxes[:, 1].min() - 80  # hair
    assert window.top + window.side >= boxes[:, 3].max() + 120  # neck and shoulders
    assert 480 <= window.side <= 620


def test_the_window_never_leaves_the_film():
    for x, y, height in ((40, 60, 90), (600, 440, 150), (320, 240, 400)):
        window = crop_window(np.array([box(x, y, height)]), 640, 480)
        assert window.left >= 0
        assert window.top >= 0
        assert window.left + window.side <= 640
        assert window.top + window.side <= 480


def test_a_window_of_the_right_size_is_cut_and_others_are_scaled():
    picture = np.arange(60 * 80 * 3, dtype=np.uint32).reshape(60, 80, 3).astype(np.uint8)
    np.testing.assert_array_equal(crop(picture, CropWindow(10, 5, 32), 32), picture[5:37, 10:42])
    assert crop(picture, CropWindow(10, 5, 40), 64).shape == (64, 64, 3)
