"""Labels of a drawn face are at its parts; the background behind a moving person is recovered."""

import numpy as np
import pytest
from clips import robin

from splatface.models.training.dataset.types import BACKGROUND, EYES, FACE, HAIR, LIPS, MOUTH, NECK, TORSO
from splatface.models.training.tracking.face_detection import detect_landmarks
from splatface.models.training.tracking.segmentation import (
    PersonSegmenter,
    composite_over_background,
    estimate_background,
    fit_color_model,
    segment_frame,
)

NOSE, CHIN, UPPER_LIP, LOWER_LIP, TOP, IRIS_RIGHT = 1, 152, 13, 14, 10, 468


@pytest.fixture(scope="module")
def segmented():
    (face,) = detect_landmarks([robin()])
    with PersonSegmenter() as segment:
        mask = segment(robin())
    return mask, face, fit_color_model([(robin(), mask, face)])


def label_at(labels, xy):
    return labels[int(xy[1]), int(xy[0])]


def test_parts_lie_where_they_are(segmented):
    mask, face, colors = segmented
    labels = segment_frame(robin(), mask, face, colors)
    assert labels.shape == (512, 512)
    assert labels.dtype == np.uint8
    height = face[CHIN, 1] - face[TOP, 1]
    assert label_at(labels, face[NOSE]) == FACE
    assert label_at(labels, face[IRIS_RIGHT]) == EYES
    assert label_at(labels, (face[UPPER_LIP] + face[0]) / 2) == LIPS
    assert label_at(labels, face[TOP] - (0, 0.25 * height, 0)) == HAIR
    assert label_at(labels, face[CHIN] + (0, 0.12 * height, 0)) == NECK
    assert label_at(labels, (face[CHIN, 0] - 0.8 * height, 505)) == TORSO
    assert labels[5, 5] == labels[5, -5] == BACKGROUND


def test_the_mouth_is_open_when_the_landmarks_say_so(segmented):
    mask, face, colors = segmented
    opened, closed = face.copy(), face.copy()
    middle = face[[UPPER_LIP, LOWER_LIP]].mean(axis=0)
    lower = [78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308]
    opened[lower[1:-1], 1] = middle[1] + 20
    closed[[UPPER_LIP, LOWER_LIP]] = middle
    assert label_at(segment_frame(robin(), mask, opened, colors), middle + np.array([0, 10, 0])) == MOUTH
    assert not (segment_frame(robin(), mask, closed, colors) == MOUTH).any()


def test_the_person_mask_is_soft_and_follows_the_person(segmented):
    mask, face, _ = segmented
    assert mask.dtype == np.float32
    assert 0 <= mask.min() <= mask.max() <= 1
    assert mask[int(face[NOSE, 1]), int(face[NOSE, 0])] > 0.9
    assert mask[5, 5] < 0.05


def test_a_face_without_hair_or_shoulders_still_has_labels(segmented):
    _, face, _ = segmented
    empty = np.zeros((512, 512), np.float32)
    colors = fit_color_model([(robin(), empty, face)])
    labels = segment_frame(robin(), empty, face, colors)
    assert (labels == FACE).any()
    assert set(np.unique(labels)) <= {BACKGROUND, FACE, EYES, LIPS, MOUTH}


SIZE = 96


def passing(background, count=12, noise=0.0):
    """A gray person walks through: images and masks."""
    rng = np.random.default_rng(0)
    images, masks = [], []
    for i in range(count):
        mask = np.zeros((SIZE, SIZE), np.float32)
        left = round(i * (SIZE - 20) / (count - 1))
        mask[20:, left : left + 20] = 1
        image = np.where(mask[..., None] > 0, 128, background(i)) + rng.normal(0, noise, (SIZE, SIZE, 3))
        images.append(image.clip(0, 255).astype(np.uint8))
        masks.append(mask)
    return images, masks


def wall(_):
    y, x = np.mgrid[:SIZE, :SIZE]
    return np.stack([60 + x, 200 - y, 40 + (x + y) / 2], axis=2)


def test_the_wall_is_recovered_though_never_visible_at_once():
    estimate = estimate_background(*passing(wall, noise=1.0))
    assert np.abs(estimate.image * 255 - wall(0)).max() < 5
    assert estimate.visible_fraction > 0.95
    assert estimate.moving_fraction == 0
    assert not estimate.uniform


def test_one_color_is_uniform():
    assert estimate_background(*passing(lambda i: np.full((SIZE, SIZE, 3), 90.0), noise=1.0)).uniform


def test_what_is_never_visible_is_filled_smoothly():
    images, masks = passing(wall)
    for image, mask in zip(images, masks, strict=True):
        mask[30:60, 40:60], image[30:60, 40:60] = 1, 255
    estimate = estimate_background(images, masks)
    assert estimate.visible_fraction < 0.9
    hole = estimate.image[35:55, 42:58] * 255
    assert np.abs(hole - wall(0)[35:55, 42:58]).max() < 45


def test_a_background_that_moves_is_noticed_and_replaced():
    rng = np.random.default_rng(1)
    images, masks = passing(lambda i: rng.uniform(0, 255, (SIZE, SIZE, 3)))
    estimate = estimate_background(images, masks)
    assert estimate.moving_fraction > 0.8
    still = composite_over_background(images[3], masks[3], estimate)
    inside, outside = masks[3] == 1, masks[3] == 0
    np.testing.assert_array_equal(still[inside], images[3][inside])
    assert np.abs(still[outside] - estimate.image[outside] * 255).max() <= 1


def test_a_person_who_fills_the_image_leaves_an_estimate():
    images = [np.full((SIZE, SIZE, 3), 70, np.uint8)] * 4
    estimate = estimate_background(images, [np.ones((SIZE, SIZE), np.float32)] * 4)
    assert estimate.visible_fraction == 0
    assert np.isfinite(estimate.image).all()
    assert estimate.image.shape == pytest.approx((SIZE, SIZE, 3))
