"""Points of a tracked person: sound, at their pixels, colored as the picture shows them."""

import cv2
import numpy as np
import pytest

from splatface.models.camera import Camera
from splatface.models.errors import TrackingError
from splatface.models.training.dataset.types import EYES, FACE, HAIR, LIPS, MOUTH, NECK, TORSO, check_points
from splatface.models.training.tracking.face_fit import ClipFit
from splatface.models.training.tracking.face_model import load_face_model
from splatface.models.training.tracking.point_cloud import resting_row, sample_person_point_cloud

SIDE, FOCAL = 256, 700.0
CAMERA_OFFSET = np.array([0, 0, 1.2])
COLORS = np.array(
    [
        [0, 0, 0],
        [0, 0, 200],
        [0, 200, 0],
        [60, 40, 20],
        [220, 170, 150],
        [250] * 3,
        [200, 40, 40],
        [90, 30, 30],
    ]
)


@pytest.fixture(scope="module")
def fit():
    shape = load_face_model().mean_m
    T = np.eye(4)
    T[2, 3] = 1.2
    camera = Camera(SIDE, SIDE, FOCAL, FOCAL, SIDE / 2, SIDE / 2, T)
    mouth = np.zeros((3, 8))
    mouth[[0, 2], 0] = 0.8
    return ClipFit(
        camera=camera,
        shape_m=shape,
        identity=np.zeros(40),
        T_world_head=np.tile(np.eye(4), (3, 1, 1)),
        mouth=mouth,
        controls=np.zeros((3, 8)),
        residual_px=np.ones(3),
        confidence=np.ones(3),
        pivot_m=np.array([0.0, 0.10, 0.04]),
    )


@pytest.fixture(scope="module")
def frame(fit):
    """A picture painted by label, and its labels."""
    in_camera = fit.shape_m + CAMERA_OFFSET
    px = (in_camera[:, :2] / in_camera[:, 2:] * FOCAL + SIDE / 2).astype(np.int32)
    labels = np.zeros((SIDE, SIDE), np.uint8)
    cv2.ellipse(labels, (128, 120), (52, 66), 0, 0, 360, HAIR, -1)
    cv2.rectangle(labels, (108, 180), (148, 215), NECK, -1)
    cv2.rectangle(labels, (60, 215), (196, SIDE), TORSO, -1)
    cv2.fillConvexPoly(labels, cv2.convexHull(px), FACE)
    return COLORS[labels].astype(np.uint8), labels


@pytest.fixture(scope="module")
def points(fit, frame):
    return sample_person_point_cloud(fit, lambda row: frame, np.arange(3))


def test_points_are_sound_and_everywhere(points):
    check_points(points)
    assert {TORSO, NECK, HAIR, FACE, EYES, LIPS, MOUTH} == set(points.labels.tolist())
    assert 15_000 < len(points.means) < 25_000


def test_the_picture_at_rest_is_chosen(fit):
    assert resting_row(fit, np.arange(3)) == 1


def test_the_silhouette_is_filled(points, frame):
    in_camera = points.means + CAMERA_OFFSET
    px = (in_camera[:, :2] / in_camera[:, 2:] * FOCAL + SIDE / 2).astype(int)
    inside = (px >= 0).all(1) & (px < SIDE).all(1)
    drawn = np.zeros((SIDE, SIDE), np.uint8)
    drawn[px[inside, 1], px[inside, 0]] = 1
    drawn = cv2.dilate(drawn, np.ones((5, 5), np.uint8))
    assert drawn[frame[1] > 0].mean() > 0.97


def test_colors_are_the_pictures(points):
    for label in (TORSO, HAIR, FACE):
        middle = np.median(points.colors[points.labels == label], axis=0) * 255
        np.testing.assert_allclose(middle, COLORS[label], atol=12)


def test_bones_and_movement(points):
    assert points.skinning_weight[points.labels == FACE].min() > 0.5
    assert points.skinning_weight[points.labels == TORSO].max() == 0
    lips = points.mouth_modes[points.labels == LIPS]
    assert np.abs(lips[:, 0, 1]).max() > 0.005  # the lower lip goes down
    eyes = points.control_modes[points.labels == EYES]
    assert eyes[:, 2, 0].max() > 0.005  # yaw to the face's left is the picture's right


def test_the_face_is_before_the_hair_and_the_neck_behind_the_chin(points):
    depth = {label: np.median(points.means[points.labels == label, 2]) for label in (FACE, HAIR, MOUTH, LIPS)}
    assert depth[FACE] < depth[HAIR]
    assert depth[LIPS] < depth[MOUTH]


def test_no_pictures_no_points(fit, frame):
    with pytest.raises(TrackingError, match="found none"):
        sample_person_point_cloud(fit, lambda row: frame, np.arange(0))
