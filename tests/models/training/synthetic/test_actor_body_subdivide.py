import numpy as np
import pytest

from splatface.models.training.synthetic.body_parts import subdivide, vertex_normals

CUBE = np.array([[x, y, z] for x in (-1.0, 1) for y in (-1.0, 1) for z in (-1.0, 1)])
FACES = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])


def test_a_cube_becomes_round_and_keeps_its_symmetry():
    refined = subdivide(FACES, 8, 3)
    points = refined.matrix @ CUBE
    radius = np.linalg.norm(points, axis=1)

    assert len(refined.faces) == 6 * 4**3
    assert len(points) == 6 * 4**3 + 2  # Euler: V = F + 2 for quads
    assert radius.max() / radius.min() < 1.25
    assert {tuple(row) for row in points.round(9) + 0.0} == {tuple(row) for row in (-points).round(9) + 0.0}


def test_one_level_of_a_cube_is_the_textbook_one():
    points = subdivide(FACES, 8, 1).matrix @ CUBE

    assert np.allclose(np.abs(points[:8]), 5 / 9)  # corners
    assert np.allclose(np.sort(np.abs(points[8:20]), 1), [0, 0.75, 0.75])  # edges
    assert np.allclose(np.sort(np.abs(points[20:]), 1), [0, 0, 1])  # faces


def test_a_flat_sheet_with_a_border_stays_flat_and_inside():
    grid = np.array([[x, y, 0.0] for x in range(4) for y in range(4)])
    corner = np.array([x * 4 + y for x in range(3) for y in range(3)])
    faces = np.stack([corner, corner + 4, corner + 5, corner + 1], 1)
    refined = subdivide(faces, 16, 2)
    points = refined.matrix @ grid

    assert np.allclose(refined.matrix.sum(1), 1)
    assert np.all(points[:, 2] == 0)
    assert points.min() >= 0
    assert points.max() <= 3


def test_only_used_vertices_are_refined():
    refined = subdivide(FACES[:1] + 5, 20, 1)

    assert refined.matrix.shape == (9, 20)
    assert refined.matrix[:, :5].nnz == 0


def test_normals_of_a_cube_point_outwards():
    normals = vertex_normals(CUBE, FACES)

    assert np.abs((normals * CUBE).sum(1)) == pytest.approx(np.sqrt(3))
