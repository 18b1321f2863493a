"""Colors near to what pictures show where a Gaussian lies."""

import numpy as np
from test_hidden import CAMERA, ball, splats

from splatface.models.render.conventions import SH_0
from splatface.models.render.cpu import CpuRenderer
from splatface.models.training.optimization.visible_colors import (
    ColorBounds,
    accumulate_visible_colors,
    bounds_of,
)

RED, BLUE = (0.8, 0.2, 0.1), (0.1, 0.3, 0.9)


def _halves():
    """A picture, red on the left and blue on the right; the person is the left half."""
    size = (CAMERA.height, CAMERA.width)
    left = np.arange(size[1]) < size[1] // 2
    picture = np.where(np.broadcast_to(left, size)[..., None], np.float32(RED), np.float32(BLUE))
    return picture.astype(np.float32), np.broadcast_to(left, size).copy()


def test_a_gaussian_sees_the_person_where_it_shows_and_nothing_of_the_wall():
    picture, person = _halves()
    front, hidden = ball(1.0), ball(1.1)
    sums = accumulate_visible_colors((splats(front, hidden), CAMERA), CpuRenderer(1), picture, person)
    np.testing.assert_allclose(sums[:, :3] / sums[:, 3:4], [RED, RED], atol=1e-3)  # though over both halves
    everywhere = accumulate_visible_colors(
        (splats(front, hidden), CAMERA), CpuRenderer(1), picture, np.ones_like(person)
    )
    np.testing.assert_allclose(sums[:, 3], everywhere[:, 3] / 2, rtol=0.02)
    assert 1 < sums[1, 3] < 0.6 * sums[0, 3]  # the one behind shows less
    behind_m = sums[:, 4] / sums[:, 3]
    assert -0.05 < behind_m[0] < 0 < 0.05 < behind_m[1] < 0.1  # what is seen is a mixture


def test_colors_are_brought_back_where_something_was_seen():
    seen = np.array([[80.0, 20.0, 10.0, 100.0, 0.0], [0.4, 0.1, 0.0, 0.5, 0.0]])
    bounds = bounds_of(seen, 0.1)
    orange = (np.array([[1.0, 0.6, 0.15]] * 2) - 0.5) / SH_0
    colors = orange.astype(np.float32)
    bounds.clamp_(colors)
    np.testing.assert_allclose(colors[0] * SH_0 + 0.5, (0.9, 0.3, 0.15), atol=1e-5)
    np.testing.assert_allclose(colors[1], orange[1], rtol=1e-6)  # half a pixel says nothing


def test_no_bounds_change_nothing():
    colors = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    before = colors.copy()
    ColorBounds(np.float32(-np.inf), np.float32(np.inf)).clamp_(colors)
    np.testing.assert_array_equal(colors, before)
