"""The preview renderer, with bodies made of balls and strands: no rig is needed to know what is seen."""

import numpy as np
import pytest
from actor_stand_in import Balls, ball, tuft

from splatface.models.camera import Camera
from splatface.models.training.dataset.types import BACKGROUND, FACE, HAIR, TORSO
from splatface.models.training.synthetic.preview.ambient_occlusion import (
    ambient_visibility,
    orthographic_view,
    strand_visibility,
)
from splatface.models.training.synthetic.preview.mesh_raster import (
    NOTHING,
    fill_triangles,
    to_screen,
    vertex_normals,
)
from splatface.models.training.synthetic.preview.preview_renderer import (
    PreviewRenderer,
    inverse_tone_map,
    resolve_and_tonemap,
    tone_map,
)

FAR = np.eye(4)
FAR[2, 3] = 1.0  # the camera stands a meter before the origin
CAMERA = Camera(64, 64, 160.0, 160.0, 32.0, 32.0, FAR)


@pytest.fixture(scope="module")
def head():
    return Balls(face=ball((0, 0, 0), 0.1, FACE), chest=ball((0, 0.25, 0), 0.12, TORSO, "cloth"), hair=tuft())


@pytest.fixture(scope="module")
def drawn(head):
    preview = PreviewRenderer(head, CAMERA)
    return preview, *preview.draw(head.posed({}))


def test_labels_are_where_the_parts_are(drawn):
    _, _, labels = drawn
    assert labels[2, 2] == BACKGROUND
    assert labels[40, 32] == FACE
    assert labels[62, 32] == TORSO
    assert labels[30, 32] == HAIR


def test_the_ball_is_as_wide_as_the_camera_says(drawn):
    _, _, labels = drawn
    # The silhouette of a ball: tan(asin(r / d)).
    expected = 2 * 160.0 * np.tan(np.arcsin(0.1))
    widest = (labels[32] != BACKGROUND).sum()
    assert widest == pytest.approx(expected, abs=1.5)


def test_the_background_shows_where_nobody_stands(drawn):
    preview, picture, labels = drawn
    empty = labels == BACKGROUND
    inner = empty.copy()
    for axis in (0, 1):  # a pixel away from any edge
        inner &= np.roll(empty, 1, axis) & np.roll(empty, -1, axis)
    assert np.array_equal(picture[inner], preview.background()[inner])


def test_the_key_light_comes_from_the_upper_left(drawn):
    _, picture, _ = drawn
    face = picture.astype(float).mean(axis=2)
    assert face[26, 22] > face[40, 44] + 10


def test_hair_is_darker_than_the_face(drawn):
    _, picture, _ = drawn
    assert picture[30, 32].mean() < picture[42, 26].mean() - 40


def test_drawing_twice_gives_the_same(head, drawn):
    preview, picture, labels = drawn
    again, labels_again = preview.draw(head.posed({}))
    assert np.array_equal(picture, again)
    assert np.array_equal(labels, labels_again)


def test_the_nearer_triangle_wins():
    screens = np.array(
        [[0, 0, 0.5], [8, 0, 0.5], [0, 8, 0.5], [0, 0, 1.0], [8, 0, 1.0], [0, 8, 1.0]], np.float32
    )
    nearness, owner = np.zeros((8, 8), np.float32), np.full((8, 8), NOTHING, np.int32)
    fill_triangles(screens, np.array([[3, 4, 5], [0, 1, 2]], np.int32), nearness, owner)
    assert owner[1, 1] == 0
    assert nearness[1, 1] == 1.0
    assert owner[7, 7] == NOTHING


def test_triangles_that_share_an_edge_leave_no_gap():
    rng = np.random.default_rng(1)
    inner = np.r_[np.array([[0, 0], [32, 0], [0, 32], [32, 32]]), rng.uniform(1, 31, (60, 2))]
    from scipy.spatial import Delaunay

    screens = np.c_[inner, np.ones(len(inner))].astype(np.float32)
    nearness, owner = np.zeros((32, 32), np.float32), np.full((32, 32), NOTHING, np.int32)
    fill_triangles(screens, Delaunay(inner).simplices.astype(np.int32), nearness, owner)
    assert (owner != NOTHING).all()


def test_what_is_behind_the_camera_is_not_drawn():
    screens = to_screen(np.array([[0, 0, -2.0]], np.float32), FAR.astype(np.float32), np.ones(4, np.float32))
    assert screens[0, 2] == 0


def test_normals_of_a_ball_point_out():
    part = ball((0, 0, 0), 1.0, FACE)
    triangles = np.concatenate([part.faces[:, :3], part.faces[:, [0, 2, 3]]]).astype(np.int32)
    normals = vertex_normals(part.positions.astype(np.float32), triangles)
    inner = np.abs(part.positions[:, 1]) < 0.95
    assert (normals[inner] * part.positions[inner]).sum(axis=1).min() > 0.99


def test_between_two_balls_it_is_darker():
    left, right = ball((-0.1, 0, 0), 0.1, FACE), ball((0.1, 0, 0), 0.1, FACE)
    points = np.concatenate([left.positions, right.positions])
    quads = np.concatenate([left.faces, right.faces + len(left.positions)])
    triangles = np.concatenate([quads[:, :3], quads[:, [0, 2, 3]]]).astype(np.int32)
    normals = vertex_normals(points.astype(np.float32), triangles)
    openness = ambient_visibility([(points, normals)], triangles, [])
    touching = np.abs(points[:, 0]) < 0.02
    outside = np.abs(points[:, 0]) > 0.19
    assert openness[touching].mean() < 0.5
    assert openness[outside].mean() > 0.9


def test_inside_a_tuft_it_is_darker_than_on_it():
    rng = np.random.default_rng(0)
    roots = rng.uniform(-0.03, 0.03, (3000, 3))
    strands = roots[:, None] + np.linspace(0, 0.02, 5)[None, :, None] * np.array([0, 1.0, 0])
    openness = strand_visibility(strands, np.array([0, -1.0, 0]))
    heights = strands.reshape(-1, 3)[:, 1]
    assert openness[heights < -0.02].mean() > openness[heights > 0.0].mean() + 0.2
    assert ((openness >= 0) & (openness <= 1)).all()


def test_an_onlooker_sees_what_is_towards_him_as_nearer():
    view = orthographic_view(np.array([0, 0, -1.0]), np.zeros(3), 1.0, 100)
    near, far = view.screens(np.array([[0, 0, -0.5], [0, 0, 0.5]]))
    assert near[2] > far[2]
    assert near[:2] == pytest.approx([50, 50])


def test_light_and_picture_are_inverse():
    values = np.linspace(0.02, 0.95, 20)
    assert tone_map(inverse_tone_map(values)) == pytest.approx(values, abs=2e-3)


def test_brighter_light_is_a_brighter_picture():
    assert (np.diff(tone_map(np.linspace(0, 8, 100))) > 0).all()


def test_the_majority_of_samples_names_a_pixel():
    labels = np.array([[1, 4], [4, 4]], np.uint8)
    _, voted = resolve_and_tonemap(np.zeros((2, 2, 3), np.float32), labels, 2)
    assert voted[0, 0] == 4
