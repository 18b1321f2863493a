import cv2
import numpy as np
import pytest

from splatface.models.camera import Camera
from splatface.models.training.dataset.body_poses import track_torso
from splatface.models.training.dataset.types import BACKGROUND, FACE, TORSO

SIDE = 256


@pytest.fixture(scope="module")
def camera():
    T_camera_world = np.eye(4)
    T_camera_world[:3, 3] = [0.02, -0.05, 0.8]
    return Camera(SIDE, SIDE, 600.0, 600.0, 120.0, 130.0, T_camera_world)


@pytest.fixture(scope="module")
def cloth():
    rng = np.random.default_rng(0)
    grain = cv2.GaussianBlur(rng.normal(size=(SIDE, SIDE, 3)).astype(np.float32), (0, 0), 4)
    return np.clip(128 + 40 * grain / grain.std(), 0, 255)


def film(cloth, camera, bones):
    """A flat torso at the depth of the world's origin, moved by bones, below a face that wanders off."""
    T_camera_world = camera.T_camera_world

    def look(row):
        T = T_camera_world @ bones[row] @ np.linalg.inv(T_camera_world)
        depth = T_camera_world[2, 3]
        K = np.array([[camera.fx, 0, camera.cx - 0.5], [0, camera.fy, camera.cy - 0.5], [0, 0, 1]])
        # Plane z = depth: pixels to meters, moved, and back.
        plane = np.array([T[:3, 0], T[:3, 1], T[:3, 2] + T[:3, 3] / depth]).T
        H = K @ plane @ np.linalg.inv(K)
        shape = np.zeros((SIDE, SIDE, 1), np.float32)
        shape[130:240, 30:220] = 1
        cut = np.concatenate([cloth * shape + 90 * (1 - shape), shape], axis=2)
        moved = cv2.warpPerspective(cut, H, (SIDE, SIDE), borderValue=(90, 90, 90, 0))
        picture = moved[..., :3]
        labels = np.where(moved[..., 3] > 0.5, TORSO, BACKGROUND).astype(np.uint8)
        labels[20:120, 60 + 5 * row : 140 + 5 * row] = FACE
        picture[labels == FACE] = 200
        return picture.astype(np.uint8), labels

    return look


def bone(camera, degrees, shift_m):
    """Turned in the picture's plane about the world's origin."""
    T = np.eye(4)
    T[:3, :3] = cv2.Rodrigues(np.array([0, 0, np.radians(degrees)]))[0]
    T[:2, 3] = shift_m
    return T


def test_shifts_and_turns_in_the_plane_are_found(cloth, camera):
    moves = [(0, (0, 0)), (0.5, (0.002, 0)), (1.0, (0.004, -0.002)), (0.5, (0.007, -0.004)), (-1, (0.009, 0))]
    bones = np.stack([bone(camera, degrees, shift) for degrees, shift in moves])
    heads = np.tile(np.eye(4), (len(bones), 1, 1))
    heads[1:, 0, 3] = 0.01
    found = track_torso(film(cloth, camera, bones), heads, camera)
    middle = np.array([0.0, 0.08, 0.0, 1.0])  # of the torso
    pixels = (bones - found) @ middle * camera.fx / 0.8
    assert np.abs(pixels[:, :2]).max() < 0.25
    assert np.abs(found[:, :3, :3] - bones[:, :3, :3]).max() < 2e-3
    assert found[0] == pytest.approx(np.eye(4))


def test_the_picture_nearest_to_rest_is_the_reference(cloth, camera):
    bones = np.stack([bone(camera, 0, (0.006, 0)), bone(camera, 0, (0.003, 0)), np.eye(4)])
    heads = bones.copy()
    found = track_torso(film(cloth, camera, bones), heads, camera)
    assert found[:, 0, 3] == pytest.approx([0.006, 0.003, 0.0], abs=3e-4)


def test_a_picture_without_torso_keeps_its_neighbors_place(cloth, camera):
    bones = np.stack([np.eye(4), bone(camera, 0, (0.003, 0)), np.eye(4)])
    look = film(cloth, camera, bones)

    def blind(row):
        picture, labels = look(row)
        return (picture, np.zeros_like(labels)) if row == 2 else (picture, labels)

    heads = np.stack([np.eye(4), *[bone(camera, 0, (0.01, 0))] * 2])
    found = track_torso(blind, heads, camera)
    assert found[2] == pytest.approx(found[1])
    assert found[1, 0, 3] == pytest.approx(0.003, abs=3e-4)
    nobody = track_torso(lambda row: (look(row)[0], np.zeros((SIDE, SIDE), np.uint8)), heads, camera)
    assert np.array_equal(nobody, np.tile(np.eye(4), (3, 1, 1)))
