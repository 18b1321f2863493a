"""Labels of a drawn face lie where its parts are drawn."""

import numpy as np
import pytest
from clips import robin

from splatface.models.training.dataset.types import BACKGROUND, EYES, FACE, HAIR, LIPS, MOUTH, NECK, TORSO
from splatface.models.training.tracking.face_detection import detect_landmarks
from splatface.models.training.tracking.segmentation import PersonSegmenter, fit_color_model, segment_frame

NOSE, CHIN, UPPER_LIP, LOWER_LIP, TOP, IRIS_RIGHT = 1, 152, 13, 14, 10, 468


@pytest.fixture(scope="module")
def seen():
    (face,) = detect_landmarks([robin()])
    with PersonSegmenter() as person:
        share = person(robin())
    return share, face, fit_color_model([(robin(), share, face)])


def label_at(labels, place):
    return labels[int(place[1]), int(place[0])]


def test_parts_lie_where_they_are(seen):
    share, face, colors = seen
    labels = segment_frame(robin(), share, face, colors)
    assert labels.shape == (512, 512)
    assert labels.dtype == np.uint8
    tall = face[CHIN, 1] - face[TOP, 1]
    assert label_at(labels, face[NOSE]) == FACE
    assert label_at(labels, face[IRIS_RIGHT]) == EYES
    assert label_at(labels, (face[UPPER_LIP] + face[0]) / 2) == LIPS
    assert label_at(labels, face[TOP] - (0, 0.25 * tall, 0)) == HAIR
    assert label_at(labels, face[CHIN] + (0, 0.12 * tall, 0)) == NECK
    assert label_at(labels, (face[CHIN, 0] - 0.8 * tall, 505)) == TORSO
    assert labels[5, 5] == labels[5, -5] == BACKGROUND


def test_the_mouth_is_open_when_the_landmarks_say_so(seen):
    share, face, colors = seen
    opened, shut = face.copy(), face.copy()
    middle = face[[UPPER_LIP, LOWER_LIP]].mean(axis=0)
    lower = [78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308]
    opened[lower[1:-1], 1] = middle[1] + 20
    shut[[UPPER_LIP, LOWER_LIP]] = middle
    assert label_at(segment_frame(robin(), share, opened, colors), middle + np.array([0, 10, 0])) == MOUTH
    assert not (segment_frame(robin(), share, shut, colors) == MOUTH).any()


def test_the_person_mask_is_soft_and_follows_the_person(seen):
    share, face, _ = seen
    assert share.dtype == np.float32
    assert 0 <= share.min() <= share.max() <= 1
    assert share[int(face[NOSE, 1]), int(face[NOSE, 0])] > 0.9
    assert share[5, 5] < 0.05


def test_a_face_without_hair_or_shoulders_still_has_labels(seen):
    _, face, _ = seen
    bald = np.zeros((512, 512), np.float32)
    colors = fit_color_model([(robin(), bald, face)])
    labels = segment_frame(robin(), bald, face, colors)
    assert (labels == FACE).any()
    assert set(np.unique(labels)) <= {BACKGROUND, FACE, EYES, LIPS, MOUTH}
