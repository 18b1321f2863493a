"""The one face of a film: found, told from others, and framed."""

import cv2
import numpy as np
import pytest
from clips import robin

from splatface.models.errors import TrackingError
from splatface.models.training.tracking.face_detection import (
    CropWindow,
    FaceDetector,
    choose_face,
    crop,
    crop_window,
)


def on_canvas(places, size):
    """Robin at (left, top, side) places on a gray canvas of (width, height)."""
    canvas = np.full((size[1], size[0], 3), 118, np.uint8)
    for left, top, side in places:
        canvas[top : top + side, left : left + side] = cv2.resize(
            robin(), (side, side), interpolation=cv2.INTER_AREA
        )
    return canvas


def box(x, y, tall):
    return np.array([x - 0.4 * tall, y - 0.5 * tall, x + 0.4 * tall, y + 0.5 * tall])


def test_two_faces_are_two_boxes():
    with FaceDetector() as search:
        boxes = search(on_canvas([(0, 0, 400), (420, 60, 300)], (720, 400)))
    assert len(boxes) == 2
    middles = np.sort((boxes[:, 0] + boxes[:, 2]) / 2)
    assert middles == pytest.approx([200, 570], abs=15)


def test_a_face_too_small_for_the_whole_picture_is_found_in_its_parts_and_followed():
    with FaceDetector() as search:
        found = [search(on_canvas([(600 + 6 * i, 60, 110)], (960, 540))) for i in range(3)]
    assert [len(boxes) for boxes in found] == [1, 1, 1]
    assert [(boxes[0, 0] + boxes[0, 2]) / 2 for boxes in found] == pytest.approx([655, 661, 667], abs=6)


def test_an_empty_room_has_no_face():
    with FaceDetector() as search:
        assert search(np.full((270, 480, 3), 90, np.uint8)).shape == (0, 4)


def test_the_largest_face_is_followed_past_gaps_and_passers_by():
    looks = [np.array([box(300 + 3 * i, 200, 100)]) for i in range(20)]
    looks[7] = np.empty((0, 4))
    for i in range(10, 16):
        looks[i] = np.concatenate([[box(60 + 40 * (i - 10), 220, 50)], looks[i]])
    chosen = choose_face(looks)
    middles = (chosen.boxes[:, 0] + chosen.boxes[:, 2]) / 2
    assert np.isnan(middles[7])
    assert np.delete(middles, 7) == pytest.approx(np.delete(300 + 3 * np.arange(20), 7))
    assert np.flatnonzero(chosen.others).tolist() == list(range(10, 16))


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
    for x, y, tall in ((40, 60, 90), (600, 440, 150), (320, 240, 400)):
        window = crop_window(np.array([box(x, y, tall)]), 640, 480)
        assert window.left >= 0
        assert window.top >= 0
        assert window.left + window.side <= 640
        assert window.top + window.side <= 480


def test_a_window_of_the_right_size_is_cut_and_others_are_scaled():
    picture = np.arange(60 * 80 * 3, dtype=np.uint32).reshape(60, 80, 3).astype(np.uint8)
    np.testing.assert_array_equal(crop(picture, CropWindow(10, 5, 32), 32), picture[5:37, 10:42])
    assert crop(picture, CropWindow(10, 5, 40), 64).shape == (64, 64, 3)
